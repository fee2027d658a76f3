//! `clawdbot models auth`: provider credentials, and the key they are sealed with.

use super::super::record::Record;
use super::super::tokens::day;
use super::super::{CliResult, Exit, Failure};
use super::RekeyArgs;
use crate::home::Home;
use crate::{note, reminders, say, unlock};
use clawdbot_auth::{CredentialInfo, CredentialKind, NewKey, Vault, VaultError};
use clawdbot_config::{Loaded, SearchKind};
use clawdbot_domain::{Event, Origin, ProviderName, Secret, UnixTime};
use serde_json::{Value, json};
use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::Path;

/// A line that is longer holds no credential.
const MAX_LINE: usize = 16 * 1024;

/// The vault as it stands, locked or not.
pub(in crate::cli) fn open(home: &Home) -> Result<Vault, Failure> {
    Vault::open(&home.state(), &home.secrets()).map_err(|e| locked(&e))
}

pub(super) fn vault(home: &Home) -> Result<Vault, Failure> {
    let vault = open(home)?;
    unlock::unlock(&vault)?;
    Ok(vault)
}

/// Reads the credential before anything is opened: a person takes longer than a lock should last.
pub(super) fn paste(home: &Home, loaded: &Loaded, provider: ProviderName) -> CliResult {
    if provider == ProviderName::Demo {
        let why = "demo is built in and needs no credential";
        return Err(Failure::new(Exit::Usage, why));
    }
    let base_url = base_url(loaded, provider);
    let base_url = base_url.ok_or_else(|| {
        Failure::new(Exit::BadConfig, format!("{provider} has no base URL yet")).hint(format!(
            "clawdbot config set models.providers.{provider}.baseUrl URL"
        ))
    })?;
    let (origin, _) =
        Origin::of_base_url(&base_url).map_err(|e| Failure::new(Exit::BadConfig, e))?;
    let secret = read_secret(&format!("credential of {provider}"))?;
    let vault = vault(home)?;
    let fingerprint = vault.fingerprint(&secret).map_err(|e| locked(&e))?;
    let record = Record::open(home, loaded)?;
    let event = Event::CredentialStored {
        provider,
        fingerprint,
        origin: origin.to_string(),
    };
    let kind = CredentialKind::of(&secret);
    let info = record.act(&event, || {
        vault.put(provider, kind, &origin, &secret, UnixTime::now())
    })?;
    say!(
        "stored: {provider}, {}, fingerprint {}, for {}",
        info.kind,
        info.fingerprint,
        info.origin
    );
    let searches = loaded.settings.gateway.tools.search.as_ref();
    if provider.is_search() {
        if searches.and_then(|search| search.kind.provider()) != Some(provider) {
            note!("to use it: clawdbot config set gateway.tools.searchProvider {provider}");
        }
    } else if loaded.settings.models.default.provider == ProviderName::Demo {
        note!(
            "agents still use the demo; choose a model: clawdbot models set-default {provider}/MODEL"
        );
    }
    Ok(Exit::Done)
}

/// Where the credential will travel, and nowhere else.
fn base_url(loaded: &Loaded, provider: ProviderName) -> Option<String> {
    let kind = [SearchKind::Brave, SearchKind::Tavily]
        .into_iter()
        .find(|kind| kind.provider() == Some(provider));
    let Some(kind) = kind else {
        return loaded.settings.models.base_urls.get(&provider).cloned();
    };
    match &loaded.settings.gateway.tools.search {
        Some(search) if search.kind == kind => Some(search.base_url().to_owned()),
        Some(_) | None => kind.own_place().map(str::to_owned),
    }
}

/// A secret, from a person without echo, else the first line of standard input. Never an argument:
/// those stand in the list of processes and in the shell's history.
fn read_secret(what: &str) -> Result<Secret, Failure> {
    let cannot = |e: std::io::Error| Failure::new(Exit::Io, format!("cannot read the {what}: {e}"));
    if std::io::stdin().is_terminal() {
        let asked = unlock::ask(&format!("{what} (not shown): "))?;
        return Ok(Secret::new(asked.expose().trim()));
    }
    // One line, and no more of it than any credential has; its room is made at once, since growing
    // would leave copies behind that nobody wipes.
    let mut line = String::with_capacity(MAX_LINE);
    let read = std::io::stdin()
        .lock()
        .take(MAX_LINE as u64)
        .read_line(&mut line);
    let line = Secret::new(line);
    read.map_err(cannot)?;
    Ok(Secret::new(line.expose().trim_end_matches(['\r', '\n'])))
}

