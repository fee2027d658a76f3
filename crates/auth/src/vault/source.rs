//! Where the master key may be.

use crate::error::VaultError;
use crate::files::{self, Key, Readers};
use clawdbot_domain::Secret;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// No passphrase is longer.
const MAX_PASSPHRASE: u64 = 1024;

/// Where the master key may be, first found first used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A key file that somebody else provides; used when it is there.
    Provided(PathBuf),
    /// A key file that must be there, because somebody said so.
    Demanded(PathBuf),
    /// A command that prints the key, such as one that asks the system's keyring.
    Command(Vec<OsString>),
    /// A passphrase in a file that somebody else provides; used when it is there.
    PassphraseProvided(PathBuf),
    /// A passphrase in a file that must be there.
    PassphraseDemanded(PathBuf),
    /// A key file of our own, made on first use.
    Own(PathBuf),
}

impl KeySource {
    /// The usual places: systemd's credentials, a container's secret, a named file, a keyring's
    /// command, a passphrase, our own file.
    pub fn usual(secrets: &Path) -> Vec<Self> {
        let systemd = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let container = Path::new("/run/secrets");
        let of_systemd = |name: &str| systemd.as_ref().map(|folder| folder.join(name));
        let named = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
        let command = std::env::var("CLAWDBOT_VAULT_KEY_COMMAND").ok();
        let words = |line: String| line.split_whitespace().map(OsString::from).collect();
        let places = [
            of_systemd("clawdbot-vault-key").map(Self::Provided),
            Some(Self::Provided(container.join("clawdbot_vault_key"))),
            named("CLAWDBOT_VAULT_KEY_FILE").map(Self::Demanded),
            command.map(words).map(Self::Command),
            of_systemd("clawdbot-vault-passphrase").map(Self::PassphraseProvided),
            Some(Self::PassphraseProvided(
                container.join("clawdbot_vault_passphrase"),
            )),
            named("CLAWDBOT_VAULT_PASSPHRASE_FILE").map(Self::PassphraseDemanded),
            Some(Self::Own(secrets.join("vault.key"))),
        ];
        places.into_iter().flatten().collect()
    }

    /// What people call this place.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Provided(path) | Self::Demanded(path) | Self::Own(path) => {
                path.display().to_string()
            }
            Self::Command(words) => {
                let program = words
                    .first()
                    .map(|word| word.to_string_lossy().into_owned());
                format!("the command {}", program.unwrap_or_default())
            }
            Self::PassphraseProvided(path) | Self::PassphraseDemanded(path) => {
                format!("the passphrase in {}", path.display())
            }
        }
    }

    /// The file, when this program may put another key in it.
    pub(super) fn ours(&self) -> Option<&Path> {
        match self {
            Self::Demanded(path) | Self::Own(path) => Some(path),
            Self::Provided(_)
            | Self::Command(_)
            | Self::PassphraseProvided(_)
            | Self::PassphraseDemanded(_) => None,
        }
    }

    /// The key there; `None` when there is none and another place may be looked at. A key that is
    /// there and cannot be used is not passed over for the next one.
    pub(super) fn key(&self) -> Result<Option<Key>, VaultError> {
        let locked = |e: crate::AuthError| VaultError::Locked(e.to_string());
        match self {
            Self::Provided(path) => files::read_key_of(path, Readers::Anyone).map_err(locked),
            Self::Own(path) => files::read_key(path).map_err(locked),
            Self::Demanded(path) => match files::read_key(path).map_err(locked)? {
                Some(key) => Ok(Some(key)),
                None => Err(VaultError::Locked(format!(
                    "CLAWDBOT_VAULT_KEY_FILE names {}, which is not there",
                    path.display()
                ))),
            },
            Self::Command(words) => super::command::key(words).map(Some),
            Self::PassphraseProvided(_) | Self::PassphraseDemanded(_) => Ok(None),
        }
    }

    /// The passphrase there.
    pub(super) fn passphrase(&self) -> Result<Option<Secret>, VaultError> {
        let (path, readers) = match self {
            Self::PassphraseProvided(path) => (path, Readers::Anyone),
            Self::PassphraseDemanded(path) => (path, Readers::Owner),
            Self::Provided(_) | Self::Demanded(_) | Self::Command(_) | Self::Own(_) => {
                return Ok(None);
            }
        };
        let read = files::read(path, MAX_PASSPHRASE, readers);
        let read = read.map_err(|e| VaultError::Locked(e.to_string()))?;
        let text = read.and_then(|bytes| {
            let text = std::str::from_utf8(&bytes).ok()?;
            Some(Secret::new(text.trim_end_matches(['\r', '\n'])))
        });
        match (text, self) {
            (Some(text), _) if !text.expose().is_empty() => Ok(Some(text)),
            (None, Self::PassphraseProvided(_)) => Ok(None),
            _ => Err(VaultError::Locked(format!(
                "{} holds no passphrase",
                path.display()
            ))),
        }
    }
}
