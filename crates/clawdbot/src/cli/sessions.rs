//! `clawdbot sessions`: conversations, whose they are and what they have taken in.

use super::record::{Record, settings};
use super::tokens::day;
use super::{CliResult, Exit, Failure};
use crate::home::Home;
use crate::{note, say};
use clap::Subcommand;
use clawdbot_domain::{Event, SessionId, Taint, UnixTime};
use clawdbot_sessions::{SessionError, SessionInfo, SessionStore};
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// Every session: whose it is, when it was used, what it has taken in
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// One session
    Show {
        /// The session's id
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// End a session; what was said in it counts as untrusted wherever it comes back
    End {
        /// The session's id
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// Every session
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

pub fn run(command: SessionsCommand, home: &Home) -> CliResult {
    let store = open(home)?;
    let now = UnixTime::now();
    match command {
        SessionsCommand::List { json } => {
            let all = store.sessions(now).map_err(|e| failed(&e))?;
            list(&all, json);
        }
        SessionsCommand::Show { id, json } => {
            let found = store.session(None, &SessionId::new(id), now);
            show(&found.map_err(|e| failed(&e))?, json);
        }
        SessionsCommand::End { id, all: _ } => {
            let one = |id| {
                store
                    .session(None, &SessionId::new(id), now)
                    .map(|s| vec![s])
            };
            let found = id.map_or_else(|| store.sessions(now), one);
            end(home, &store, found.map_err(|e| failed(&e))?)?;
        }
    }
    Ok(Exit::Done)
}

fn end(home: &Home, store: &SessionStore, sessions: Vec<SessionInfo>) -> Result<(), Failure> {
    let record = Record::open(home, &settings(home)?)?;
    if sessions.is_empty() {
        note!("there is no session to end");
    }
    for SessionInfo { id, .. } in sessions {
        let event = Event::SessionEnded { ended: id.clone() };
        record.act_with(&event, || store.end(&id), |e| failed(&e))?;
        say!("ended {id}");
    }
    Ok(())
}

/// Ends every session of this home.
pub(super) fn end_all(home: &Home) -> Result<(), Failure> {
    let store = open(home)?;
    let all = store.sessions(UnixTime::now()).map_err(|e| failed(&e))?;
    end(home, &store, all)
}

/// The store of this home.
pub(super) fn open(home: &Home) -> Result<SessionStore, Failure> {
    SessionStore::open(&home.state(), &home.secrets()).map_err(|e| failed(&e))
}

pub(super) fn failed(error: &SessionError) -> Failure {
    match error {
        SessionError::NoSuchSession(id) => {
            Failure::new(Exit::BadData, format!("there is no session {id:?}"))
                .hint("clawdbot sessions list")
        }
        SessionError::NoSuchApproval(id) => {
            Failure::new(Exit::BadData, format!("there is no approval {id:?}"))
                .hint("clawdbot approvals list")
        }
        SessionError::NoSuchTurn(id) => {
            Failure::new(Exit::BadData, format!("there is no turn {id:?} that waits"))
                .hint("clawdbot turns list")
        }
        SessionError::NotSo { .. }
        | SessionError::OtherCall(_)
        | SessionError::StillWaiting { .. }
        | SessionError::TooManyWaiting(_)
        | SessionError::NoRoomToWait => Failure::new(Exit::Refused, error),
        SessionError::File { .. }
        | SessionError::Store { .. }
        | SessionError::Version { .. }
        | SessionError::BadKey(_)
        | SessionError::NoRandomness => Failure::new(Exit::Io, error),
    }
}

/// What a session has taken in, in a word.
pub(super) const fn word(taint: Taint) -> &'static str {
    match taint {
        Taint::Clean => "clean",
        Taint::Untrusted => "untrusted",
        Taint::Hostile => "hostile",
    }
}

fn as_json(session: &SessionInfo) -> Value {
    json!({
        "id": session.id, "token": session.token, "created": session.created.to_string(),
        "used": session.used.to_string(), "turns": session.turns, "taint": session.taint,
    })
}

fn list(sessions: &[SessionInfo], json: bool) {
    if json {
        let all = sessions.iter().map(as_json);
        say!("{}", Value::from(all.collect::<Vec<_>>()));
        return;
    }
    if sessions.is_empty() {
        note!("no sessions yet; each agent turn has one: clawdbot chat");
        return;
    }
    say!(
        "{:<28} {:<13} {:<10}  {:>5}  {:<9}",
        "ID",
        "TOKEN",
        "LAST USE",
        "TURNS",
        "HOLDS"
    );
    for s in sessions {
        say!(
            "{:<28} {:<13} {:<10}  {:>5}  {:<9}",
            s.id.as_str(),
            s.token.as_str(),
            day(s.used),
            s.turns,
            word(s.taint)
        );
    }
}

fn show(session: &SessionInfo, json: bool) {
    if json {
        say!("{}", as_json(session));
        return;
    }
    let holds = match session.taint {
        Taint::Clean => "nothing from outside",
        Taint::Untrusted => "untrusted text: what changes anything needs a person",
        Taint::Hostile => "text in which an attack was found: what changes anything needs a person",
    };
    say!("session  {}", session.id);
    say!("token    {}", session.token);
    say!("created  {}", session.created);
    say!("used     {}", session.used);
    say!("turns    {}", session.turns);
    say!("holds    {holds}");
}