pub(super) fn list(home: &Home, as_json: bool) -> CliResult {
    let vault = vault(home)?;
    let all = vault.list().map_err(|e| locked(&e))?;
    let now = UnixTime::now();
    if as_json {
        let all = all.iter().map(|c| {
            json!({
                "provider": c.provider, "kind": c.kind, "fingerprint": c.fingerprint, "origin": c.origin,
                "created": c.created.to_string(), "age_days": now.since(c.created).as_secs() / 86_400, "last_used": c.last_used.map(|at| at.to_string()),
                "due": c.due().to_string(), "is_due": c.due() <= now,
            })
        });
        say!("{}", Value::from(all.collect::<Vec<_>>()));
    } else if all.is_empty() {
        note!(
            "no credentials are stored; store one: clawdbot models auth paste-token --provider anthropic"
        );
    } else {
        say!(
            "{:<11} {:<12} {:<13} {:>5}  {:<10}  {:<10}  FOR",
            "PROVIDER",
            "KIND",
            "FINGERPRINT",
            "AGE",
            "LAST USE",
            "DUE"
        );
        for c in &all {
            say!("{}", auth_line(c, now));
        }
    }
    for line in reminders::of_credentials(&all, now) {
        note!("{line}");
    }
    // A list of what cannot be read would look like all is well.
    if let Err(error) = vault.check() {
        note!("warning: {error}");
        return Ok(Exit::Found);
    }
    tell_place(&vault, home);
    Ok(Exit::Done)
}

/// Whoever takes the whole home takes the key with it.
fn tell_place(vault: &Vault, home: &Home) {
    let place = vault.key_place().unwrap_or_default();
    if Path::new(&place).starts_with(home.root()) {
        note!("the key lies beside what it opens, in {place}; to keep it elsewhere:");
        note!("  clawdbot models auth rekey --key-file FILE   (or --passphrase)");
    }
}

/// Seals everything with a new key. It is written down before it happens.
pub(super) fn rekey(args: RekeyArgs, home: &Home, loaded: &Loaded) -> CliResult {
    let vault = vault(home)?;
    vault.check().map_err(|e| locked(&e))?;
    let from = vault.key_place().map_err(|e| locked(&e))?;
    let (new, to) = match args.key_file {
        _ if args.passphrase => (NewKey::Passphrase(new_passphrase()?), "a passphrase".into()),
        Some(path) => (NewKey::File(path.clone()), path.display().to_string()),
        None => (NewKey::InPlace, from.clone()),
    };
    let record = Record::open(home, loaded)?;
    let event = Event::VaultRekeyed { from, to };
    let done = record.act_with(&event, || vault.rekey(new), |e| locked(&e))?;
    say!(
        "sealed anew: {} credentials, key: {}",
        done.credentials,
        done.place
    );
    if args.passphrase {
        note!(
            "a gateway that runs is locked until it is given the passphrase: name a file that holds"
        );
        note!("it in CLAWDBOT_VAULT_PASSPHRASE_FILE, or start the gateway on a terminal");
    } else {
        note!(
            "a gateway that can read {} has the new key already; no restart is needed",
            done.place
        );
    }
    note!("backups of the old store open with the old key only: make new ones");
    Ok(Exit::Done)
}

/// A person types it twice: mistyped once, it would lock everything for good.
fn new_passphrase() -> Result<Secret, Failure> {
    let first = read_secret("new passphrase")?;
    if std::io::stdin().is_terminal() && read_secret("the same once more")? != first {
        return Err(Failure::new(
            Exit::BadData,
            "these are two different passphrases; nothing was changed",
        ));
    }
    Ok(first)
}

fn auth_line(c: &CredentialInfo, now: UnixTime) -> String {
    let age = now.since(c.created).as_secs() / 86_400;
    let used = c.last_used.map_or_else(|| "never".to_owned(), day);
    let due = if c.due() <= now {
        "DUE NOW".to_owned()
    } else {
        day(c.due())
    };
    format!(
        "{:<11} {:<12} {:<13} {age:>4}d  {used:<10}  {due:<10}  {}",
        c.provider.as_str(),
        c.kind,
        c.fingerprint,
        c.origin
    )
}

pub(super) fn reset(home: &Home, loaded: &Loaded, provider: Option<ProviderName>) -> CliResult {
    let vault = vault(home)?;
    let stored = vault.list().map_err(|e| locked(&e))?;
    let wanted = |c: &&CredentialInfo| provider.is_none_or(|p| p == c.provider);
    let going: Vec<_> = stored.iter().filter(wanted).map(|c| c.provider).collect();
    if going.is_empty() {
        note!(
            "nothing to remove: no credential is stored for {}",
            provider.map_or("any provider", ProviderName::as_str)
        );
    } else {
        let record = Record::open(home, loaded)?;
        for provider in going {
            let event = Event::CredentialRemoved { provider };
            record.act(&event, || vault.remove(provider))?;
            say!("removed: {provider}");
        }
        note!("removed here only: revoke it at the provider as well");
    }
    if provider.is_none() {
        // Also what has a name that this version does not know; and it looks again: whatever came in
        // between or would not go is no success.
        vault.remove_all().map_err(|e| Failure::new(Exit::Io, e))?;
    }
    Ok(Exit::Done)
}

pub(in crate::cli) fn locked(error: &VaultError) -> Failure {
    let exit = match error {
        VaultError::Locked(_) => Exit::BadConfig,
        VaultError::BadSecret(_) => Exit::BadData,
        VaultError::NotOurs(_) => Exit::Usage,
        VaultError::WrongHost { .. } => Exit::Refused,
        VaultError::Tampered(_)
        | VaultError::WillNotOpen(_)
        | VaultError::Remains(_)
        | VaultError::Store(_) => Exit::Io,
    };
    Failure::new(exit, error)
}
