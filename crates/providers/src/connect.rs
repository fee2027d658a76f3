//! Where a provider lives, and by which credential it knows us.

use crate::{Provider, remote::Remote, upstream::Upstream};
use clawdbot_domain::{Origin, ProviderName, Secret};
use std::sync::Arc;
use std::time::Duration;

/// How long each part of an exchange may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Name lookup, TCP and TLS together.
    pub connect: Duration,
    /// From the request to the head of its answer. Models think before they speak.
    pub first_byte: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(120),
            idle: Duration::from_secs(60),
        }
    }
}

/// One provider's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSettings {
    /// Which provider.
    pub name: ProviderName,
    /// Its base URL, such as `https://api.openai.com/v1`.
    pub base_url: String,
    /// How long to wait.
    pub timeouts: Timeouts,
}

/// Where credentials come from. Asked anew for each request, so that a revoked one is not used again.
pub trait Credentials: Send + Sync {
    /// The credential stored for this provider *and this origin*. `Ok(None)`: none is stored.
    /// `Err`: one is, but it cannot be used; the text says why, names the remedy and holds no secret.
    fn secret_for(&self, provider: ProviderName, origin: &Origin)
    -> Result<Option<Secret>, String>;
}

/// A base URL that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("models.providers.{provider}.baseUrl: {given:?}: {why}")]
pub struct BadBaseUrl {
    provider: ProviderName,
    given: String,
    why: String,
}

/// A provider at its place. Opens no connection yet.
///
/// `demo` is not reached over a network: see [`crate::demo()`].
pub fn connect(
    settings: ProviderSettings,
    credentials: Arc<dyn Credentials>,
) -> Result<Arc<dyn Provider>, BadBaseUrl> {
    if settings.name == ProviderName::Demo {
        return Ok(crate::demo());
    }
    match remote(&settings, credentials) {
        Ok(remote) => Ok(Arc::new(remote)),
        Err(why) => {
            let ProviderSettings {
                name: provider,
                base_url: given,
                ..
            } = settings;
            Err(BadBaseUrl {
                provider,
                given,
                why,
            })
        }
    }
}

/// The provider itself, or why its base URL cannot be used.
pub(crate) fn remote(
    settings: &ProviderSettings,
    credentials: Arc<dyn Credentials>,
) -> Result<Remote, String> {
    let (origin, path) = Origin::of_base_url(&settings.base_url).map_err(|why| why.to_string())?;
    let upstream = Upstream::new(settings.name, origin, settings.timeouts)?;
    Remote::new(settings.name, path, upstream, credentials)
}
