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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Credentials, ProviderSettings, Timeouts, connect};
    use clawdbot_domain::{Origin, Secret};

    struct Nothing;

    impl Credentials for Nothing {
        fn secret_for(&self, _: ProviderName, _: &Origin) -> Result<Option<Secret>, String> {
            Ok(None)
        }
    }

    fn directory(names: &[ProviderName], default: ProviderName) -> Directory {
        let provider = |name: &ProviderName| {
            let base_url = "https://example.com/v1".to_owned();
            let settings = ProviderSettings {
                name: *name,
                base_url,
                timeouts: Timeouts::default(),
            };
            connect(settings, Arc::new(Nothing)).unwrap()
        };
        Directory::new(
            names.iter().map(provider).collect(),
            (default, "m".to_owned()),
        )
    }

    #[test]
    fn a_model_finds_its_provider_or_an_answer_that_helps() {
        use ProviderName::{Anthropic, Demo, OpenAi, OpenRouter, Vllm};
        let all = directory(&[Demo, OpenAi, OpenRouter, Anthropic], OpenRouter);
        let script = directory(&[Demo], Demo);
        let (openai, anthropic) = (Protocol::OpenAi, Protocol::Anthropic);
        let wrong = |provider, speaks| Err(NoProvider::WrongDialect { provider, speaks });
        for (directory, model, protocol, expected) in [
            (&all, "openai/gpt", openai, Ok("openai/gpt")),
            (
                &all,
                "openrouter/meta-llama/l",
                openai,
                Ok("openrouter/meta-llama/l"),
            ),
            (&all, "meta-llama/l", openai, Ok("openrouter/meta-llama/l")),
            (&all, "gpt", openai, Ok("openrouter/gpt")),
            (&all, "claude", anthropic, Ok("anthropic/claude")),
            (&all, "demo/demo", anthropic, Ok("demo/demo")),
            (&all, "demo", openai, Ok("demo/demo")),
            (
                &all,
                "anthropic/claude",
                openai,
                wrong(Anthropic, anthropic),
            ),
            (&all, "openai/gpt", anthropic, wrong(OpenAi, openai)),
            (
                &all,
                "vllm/x",
                openai,
                Err(NoProvider::Unknown { provider: Vllm }),
            ),
            (&script, "gpt", openai, Err(NoProvider::NotConfigured)),
            (&script, "claude", anthropic, Err(NoProvider::NotConfigured)),
        ] {
            let picked = directory
                .pick(model, protocol)
                .map(|picked| format!("{picked:?}"));
            assert_eq!(picked, expected.map(str::to_owned), "{model} {protocol}");
        }
        assert_eq!(
            format!("{:?}", all.default_model().unwrap()),
            "openrouter/m"
        );
    }

    #[test]
    fn a_base_url_that_would_carry_a_secret_in_the_clear_is_refused() {
        for base_url in [
            "http://api.openai.com/v1",
            "https://u:p@h",
            "ftp://h",
            "https://",
        ] {
            let base_url = base_url.to_owned();
            let name = ProviderName::OpenAi;
            let settings = ProviderSettings {
                name,
                base_url,
                timeouts: Timeouts::default(),
            };
            let error = connect(settings, Arc::new(Nothing))
                .err()
                .unwrap()
                .to_string();
            assert!(
                error.starts_with("models.providers.openai.baseUrl: "),
                "{error}"
            );
        }
    }
}
