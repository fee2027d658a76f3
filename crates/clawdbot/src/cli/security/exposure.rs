//! Settings that are weaker than they come, whom the gateway is open to, and tokens nobody needs.

use super::effective::Effective;
use super::{Finding, Severity, checklist};
use crate::cli::{Exit, Failure};
use crate::home::Home;
use clawdbot_auth::{TokenState, TokenStore, Vault, operator};
use clawdbot_config::{Key, Settings, weakening};
use clawdbot_domain::{Scope, UnixTime};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// A token that was not used for so long is not needed.
const UNUSED: Duration = Duration::from_secs(30 * 86_400);

/// Each setting that is weaker than its default. Those of the guide's checklist fail.
pub(super) fn settings(effective: &Effective) -> Vec<Finding> {
    let failing = checklist::of_settings(&effective.settings, |key, _| key.to_owned());
    let failing: Vec<String> = failing.into_iter().flat_map(|item| item.mend).collect();
    let weaker = weakening(&Settings::default(), &effective.settings);
    let of = |change: &clawdbot_config::Change| {
        let fails = failing.iter().any(|key| key == change.key);
        Finding::new(
            format!("settings.{}", change.key),
            if fails {
                Severity::Fail
            } else {
                Severity::Warn
            },
            format!(
                "{} is {}, weaker than {}",
                change.key, change.to, change.from
            ),
            Key::find(change.key).map_or("", Key::about),
            effective.mend(change.key, &change.from),
        )
    };
    let mut all: Vec<_> = weaker.iter().map(of).collect();
    all.extend(reach(&effective.settings, effective));
    all
}

/// Who can reach it, and what they see on the way.
fn reach(settings: &Settings, effective: &Effective) -> Vec<Finding> {
    let gateway = &settings.gateway;
    let mut all = Vec::new();
    if gateway.bind.is_wider_than_localhost() && gateway.tls.certificate.is_none() {
        all.push(Finding::new(
            "exposure.plaintext",
            Severity::Fail,
            format!("gateway.bind is {} and there is no TLS", gateway.bind),
            "tokens and everything that is asked and answered can be read on the way",
            "set gateway.tls.certificate and gateway.tls.key, or: clawdbot config set gateway.bind localhost",
        ));
    }
    if gateway.audit_register.is_none() {
        all.push(Finding::new(
            "audit.register",
            Severity::Info,
            "no register keeps the newest checkpoint of the audit log outside its folder",
            "who may write the folder can put yesterday's copy in its place unseen",
            "make an empty file on another volume, then: clawdbot config set gateway.audit.register FILE",
        ));
    }
    for key in effective
        .waiting()
        .into_iter()
        .filter(|_| effective.running.is_some())
    {
        all.push(Finding::new(
            format!("restart.{key}"),
            Severity::Warn,
            format!("{key} was changed and the running gateway does not go by it yet"),
            "what is in the file is not what is in force",
            "restart the gateway",
        ));
    }
    all
}

/// Tokens and credentials that are old, unused or mightier than they need to be.
pub(super) fn tokens(home: &Home, now: UnixTime) -> Result<Vec<Finding>, Failure> {
    let bad = |e: &dyn std::fmt::Display| Failure::new(Exit::Io, e);
    let mut found = Vec::new();
    if !home.state().exists() {
        return Ok(found);
    }
    let store = TokenStore::open(&home.state(), &home.secrets()).map_err(|e| bad(&e))?;
    let all = store.list(now).map_err(|e| bad(&e))?;
    let counted = all
        .iter()
        .filter(|t| t.is_live(now) && t.name != operator::NAME);
    for token in counted {
        let (id, name) = (&token.id, &token.name);
        let idle = now.since(token.last_used.unwrap_or(token.created));
        if idle >= UNUSED {
            found.push(Finding::new(
                format!("tokens.unused.{id}"),
                Severity::Warn,
                format!(
                    "token {id} ({name}) was not used for {} days",
                    idle.as_secs() / DAY.as_secs()
                ),
                "a token that nobody needs is only of use to a thief",
                format!("clawdbot tokens revoke {id}"),
            ));
        }
        if token.state(now) == TokenState::Due
            || now.since(token.created) > clawdbot_auth::DEFAULT_TTL
        {
            found.push(Finding::new(
                format!("tokens.old.{id}"),
                Severity::Warn,
                format!(
                    "token {id} ({name}) is {} days old and due",
                    now.since(token.created).as_secs() / DAY.as_secs()
                ),
                "the longer a token is the same, the more places it has been in",
                format!("clawdbot tokens rotate {id} --grace 10m"),
            ));
        }
        if token.scopes.has(Scope::Admin) && token.scopes.has(Scope::Chat) {
            found.push(Finding::new(
                format!("tokens.mighty.{id}"),
                Severity::Info,
                format!("token {id} ({name}) may chat and administer"),
                "a program that only chats should not be able to make tokens",
                "clawdbot tokens create --name NAME --scopes chat,tools",
            ));
        }
    }
    let vault = Vault::open(&home.state(), &home.secrets()).map_err(|e| bad(&e))?;
    for credential in vault.list().map_err(|e| bad(&e))? {
        let provider = credential.provider;
        if credential.due() <= now {
            found.push(Finding::new(
                format!("credentials.old.{provider}"),
                Severity::Warn,
                format!("the credential of {provider} is older than 90 days"),
                "the longer a credential is the same, the more places it has been in",
                format!("make a new one there, then: clawdbot models auth paste-token --provider {provider}"),
            ));
        } else if now.since(credential.last_used.unwrap_or(credential.created)) >= UNUSED {
            found.push(Finding::new(
                format!("credentials.unused.{provider}"),
                Severity::Warn,
                format!("the credential of {provider} was not used for 30 days"),
                "a credential that nobody needs is only of use to a thief",
                format!("clawdbot models auth reset --provider {provider}"),
            ));
        }
    }
    Ok(found)
}
