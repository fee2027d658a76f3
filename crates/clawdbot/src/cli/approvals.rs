//! `clawdbot approvals`: calls that wait for a person. Works on the store of this home, so also while no
//! gateway answers.

mod always;

use super::record::{Record, settings};
use super::sessions::{failed, open};
use super::{CliResult, Exit};
use crate::home::Home;
use crate::{note, say};
use clap::Subcommand;
use clawdbot_domain::{ApprovalId, UnixTime};
use clawdbot_sessions::{ApprovalInfo, ApprovalState};
use serde_json::{Value, json};

/// Who decides at the home itself: whoever may use it.
const AT_HOME: &str = "command line";

#[derive(Debug, Subcommand)]
pub enum ApprovalsCommand {
    /// Calls that wait now
    List {
        /// Those too that were decided or are over, of the last week
        #[arg(long)]
        all: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// One call, with its whole arguments; what a screen would hide is written out
    Show {
        /// The approval's id
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say yes to this very call: it counts once, until five minutes after it was asked for
    Approve {
        /// The approval's id
        id: String,
        /// And do not ask about this very call of this token again: it is written into the settings
        #[arg(long)]
        always: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say no to this very call
    Deny {
        /// The approval's id
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Calls that were approved for good
    #[command(subcommand)]
    Always(always::AlwaysCommand),
}

pub fn run(command: ApprovalsCommand, home: &Home) -> CliResult {
    let store = open(home)?;
    let now = UnixTime::now();
    let one = |id: &str| {
        let found = store.approval(None, &ApprovalId::new(id), now);
        found.map_err(|e| failed(&e))
    };
    match command {
        ApprovalsCommand::List { all, json } => {
            let mut found = store.approvals(now).map_err(|e| failed(&e))?;
            found.retain(|asked| all || asked.state == ApprovalState::Waiting);
            list(&found, json, now);
        }
        ApprovalsCommand::Show { id, json } => show(&one(&id)?, json),
        ApprovalsCommand::Approve { id, always, json } => {
            let answer = if always { Answer::Always } else { Answer::Yes };
            decide(home, &one(&id)?, answer, json)?;
        }
        ApprovalsCommand::Deny { id, json } => decide(home, &one(&id)?, Answer::No, json)?,
        ApprovalsCommand::Always(command) => return always::run(command, home),
    }
    Ok(Exit::Done)
}

/// What a person says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Yes,
    Always,
    No,
}

/// Written down, then decided.
fn decide(
    home: &Home,
    asked: &ApprovalInfo,
    answer: Answer,
    json: bool,
) -> Result<(), super::Failure> {
    let give = answer != Answer::No;
    let store = open(home)?;
    if asked.state != ApprovalState::Waiting {
        let (id, state) = (asked.id.to_string(), asked.state);
        return Err(failed(&clawdbot_sessions::SessionError::NotSo {
            id,
            state,
        }));
    }
    // Made ready before the yes, so that what cannot be for good is not approved even once.
    let for_good = if answer == Answer::Always {
        Some(always::prepare(home, &store, asked)?)
    } else {
        None
    };
    let record = Record::open(home, &settings(home)?)?;
    let decided = record.act_with(
        &asked.decided_event(give, for_good.is_some()),
        || store.decide(&asked.id, give, AT_HOME, UnixTime::now()),
        |error| failed(&error),
    )?;
    drop(record);
    if let Some(for_good) = for_good {
        for_good.make(home, false)?;
        note!("it is not asked about again: clawdbot approvals always list");
    }
    if json {
        say!("{}", as_json(&decided));
        return Ok(());
    }
    let word = if give { "approved" } else { "denied" };
    say!(
        "{word} {}: {} {}",
        decided.id,
        decided.tool,
        decided.shown()
    );
    match (&decided.turn, give) {
        (Some(turn), _) => note!(
            "whoever asked goes on with: clawdbot turns resume {turn}   (or: POST /turns/{turn}/resume)"
        ),
        (None, true) => note!("it counts for this very call until {}", decided.expires),
        (None, false) => {}
    }
    Ok(())
}

fn as_json(asked: &ApprovalInfo) -> Value {
    let letters = asked.foreign_letters();
    json!({
        "id": asked.id, "state": asked.state.as_str(), "tool": asked.tool, "effect": asked.effect,
        "arguments": asked.shown(), "arguments_sha256": asked.arguments_sha256,
        "foreign_letters": letters.iter().map(char::to_string).collect::<Vec<_>>(),
        "reasons": asked.reasons, "token": asked.token, "session": asked.session, "turn": asked.turn,
        "created": asked.created.to_string(), "expires": asked.expires.to_string(),
        "decided_by": asked.decided_by,
    })
}

fn list(found: &[ApprovalInfo], as_json_list: bool, now: UnixTime) {
    if as_json_list {
        say!(
            "{}",
            Value::from(found.iter().map(as_json).collect::<Vec<_>>())
        );
        return;
    }
    if found.is_empty() {
        note!("nothing waits for a person");
        return;
    }
    for asked in found {
        let left = asked.expires.since(now).as_secs();
        let left = match asked.state {
            ApprovalState::Waiting | ApprovalState::Given => format!("{left} s left"),
            ApprovalState::Denied
            | ApprovalState::Spent
            | ApprovalState::Expired
            | ApprovalState::Void => String::new(),
        };
        say!(
            "{}  {:<8} token {}  {left}",
            asked.id,
            asked.state.as_str(),
            asked.token
        );
        say!("    {} {}", asked.tool, asked.shown());
    }
    note!("clawdbot approvals show|approve|deny ID");
}

fn show(asked: &ApprovalInfo, json: bool) {
    if json {
        say!("{}", as_json(asked));
        return;
    }
    let none = || "none".to_owned();
    say!("approval   {} ({})", asked.id, asked.state.as_str());
    say!("tool       {}, effect {}", asked.tool, asked.effect);
    say!("arguments  {}", asked.shown());
    let letters = asked.foreign_letters();
    if !letters.is_empty() {
        let named = letters
            .iter()
            .map(|c| format!("{c} (U+{:04X})", u32::from(*c)));
        say!(
            "           letters that are not ASCII: {}",
            named.collect::<Vec<_>>().join(", ")
        );
    }
    say!("sha256     {}", asked.arguments_sha256);
    for reason in &asked.reasons {
        say!("because    {reason}");
    }
    say!("token      {}", asked.token);
    say!(
        "session    {}",
        asked
            .session
            .as_ref()
            .map_or_else(none, ToString::to_string)
    );
    say!(
        "turn       {}",
        asked.turn.as_ref().map_or_else(none, ToString::to_string)
    );
    say!("asked      {}", asked.created);
    say!("until      {}", asked.expires);
    if let Some(by) = &asked.decided_by {
        say!("decided by {by}");
    }
}
