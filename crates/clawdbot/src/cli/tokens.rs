//! `clawdbot tokens`: who may use this gateway.

use super::record::{Record, settings};
use super::{CliResult, Exit, Failure};
use crate::home::Home;
use crate::{note, say};
use clap::Subcommand;
use clawdbot_auth::{AuthError, NewToken, SETUP_TTL, TokenInfo, TokenState, TokenStore};
use clawdbot_domain::{Event, ScopeSet, Secret, TokenEnv, TokenId, ToolLimit, UnixTime};
use clawdbot_tools::Catalogue;
use serde_json::json;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub enum TokensCommand {
    /// Make a token; it is shown once, alone on standard output
    Create {
        /// What you call it
        #[arg(long)]
        name: String,
        /// What it may do: chat, tools, read, audit, admin, separated by commas
        #[arg(long, default_value = "chat")]
        scopes: ScopeSet,
        /// For which gateways: dev or prod [default: gateway.environment]
        #[arg(long)]
        env: Option<Env>,
        /// How long it lasts, such as 12h or 90d [default: 90d]
        #[arg(long, value_parser = duration)]
        ttl: Option<Duration>,
        /// The only tools it may use, of those that policy allows, separated by commas
        #[arg(long, value_name = "A,B", value_parser = tools)]
        tools: Option<ToolLimit>,
    },
    /// Every token: age, last use, when it is due; never its secret
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a new token in the place of an old one
    Rotate {
        /// The old token's id
        id: String,
        /// How long the old one still counts, such as 10m; a day at most
        #[arg(long, default_value = "0s", value_parser = grace)]
        grace: Duration,
    },
    /// Take a token back; it stops counting at once, in every process
    Revoke {
        /// The token's id
        #[arg(required_unless_present = "unused")]
        id: Option<String>,
        /// Every token that was not used for this long, such as 30d
        #[arg(long, value_name = "AGE", value_parser = duration, conflicts_with = "id")]
        unused: Option<Duration>,
    },
    /// Make a setup token: 15 minutes, one use, traded for an admin token at POST /setup
    Setup,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Env {
    Dev,
    Prod,
}

impl From<Env> for TokenEnv {
    fn from(env: Env) -> Self {
        match env {
            Env::Dev => Self::Dev,
            Env::Prod => Self::Prod,
        }
    }
}

pub fn run(command: TokensCommand, home: &Home) -> CliResult {
    let loaded = settings(home)?;
    let store = TokenStore::open(&home.state(), &home.secrets()).map_err(|e| failed(&e))?;
    let now = UnixTime::now();
    if let TokensCommand::List { json } = command {
        let all = store.list(now).map_err(|e| failed(&e))?;
        list(&all, json, now);
        for line in crate::reminders::of_tokens(&all, now) {
            note!("{line}");
        }
        return Ok(Exit::Done);
    }
    let record = Record::open(home, &loaded)?;
    match command {
        TokensCommand::List { .. } => {}
        TokensCommand::Create {
            name,
            scopes,
            env,
            ttl,
            tools,
        } => {
            let env = env.map_or(loaded.settings.gateway.environment, TokenEnv::from);
            let new = NewToken {
                name: &name,
                scopes,
                env,
                ttl,
            };
            let draft = store.draft(&new, now).map_err(|e| failed(&e))?;
            let draft = store.limited(draft, tools.unwrap_or_default());
            let event = draft.info().created_event();
            let (token, info) = record.act(&event, || store.keep(draft))?;
            show(&token, &info);
        }
        TokensCommand::Rotate { id, grace } => {
            let id = TokenId::new(id);
            let old = store.find(&id).map_err(|e| failed(&e))?;
            if old.name == clawdbot_auth::operator::NAME {
                let why = "the operator's token is renewed by the gateway itself";
                let how = format!(
                    "to renew it now: clawdbot tokens revoke {id}, then restart the gateway"
                );
                return Err(Failure::new(Exit::BadData, why).hint(how));
            }
            let draft = store
                .draft_rotation(&id, grace, now)
                .map_err(|e| failed(&e))?;
            // One step in which the old one ends and the new one begins.
            let ends = Event::TokenRevoked {
                token: id.clone(),
                reason: format!("replaced by {}, in {} s", draft.info().id, grace.as_secs()),
            };
            let events = [ends, draft.info().created_event()];
            let (token, info) = record.act_at_once(&events, || store.keep(draft))?;
            note!(
                "takes the place of {id}, which counts for {} s longer",
                grace.as_secs()
            );
            show(&token, &info);
        }
        TokensCommand::Revoke { id, unused } => {
            let ids = match (id, unused) {
                (Some(id), _) => vec![store.find(&TokenId::new(id)).map_err(|e| failed(&e))?.id],
                (None, age) => {
                    let idle = store
                        .unused(age.unwrap_or_default(), now)
                        .map_err(|e| failed(&e))?;
                    // The operator's own is used by commands and renewed with every start.
                    let own = clawdbot_auth::operator::NAME;
                    let idle = idle.into_iter().filter(|info| info.name != own);
                    idle.map(|info| info.id).collect::<Vec<_>>()
                }
            };
            if ids.is_empty() {
                note!("nothing to revoke: every token was used within that time");
            }
            for token in ids {
                let reason = if unused.is_some() {
                    "unused"
                } else {
                    "by hand"
                }
                .to_owned();
                let event = Event::TokenRevoked {
                    token: token.clone(),
                    reason,
                };
                let info = record.act(&event, || store.revoke(&token, now))?;
                say!("revoked {} ({})", info.id, info.name);
            }
        }
        TokensCommand::Setup => {
            let event = Event::SetupCreated {
                expires: now.plus(SETUP_TTL).to_string(),
            };
            let (token, _) = record.act(&event, || store.create_setup(now))?;
            note!("setup token: 15 minutes, one use, shown once");
            say!("{}", token.expose());
        }
    }
    Ok(Exit::Done)
}

/// The token alone on standard output, so that it can be piped into a safe place.
fn show(token: &Secret, info: &TokenInfo) {
    note!(
        "token {} ({}), scopes {}, tools {}, for {}, expires {}; shown once, keep it safe",
        info.id,
        info.name,
        info.scopes,
        info.tools,
        info.env,
        day(info.expires)
    );
    say!("{}", token.expose());
}

fn list(tokens: &[TokenInfo], as_json: bool, now: UnixTime) {
    if as_json {
        let all = tokens.iter().map(|t| {
            json!({
                "id": t.id, "name": t.name, "scopes": t.scopes.iter().collect::<Vec<_>>(), "env": t.env,
                "created": t.created.to_string(), "replaced_by": t.replaced_by, "due": t.state(now) == TokenState::Due,
                "age_days": now.since(t.created).as_secs() / 86_400, "unused": t.last_used.is_none(),
                "revoked": t.revoked.map(|at| at.to_string()), "expires": t.expires.to_string(),
                "last_used": t.last_used.map(|at| at.to_string()), "state": t.state(now).as_str(),
                "tools": t.tools.names(),
            })
        });
        say!("{}", serde_json::Value::from(all.collect::<Vec<_>>()));
        return;
    }
    if tokens.is_empty() {
        note!("no tokens yet; make one: clawdbot tokens create --name NAME --scopes chat,tools");
        return;
    }
    say!(
        "{:<13} {:<20} {:<4} {:<7} {:>5}  {:<10}  {:<10}  {:<22}  TOOLS",
        "ID",
        "NAME",
        "ENV",
        "STATE",
        "AGE",
        "LAST USE",
        "EXPIRES",
        "SCOPES"
    );
    for t in tokens {
        let age = now.since(t.created).as_secs() / 86_400;
        let used = t.last_used.map_or_else(|| "never".to_owned(), day);
        say!(
            "{:<13} {:<20} {:<4} {:<7} {:>4}d  {:<10}  {:<10}  {:<22}  {}",
            t.id.as_str(),
            t.name,
            t.env.as_str(),
            t.state(now).as_str(),
            age,
            used,
            day(t.expires),
            t.scopes.to_string(),
            t.tools
        );
    }
}

/// The date alone.
pub(super) fn day(at: UnixTime) -> String {
    at.to_string().chars().take(10).collect()
}

fn failed(error: &AuthError) -> Failure {
    match error {
        AuthError::NoSuchToken(_) | AuthError::NotLive(_) | AuthError::BadToken(_) => {
            Failure::new(Exit::BadData, error).hint("clawdbot tokens list")
        }
        AuthError::Locked { .. } => Failure::new(Exit::BadConfig, error),
        AuthError::File { .. }
        | AuthError::Store { .. }
        | AuthError::Damaged { .. }
        | AuthError::OtherVersion { .. }
        | AuthError::Replaced(_)
        | AuthError::BadKey(_)
        | AuthError::TooMany(_)
        | AuthError::NoRandomness => Failure::new(Exit::Io, error),
    }
}

/// Tools that there are. A misspelt one would take away more than was meant.
fn tools(text: &str) -> Result<ToolLimit, String> {
    let known = Catalogue::default();
    for name in text.split(',').map(str::trim) {
        if known.spec(name).is_none() {
            return Err(known.unknown(name).to_string());
        }
    }
    text.parse::<ToolLimit>().map_err(|e| e.to_string())
}

/// How long an old token may count beside the new one: whoever needs more than a day needs two tokens.
fn grace(text: &str) -> Result<Duration, String> {
    let most = Duration::from_secs(86_400);
    match duration(text)? {
        longer if longer > most => Err("a grace is a day at most, such as 10m or 24h".to_owned()),
        fit => Ok(fit),
    }
}

/// `90d`, `12h`, `10m`, `30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time; write a number and s, m, h or d, such as 90d");
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::duration;
    use std::time::Duration;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        assert_eq!(duration("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        for bad in [
            "",
            "d",
            "10",
            "-1d",
            "1w",
            "é",
            "99999999999999999999d",
            "18446744073709551615d",
        ] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
