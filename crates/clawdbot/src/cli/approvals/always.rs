//! `clawdbot approvals always`: what was approved for good, and whether it still counts.

use crate::cli::config::change::{self, Consent, Prepared};
use crate::cli::record::settings;
use crate::cli::{CliResult, Exit, Failure, sessions, tools};
use crate::home::Home;
use crate::{for_good, note, say, wire};
use clap::Subcommand;
use clawdbot_config::Settings;
use clawdbot_domain::{ApprovedCall, Taint, UnixTime};
use clawdbot_sessions::{ApprovalInfo, SessionStore};
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub enum AlwaysCommand {
    /// Every call that was approved for good, and whether it still counts
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask about a call again
    Remove {
        /// Its id, from the list
        id: String,
    },
}

pub fn run(command: AlwaysCommand, home: &Home) -> CliResult {
    let loaded = settings(home)?;
    let calls = &loaded.settings.gateway.tools.approved_calls;
    match command {
        AlwaysCommand::List { json } => Ok(list(home, &loaded.settings, json)),
        AlwaysCommand::Remove { id } => {
            let call = calls.iter().find(|call| call.id() == id).ok_or_else(|| {
                Failure::new(
                    Exit::BadData,
                    format!("no call {id:?} is approved for good"),
                )
                .hint("clawdbot approvals always list")
            })?;
            change::change(home, &Consent::default(), |draft| {
                for_good::remove(draft, call).map_err(|e| Failure::new(Exit::BadConfig, e))
            })
        }
    }
}

/// Makes ready to write a yes for good into the settings; nothing is changed yet.
pub fn prepare(
    home: &Home,
    store: &SessionStore,
    asked: &ApprovalInfo,
) -> Result<Prepared, Failure> {
    let settings = settings(home)?.settings;
    let taint = match &asked.session {
        None => Taint::Clean,
        Some(id) => {
            let session = store.session(None, id, UnixTime::now());
            session.map_err(|e| sessions::failed(&e))?.taint
        }
    };
    let refused = |why| {
        Failure::new(Exit::Refused, why)
            .hint("the same command without --always approves this one call")
    };
    let may = wire::tool_policy(&settings).may_be_for_good(&asked.tool, asked.effect, taint);
    may.map_err(refused)?;
    let call = asked.for_good();
    let call = call.ok_or_else(|| refused("its arguments cannot be read".to_owned()))?;
    Prepared::new(home, &Consent::default(), |draft| {
        for_good::add(draft, &call).map_err(|e| refused(e.to_string()))
    })
}

fn list(home: &Home, settings: &Settings, as_json: bool) -> Exit {
    let calls = &settings.gateway.tools.approved_calls;
    let rows = calls
        .iter()
        .map(|call| (call, counts_not(home, settings, call)));
    if as_json {
        let rows: Vec<Value> = rows
            .map(|(call, why_not)| {
                json!({
                    "id": call.id(), "tool": call.tool, "token": call.token, "counts": why_not.is_none(),
                    "why_not": why_not, "arguments": clawdbot_domain::shown(&call.canonical_arguments()),
                })
            })
            .collect();
        say!("{}", Value::from(rows));
        return Exit::Done;
    }
    if calls.is_empty() {
        note!("nothing is approved for good");
    }
    for (call, why_not) in rows {
        let state = why_not.map_or_else(|| "counts".to_owned(), |why| format!("dead: {why}"));
        say!("{}  token {}  {state}", call.id(), call.token);
        let arguments = call.canonical_arguments();
        say!("    {} {}", call.tool, clawdbot_domain::shown(&arguments));
    }
    Exit::Done
}

/// Why such a call would not be let through, were it made in a session without untrusted text.
fn counts_not(home: &Home, settings: &Settings, call: &ApprovedCall) -> Option<String> {
    match tools::of_approved(home, settings, call) {
        Err(failure) => Some(failure.message().to_owned()),
        Ok(explanation) => {
            let against = explanation.against();
            against.first().map(|rule| rule.why.clone())
        }
    }
}
