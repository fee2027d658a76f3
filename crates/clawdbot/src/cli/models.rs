//! `clawdbot models`: providers, their credentials, their models.

pub(super) mod auth;

use super::record::{Record, settings};
use super::{CliResult, Exit, Failure};
use crate::home::Home;
use crate::{note, say, wire};
use clap::{Args, Subcommand};
use clawdbot_config::{ConfigErrors, EditError, Loaded, ModelRef, SettingsFile};
use clawdbot_domain::{Event, Origin, ProviderName};
use clawdbot_providers::Provider;
use serde_json::{Value, json};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a server on this machine may take to be found.
const FIND: Duration = Duration::from_millis(150);

/// How long a provider may take to list its models.
const PROBE: Duration = Duration::from_secs(10);

#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// Every provider: where it is, whether it is set up, and which servers run on this machine
    ListProviders(AsJson),
    /// Provider credentials
    #[command(subcommand)]
    Auth(AuthCommand),
    /// The models that configured providers offer
    List(AsJson),
    /// The default model, and with --probe whether each provider answers
    Status {
        /// Ask each configured provider for its models
        #[arg(long)]
        probe: bool,
        #[command(flatten)]
        json: AsJson,
    },
    /// Set the model that agents use, as PROVIDER/MODEL
    SetDefault {
        /// Such as openai/gpt-4o or anthropic/claude-sonnet-4-5
        model: String,
    },
}

#[derive(Debug, Args)]
pub struct RekeyArgs {
    /// Take the new key from this file; a random one is written there when there is no such file
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase")]
    key_file: Option<PathBuf>,
    /// Make the new key from a passphrase: asked for without echo, or the first line of standard input
    #[arg(long)]
    passphrase: bool,
}

