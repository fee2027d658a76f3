//! Asking a person for the vault's passphrase.

use crate::cli::{Exit, Failure};
use crate::note;
use clawdbot_auth::{Vault, VaultError};
use clawdbot_domain::Secret;
use std::io::IsTerminal as _;

/// How often a person may mistype.
const TRIES: usize = 3;

/// Asks for the passphrase when the vault is sealed with one that no file gives, and there is
/// somebody to ask. Without a terminal the vault stays locked, and says so itself.
pub fn unlock(vault: &Vault) -> Result<(), Failure> {
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    // What else is wrong with the vault is told by whoever uses it.
    if !terminal || !vault.wants_passphrase().unwrap_or(false) {
        return Ok(());
    }
    for _ in 0..TRIES {
        match vault.unlock(&ask("passphrase of the vault (not shown): ")?) {
            Err(VaultError::Locked(why)) => note!("{why}"),
            other => return other.map_err(|e| Failure::new(Exit::Io, e)),
        }
    }
    Err(Failure::new(
        Exit::Refused,
        format!("{TRIES} wrong passphrases; the vault stays locked"),
    ))
}

/// Asks for a secret on the terminal, without echo.
pub fn ask(prompt: &str) -> Result<Secret, Failure> {
    let asked = rpassword::prompt_password(prompt).map(Secret::new);
    asked.map_err(|e| Failure::new(Exit::Io, format!("cannot read from the terminal: {e}")))
}
