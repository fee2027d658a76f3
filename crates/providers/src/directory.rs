//! Which provider answers for which model.

use crate::Provider;
use clawdbot_domain::{Protocol, ProviderName};
use std::sync::Arc;

/// The configured providers, in order of preference.
#[derive(Clone)]
pub struct Directory {
    providers: Vec<Arc<dyn Provider>>,
    default: (ProviderName, String),
}

/// A provider and the name it knows the model by.
#[derive(Clone)]
pub struct Picked {
    /// Who answers.
    pub provider: Arc<dyn Provider>,
    /// The provider's own name of the model.
    pub model: String,
}

impl std::fmt::Debug for Picked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider.name(), self.model)
    }
}

/// Why no provider answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoProvider {
    /// None is configured that could.
    #[error(
        "no provider is configured for this; store a credential: clawdbot models auth paste-token --provider anthropic (or another; see clawdbot models list-providers)"
    )]
    NotConfigured,
    /// The model was named with its provider, and that one speaks another dialect.
    #[error("{provider} speaks the {} dialect: send this to POST {}", speaks, endpoint(*speaks))]
    WrongDialect {
        /// Which provider.
        provider: ProviderName,
        /// What it speaks.
        speaks: Protocol,
    },
    /// The model was named with its provider, and that one is not configured.
    #[error(
        "{provider} is not configured: store a credential with clawdbot models auth paste-token --provider {provider}, or set models.providers.{provider}.baseUrl"
    )]
    Unknown {
        /// Which provider.
        provider: ProviderName,
    },
}

const fn endpoint(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::OpenAi => "/v1/chat/completions",
        Protocol::Anthropic => "/v1/messages",
    }
}

impl Directory {
    /// A directory of these providers; `default` names the one, and its model, for who names none.
    pub fn new(providers: Vec<Arc<dyn Provider>>, default: (ProviderName, String)) -> Self {
        Self { providers, default }
    }

    /// The configured providers.
    pub fn providers(&self) -> &[Arc<dyn Provider>] {
        &self.providers
    }

    /// The default provider and model: who runs agent turns.
    pub fn default_model(&self) -> Result<Picked, NoProvider> {
        let (name, model) = &self.default;
        let provider = self.get(*name).ok_or(NoProvider::NotConfigured)?;
        Ok(Picked {
            provider: Arc::clone(provider),
            model: model.clone(),
        })
    }

    /// Who answers for `model`, asked in `protocol`.
    ///
    /// `provider/model` names the provider, when the part before the first slash is one; what else
    /// has a slash is a model's own name. A bare name goes to the default provider if it speaks the
    /// dialect, else to the first that does. The scripted provider answers to its own name only:
    /// whoever asks for a model by name must not get a script instead.
    pub fn pick(&self, model: &str, protocol: Protocol) -> Result<Picked, NoProvider> {
        if let Some((prefix, own)) = model.split_once('/')
            && let Ok(name) = prefix.parse::<ProviderName>()
        {
            let provider = self
                .get(name)
                .ok_or(NoProvider::Unknown { provider: name })?;
            if !provider.speaks(protocol) {
                let speaks = name.protocol();
                return Err(NoProvider::WrongDialect {
                    provider: name,
                    speaks,
                });
            }
            return Ok(Picked {
                provider: Arc::clone(provider),
                model: own.to_owned(),
            });
        }
        let answers = |p: &&Arc<dyn Provider>| {
            p.speaks(protocol) && (p.name() == ProviderName::Demo) == (model == "demo")
        };
        let default = self.get(self.default.0).filter(answers);
        let provider = default.or_else(|| self.providers.iter().find(answers));
        let provider = provider.ok_or(NoProvider::NotConfigured)?;
        Ok(Picked {
            provider: Arc::clone(provider),
            model: model.to_owned(),
        })
    }

    fn get(&self, name: ProviderName) -> Option<&Arc<dyn Provider>> {
        self.providers
            .iter()
            .find(|provider| provider.name() == name)
    }
}
