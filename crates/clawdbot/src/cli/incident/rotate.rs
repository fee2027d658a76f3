//! Every key that this home holds is made worthless.

use super::super::models::auth;
use super::super::record::{Record, settings};
use super::super::{CliResult, Exit, Failure};
use crate::home::Home;
use crate::say;
use clawdbot_auth::TokenStore;
use clawdbot_domain::{Event, UnixTime};

const INCIDENT: &str = "incident";

pub(super) fn all(home: &Home) -> CliResult {
    let store =
        TokenStore::open(&home.state(), &home.secrets()).map_err(|e| Failure::new(Exit::Io, e))?;
    let vault = auth::open(home)?;
    let record = Record::open(home, &settings(home)?)?;
    let now = UnixTime::now();
    let tokens = store.list(now).map_err(|e| Failure::new(Exit::Io, e))?;
    let live = tokens.iter().filter(|token| token.revoked.is_none());
    let mut revoked = 0;
    for token in live {
        let event = Event::TokenRevoked {
            token: token.id.clone(),
            reason: INCIDENT.to_owned(),
        };
        record.act(&event, || store.revoke(&token.id, now))?;
        revoked += 1;
    }
    let reason = INCIDENT.to_owned();
    record.act(&Event::SetupVoided { reason }, || store.void_setups(now))?;
    // Also where the vault is locked: what cannot be opened can be removed.
    let stored = vault.list().map_err(|e| auth::locked(&e))?;
    for credential in &stored {
        let provider = credential.provider;
        record.act(&Event::CredentialRemoved { provider }, || {
            vault.remove(provider)
        })?;
    }
    // Looks again, and fails when anything remains, whatever its name.
    vault.remove_all().map_err(|e| Failure::new(Exit::Io, e))?;
    say!("revoked {revoked} tokens, and setup tokens that were still open");
    say!("removed {} provider credentials", stored.len());
    say!("what remains to be done, and only you can do:");
    for credential in &stored {
        say!(
            "  revoke the credential of {} at the provider, and paste a new one: clawdbot models auth paste-token --provider {0}",
            credential.provider
        );
    }
    say!(
        "  make new tokens for your programs: clawdbot tokens create --name NAME --scopes chat,tools"
    );
    say!("  a running gateway has lost its own token for this command line: restart it");
    say!("  if the key of the credentials may be known: clawdbot models auth rekey");
    Ok(Exit::Done)
}
