//! Model providers, by name and by where they live.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The providers Clawdbot knows. Each has a row in the configuration table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    /// Anthropic.
    Anthropic,
    /// OpenAI.
    OpenAi,
    /// OpenRouter.
    OpenRouter,
    /// Ollama on this machine.
    Ollama,
    /// llama.cpp's server on this machine.
    LlamaCpp,
    /// vLLM.
    Vllm,
    /// LM Studio on this machine.
    LmStudio,
    /// Any other server that speaks OpenAI's protocol.
    Compatible,
    /// The built-in scripted provider; needs no key and says in every answer what it is.
    Demo,
    /// Brave's web search: no models, only a credential.
    Brave,
    /// Tavily's web search: no models, only a credential.
    Tavily,
}

/// A provider nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown provider {given:?}; it is one of: {}", ProviderName::all().map(ProviderName::as_str).collect::<Vec<_>>().join(", "))]
pub struct UnknownProvider {
    given: String,
}

impl ProviderName {
    /// Every provider of models.
    pub const ALL: [Self; 9] = [
        Self::Anthropic,
        Self::OpenAi,
        Self::OpenRouter,
        Self::Ollama,
        Self::LlamaCpp,
        Self::Vllm,
        Self::LmStudio,
        Self::Compatible,
        Self::Demo,
    ];

    /// Every provider of web search that wants a key.
    pub const SEARCH: [Self; 2] = [Self::Brave, Self::Tavily];

    /// Both.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().chain(Self::SEARCH)
    }

    /// True for one that searches and has no models.
    pub const fn is_search(self) -> bool {
        matches!(self, Self::Brave | Self::Tavily)
    }

    /// Its name in configuration, commands and `provider/model`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
            Self::OpenRouter => "openrouter",
            Self::Ollama => "ollama",
            Self::LlamaCpp => "llamacpp",
            Self::Vllm => "vllm",
            Self::LmStudio => "lmstudio",
            Self::Compatible => "compatible",
            Self::Demo => "demo",
            Self::Brave => "brave",
            Self::Tavily => "tavily",
        }
    }

    /// The protocol it speaks. `demo` speaks both and is asked in OpenAI's; one that has no models is never asked.
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Anthropic => Protocol::Anthropic,
            Self::OpenAi
            | Self::OpenRouter
            | Self::Ollama
            | Self::LlamaCpp
            | Self::Vllm
            | Self::LmStudio
            | Self::Compatible
            | Self::Demo
            | Self::Brave
            | Self::Tavily => Protocol::OpenAi,
        }
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProviderName {
    type Err = UnknownProvider;

    fn from_str(text: &str) -> Result<Self, UnknownProvider> {
        Self::all()
            .find(|p| p.as_str() == text)
            .ok_or_else(|| UnknownProvider {
                given: text.chars().take(80).collect(),
            })
    }
}

/// A wire dialect: of a client that asks us, or of a provider that we ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// OpenAI's chat completions.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        })
    }
}

/// `scheme://host:port`, lower case, default ports left out. A credential is bound to one, so that
/// a changed base URL can never make a secret travel to another host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin {
    https: bool,
    host: String,
    port: u16,
}

/// Why a text is no origin a credential may travel to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOrigin {
    /// Not `http://` or `https://`.
    #[error("a base URL starts with https:// (or http:// on this machine)")]
    Scheme,
    /// User, password, query or fragment in it.
    #[error("a base URL holds no user, password, query or fragment")]
    Extra,
    /// No or a malformed host.
    #[error("a base URL needs a host name or address")]
    Host,
    /// A port that is no port.
    #[error("the port of a base URL is a number from 1 to 65535")]
    Port,
    /// Plain HTTP to another machine would carry the secret in the clear.
    #[error("http:// is for this machine only; use https:// for any other host")]
    ClearText,
}

