//! `clawdbot models`.

mod ask;
mod auth;
mod providers;

use super::{CliResult, Failure, config};
use crate::home::Home;
use crate::running::bad_settings;
use clap::Subcommand;
use clawdbot_auth::{CredentialInfo, Vault, VaultError};
use clawdbot_config::{Overrides, Settings, SettingsFile};
use clawdbot_domain::{ProviderName, UnixTime};
use std::sync::Arc;

#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List the models that the configured providers offer
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List every provider there is: where it lives, whether a credential is stored, whether a local
    /// server answers
    ListProviders {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what is configured, and with --probe whether it works
    Status {
        /// Ask each provider for its models
        #[arg(long)]
        probe: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Choose the model that answers when nobody names one
    SetDefault {
        /// Such as anthropic/claude-sonnet-4-5 or ollama/llama3.2
        #[arg(value_name = "PROVIDER/MODEL")]
        model: String,
    },
    /// Store, list and remove the providers' credentials
    #[command(subcommand)]
    Auth(auth::AuthCommand),
}

pub fn run(command: ModelsCommand, home: &Home) -> CliResult {
    match command {
        ModelsCommand::List { json } => ask::list(&Desk::open(home)?, json),
        ModelsCommand::ListProviders { json } => providers::list(&Desk::open(home)?, json),
        ModelsCommand::Status { probe, json } => ask::status(&Desk::open(home)?, probe, json),
        ModelsCommand::SetDefault { model } => set_default(home, &model),
        ModelsCommand::Auth(command) => auth::run(command, home),
    }
}

fn set_default(home: &Home, model: &str) -> CliResult {
    config::set(home, "models.default", model)
}

/// What these commands work with.
struct Desk<'a> {
    home: &'a Home,
    settings: Settings,
    vault: Arc<Vault>,
    now: UnixTime,
}

impl<'a> Desk<'a> {
    fn open(home: &'a Home) -> Result<Self, Failure> {
        let loaded = SettingsFile::new(home.config_file())
            .load(&Overrides::from_vars(std::env::vars_os()))
            .map_err(bad_settings)?;
        home.create().map_err(|e| {
            Failure::new(
                super::Exit::CannotCreate,
                format!("cannot make the home: {e}"),
            )
        })?;
        Ok(Self {
            home,
            settings: loaded.settings,
            vault: Arc::new(Vault::open(&home.state(), &home.secrets()).map_err(failed)?),
            now: UnixTime::now(),
        })
    }

    fn credentials(&self) -> Result<Vec<CredentialInfo>, Failure> {
        self.vault.list().map_err(failed)
    }

    fn base_url(&self, provider: ProviderName) -> Option<&str> {
        let urls = &self.settings.models.base_urls;
        urls.get(&provider).map(String::as_str)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
fn failed(error: VaultError) -> Failure {
    use super::Exit;
    let exit = match &error {
        VaultError::BadSecret(_) => Exit::BadData,
        VaultError::Locked(_) => Exit::Unavailable,
        VaultError::WrongHost { .. } => Exit::Refused,
        VaultError::Remains(_) => Exit::Found,
        VaultError::Tampered(_) | VaultError::Store(_) => Exit::Io,
    };
    Failure::new(exit, error)
}
