//! `clawdbot turns`: what runs and what waits, and how to end it.

use super::gateway::runtime;
use super::{CliResult, Exit, Failure, chat};
use crate::home::Home;
use crate::{note, say};
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub enum TurnsCommand {
    /// Turns, relays and calls that run, and turns that wait for a person
    List {
        /// The gateway's port, when it is not gateway.port
        #[arg(long)]
        port: Option<u16>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Go on with a turn that waited, once a person has said yes or no
    Resume {
        /// The turn's id
        id: String,
        /// The gateway's port, when it is not gateway.port
        #[arg(long)]
        port: Option<u16>,
    },
    /// End a turn with all it started
    Cancel {
        /// The turn's id
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// Everything that runs or waits
        #[arg(long, conflicts_with = "id")]
        all: bool,
        /// The gateway's port, when it is not gateway.port
        #[arg(long)]
        port: Option<u16>,
    },
}

pub fn run(command: TurnsCommand, home: &Home) -> CliResult {
    match command {
        TurnsCommand::List { port, json } => {
            let client = chat::client(home, port)?;
            let turns = runtime()?.block_on(client.get("/turns"))?;
            let turns = turns.get("data").cloned().unwrap_or_default();
            list(&turns, json);
        }
        TurnsCommand::Resume { id, port } => {
            is_id(&id)?;
            let client = chat::client(home, port)?;
            return runtime()?.block_on(chat::resume(&client, &id));
        }
        TurnsCommand::Cancel { id, all: _, port } => {
            let client = chat::client(home, port)?;
            let id = id.as_deref().unwrap_or("all");
            is_id(id)?;
            let path = format!("/turns/{id}/cancel");
            let ended = runtime()?.block_on(client.post(&path, &json!({})))?;
            let ended = ended.get("cancelled").and_then(Value::as_array).cloned();
            let ended = ended.unwrap_or_default();
            if ended.is_empty() {
                note!("nothing runs and nothing waits");
            }
            for id in ended.iter().filter_map(Value::as_str) {
                say!("cancelled {id}");
            }
        }
    }
    Ok(Exit::Done)
}

/// An id goes into a path: nothing else may.
fn is_id(id: &str) -> Result<(), Failure> {
    if id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(());
    }
    Err(Failure::new(Exit::BadData, format!("{id:?} is no turn's id")).hint("clawdbot turns list"))
}

fn list(turns: &Value, json: bool) {
    if json {
        say!("{turns}");
        return;
    }
    let all = turns.as_array().map(Vec::as_slice).unwrap_or_default();
    if all.is_empty() {
        note!("nothing runs and nothing waits");
        return;
    }
    say!("{:<30} {:<8} {:<13} WHAT", "ID", "STATE", "TOKEN");
    for turn in all {
        let text = |pointer: &str| {
            let value = turn.pointer(pointer).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let what = match text("/approval/id") {
            none if none.is_empty() => text("/path"),
            id => format!("{} ({id})", text("/approval/tool")),
        };
        say!(
            "{:<30} {:<8} {:<13} {what}",
            text("/id"),
            text("/state"),
            text("/token")
        );
    }
}