#[derive(Debug, Clone, Copy, Args)]
pub struct AsJson {
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub enum AuthCommand {
    /// Store a credential: asked for without echo, or the first line of standard input
    PasteToken {
        /// Whose credential
        #[arg(long)]
        provider: ProviderName,
    },
    /// What is stored: provider, kind, fingerprint, age, last use, due; never the secret
    List(AsJson),
    /// Seal every stored credential with a new key
    Rekey(RekeyArgs),
    /// Remove a credential, or all of them
    Reset {
        /// Whose credential
        #[arg(long, required_unless_present = "all")]
        provider: Option<ProviderName>,
        /// Every credential
        #[arg(long, conflicts_with = "provider")]
        all: bool,
    },
    /// Set the model that agents use, as PROVIDER/MODEL
    SetDefault {
        /// Such as openai/gpt-4o
        model: String,
    },
}

pub fn run(command: ModelsCommand, home: &Home) -> CliResult {
    let loaded = settings(home)?;
    match command {
        ModelsCommand::ListProviders(AsJson { json }) => list_providers(home, &loaded, json),
        ModelsCommand::List(AsJson { json }) => list(home, &loaded, json),
        ModelsCommand::Status { probe, json } => status(home, &loaded, probe, json.json),
        ModelsCommand::SetDefault { model }
        | ModelsCommand::Auth(AuthCommand::SetDefault { model }) => {
            set_default(home, &loaded, &model)
        }
        ModelsCommand::Auth(AuthCommand::PasteToken { provider }) => {
            auth::paste(home, &loaded, provider)
        }
        ModelsCommand::Auth(AuthCommand::List(AsJson { json })) => auth::list(home, json),
        ModelsCommand::Auth(AuthCommand::Rekey(args)) => auth::rekey(args, home, &loaded),
        ModelsCommand::Auth(AuthCommand::Reset { provider, .. }) => {
            auth::reset(home, &loaded, provider)
        }
    }
}

fn set_default(home: &Home, loaded: &Loaded, model: &str) -> CliResult {
    ModelRef::parse(model).map_err(|e| Failure::new(Exit::BadData, e))?;
    let edit = |e: EditError| Failure::new(Exit::BadConfig, e);
    let wrong = |e: ConfigErrors| Failure::new(Exit::BadConfig, e);
    let mut draft = SettingsFile::new(home.config_file())
        .draft()
        .map_err(edit)?;
    draft.set_word("models.default", model).map_err(wrong)?;
    let changes = draft.changes().map_err(wrong)?;
    let Some(change) = changes.first() else {
        note!("models.default is {model} already");
        return Ok(Exit::Done);
    };
    let event = Event::ConfigChanged {
        key: change.key.to_owned(),
        from: change.from.clone(),
        to: change.to.clone(),
        weakens: change.weakens,
    };
    Record::open(home, loaded)?.act(&event, || draft.commit())?;
    say!("agents use {model}");
    Ok(Exit::Done)
}

/// Is a server listening there? A name or address of this machine only.
fn answers(origin: &Origin) -> bool {
    let host = origin.host().trim_start_matches('[').trim_end_matches(']');
    let addresses = (host, origin.port()).to_socket_addrs();
    let mut local = addresses
        .into_iter()
        .flatten()
        .filter(|a| a.ip().is_loopback());
    local.any(|address| TcpStream::connect_timeout(&address, FIND).is_ok())
}

fn list_providers(home: &Home, loaded: &Loaded, as_json: bool) -> CliResult {
    let stored = auth::vault(home)?.list().map_err(|e| auth::locked(&e))?;
    let mut all = Vec::new();
    for name in ProviderName::ALL {
        let base_url = loaded.settings.models.base_urls.get(&name).cloned();
        let origin = base_url
            .as_deref()
            .and_then(|url| Origin::of_base_url(url).ok());
        let credential = stored.iter().any(|c| c.provider == name);
        let state = match origin.map(|(origin, _)| origin) {
            _ if name == ProviderName::Demo && loaded.settings.models.demo_enabled => "built in",
            _ if name == ProviderName::Demo => "switched off",
            None => "no base URL",
            Some(origin) if origin.is_loopback() && answers(&origin) => "found running",
            Some(origin) if origin.is_loopback() => "not running",
            Some(_) if credential => "credential stored",
            Some(_) => "no credential",
        };
        all.push((name, base_url, credential, state));
    }
    if as_json {
        let all = all.iter().map(|(name, base_url, credential, state)| {
            json!({"provider": name, "base_url": base_url, "credential": credential, "state": state})
        });
        say!("{}", Value::from(all.collect::<Vec<_>>()));
    } else {
        for (name, base_url, _, state) in &all {
            say!(
                "{:<11} {:<18} {}",
                name.as_str(),
                state,
                base_url.as_deref().unwrap_or("–")
            );
        }
        note!(
            "set one up: clawdbot models auth paste-token --provider P   then: clawdbot models set-default P/MODEL"
        );
    }
    Ok(Exit::Done)
}

/// A provider, and the models it offers or why it did not say.
type Told = (ProviderName, Result<Vec<String>, String>);

/// Asks every provider that could answer for its models, all at once.
fn ask_all(home: &Home, loaded: &Loaded) -> Result<Vec<Told>, Failure> {
    let vault = Arc::new(auth::vault(home)?);
    let stored = vault.list().map_err(|e| auth::locked(&e))?;
    let directory = wire::directory(&loaded.settings, &vault, None)
        .map_err(|e| Failure::new(Exit::BadConfig, e))?;
    let is_set_up = |provider: &&Arc<dyn Provider>| {
        let name = provider.name();
        let base_url = loaded.settings.models.base_urls.get(&name);
        let origin = base_url.and_then(|url| Origin::of_base_url(url).ok());
        let found = origin.is_some_and(|(o, _)| o.is_loopback() && answers(&o));
        name == ProviderName::Demo || found || stored.iter().any(|c| c.provider == name)
    };
    let set_up: Vec<_> = directory
        .providers()
        .iter()
        .filter(is_set_up)
        .cloned()
        .collect();
    super::gateway::runtime()?.block_on(async {
        let asked: Vec<_> = set_up.into_iter().map(|p| tokio::spawn(ask(p))).collect();
        let mut told = Vec::new();
        for answer in asked {
            told.push(answer.await.map_err(|e| Failure::new(Exit::Bug, e))?);
        }
        Ok(told)
    })
}

async fn ask(provider: Arc<dyn Provider>) -> Told {
    let answer = match tokio::time::timeout(PROBE, provider.models()).await {
        Ok(Ok(models)) => Ok(models.ids.iter().map(|id| plain(id)).collect()),
        Ok(Err(error)) => Err(plain(&error.to_string())),
        Err(_) => Err(format!("no answer within {} s", PROBE.as_secs())),
    };
    (provider.name(), answer)
}

/// A provider's own text must not steer the terminal.
fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

fn list(home: &Home, loaded: &Loaded, as_json: bool) -> CliResult {
    let told = ask_all(home, loaded)?;
    let models = told.iter().flat_map(|(name, answer)| {
        let ids = answer.as_ref().map(Vec::as_slice).unwrap_or_default();
        ids.iter().map(move |id| format!("{name}/{id}"))
    });
    let models: Vec<String> = models.collect();
    if as_json {
        say!("{}", Value::from(models));
    } else {
        for model in &models {
            say!("{model}");
        }
    }
    for (name, answer) in &told {
        if let Err(why) = answer {
            note!("warning: {name}: {why}");
        }
    }
    Ok(Exit::Done)
}

fn status(home: &Home, loaded: &Loaded, probe: bool, as_json: bool) -> CliResult {
    let default = loaded.settings.models.default.to_string();
    let told = if probe {
        ask_all(home, loaded)?
    } else {
        Vec::new()
    };
    let chosen = loaded.settings.models.default.provider;
    // A default that nobody can answer for is as bad as one that fails.
    let answered = !probe || told.iter().any(|(name, _)| *name == chosen);
    let well = answered && told.iter().all(|(_, answer)| answer.is_ok());
    if as_json {
        let told = told.iter().map(|(name, answer)| match answer {
            Ok(ids) => json!({"provider": name, "answers": true, "models": ids.len()}),
            Err(why) => json!({"provider": name, "answers": false, "why": why}),
        });
        say!(
            "{}",
            json!({"default": default, "probed": told.collect::<Vec<_>>()})
        );
    } else {
        say!("default model: {default}");
        for (name, answer) in &told {
            match answer {
                Ok(ids) => say!("{:<11} answers, {} models", name.as_str(), ids.len()),
                Err(why) => say!("{:<11} FAILS: {why}", name.as_str()),
            }
        }
    }
    if !answered {
        note!("warning: {chosen}, whose model is the default, is not set up");
        note!("  try: clawdbot models auth paste-token --provider {chosen}");
    }
    Ok(if well { Exit::Done } else { Exit::Found })
}

#[cfg(test)]
mod tests {
    use super::{answers, plain};
    use clawdbot_domain::Origin;
    use std::net::TcpListener;

    #[test]
    fn a_server_is_found_while_it_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (origin, _) = Origin::of_base_url(&url).unwrap();
        assert!(answers(&origin));
        drop(listener);
        assert!(!answers(&origin));
    }

    #[test]
    fn a_model_named_in_escape_codes_does_not_reach_the_terminal() {
        assert_eq!(
            plain("gpt\u{1b}]0;owned\u{7}"),
            "gpt\u{fffd}]0;owned\u{fffd}"
        );
    }
}