impl Origin {
    /// The origin of a base URL, and the path below it without a trailing slash.
    pub fn of_base_url(url: &str) -> Result<(Self, String), BadOrigin> {
        let (https, rest) = if let Some(rest) = url.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = url.strip_prefix("http://") {
            (false, rest)
        } else {
            return Err(BadOrigin::Scheme);
        };
        if rest.contains(['@', '?', '#', '\\', ' ']) || rest.chars().any(char::is_control) {
            return Err(BadOrigin::Extra);
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = split_port(authority)?;
        let port = match port {
            Some(text) => text
                .parse()
                .ok()
                .filter(|p| *p != 0)
                .ok_or(BadOrigin::Port)?,
            None if https => 443,
            None => 80,
        };
        let origin = Self {
            https,
            host: host.to_ascii_lowercase(),
            port,
        };
        if !https && !origin.is_loopback() {
            return Err(BadOrigin::ClearText);
        }
        Ok((origin, path.trim_end_matches('/').to_owned()))
    }

    /// True for https.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Host name or address, brackets kept for IPv6.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port number.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// True when the host is this machine by address or is exactly `localhost`; `127.evil.com` is not.
    pub fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost"
            || bare
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), BadOrigin> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let end = rest.find(']').ok_or(BadOrigin::Host)?;
        let (inner, after) = rest.split_at(end);
        inner
            .parse::<std::net::Ipv6Addr>()
            .map_err(|_| BadOrigin::Host)?;
        let (host, _) = authority.split_at(end + 2);
        match after.strip_prefix(']') {
            Some("") => (host, None),
            Some(after) => (host, Some(after.strip_prefix(':').ok_or(BadOrigin::Host)?)),
            None => return Err(BadOrigin::Host),
        }
    } else {
        authority
            .split_once(':')
            .map_or((authority, None), |(host, port)| (host, Some(port)))
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let named = !host.is_empty() && (host.starts_with('[') || host.bytes().all(plain));
    if named {
        Ok((host, port))
    } else {
        Err(BadOrigin::Host)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, default) = if self.https {
            ("https", 443)
        } else {
            ("http", 80)
        };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == default {
            Ok(())
        } else {
            write!(f, ":{}", self.port)
        }
    }
}

impl TryFrom<String> for Origin {
    type Error = BadOrigin;

    fn try_from(text: String) -> Result<Self, BadOrigin> {
        Self::of_base_url(&text).map(|(origin, _)| origin)
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_the_base_url_without_its_path() {
        let (origin, path) = Origin::of_base_url("https://API.OpenAI.com/v1/").unwrap();
        assert_eq!(
            (origin.to_string().as_str(), path.as_str()),
            ("https://api.openai.com", "/v1")
        );
        let (origin, path) = Origin::of_base_url("http://127.0.0.1:11434").unwrap();
        assert_eq!(
            (origin.to_string().as_str(), path.as_str()),
            ("http://127.0.0.1:11434", "")
        );
        let (origin, _) = Origin::of_base_url("http://[::1]:8080/v1").unwrap();
        assert_eq!(origin.to_string(), "http://[::1]:8080");
    }

    #[test]
    fn a_secret_never_travels_in_the_clear_to_another_machine() {
        for url in [
            "http://api.openai.com",
            "http://127.evil.com/v1",
            "http://localhost.evil.com",
        ] {
            assert_eq!(
                Origin::of_base_url(url).unwrap_err(),
                BadOrigin::ClearText,
                "{url}"
            );
        }
    }

    #[test]
    fn odd_base_urls_are_refused() {
        for (url, why) in [
            ("ftp://x", BadOrigin::Scheme),
            ("https://user:pw@x", BadOrigin::Extra),
            ("https://x?a=b", BadOrigin::Extra),
            ("https://", BadOrigin::Host),
            ("https://[::1", BadOrigin::Host),
            ("https://x:0", BadOrigin::Port),
            ("https://x:99999", BadOrigin::Port),
        ] {
            assert_eq!(Origin::of_base_url(url).unwrap_err(), why, "{url}");
        }
    }
}
