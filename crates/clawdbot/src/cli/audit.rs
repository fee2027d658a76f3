//! `clawdbot audit`.

mod export;
mod one;
mod out;
mod paint;
mod query;
mod record;
mod report;
mod verifying;
mod when;

use super::{CliResult, Exit, Failure};
use crate::home::Home;
use crate::say;
use clap::Subcommand;
use clawdbot_audit::{AuditError, Tail, consistency, fsck, prove, root_key};
use export::ExportArgs;
use one::ShowArgs;
use out::Out;
use query::QueryArgs;
use report::ReportArgs;
use std::path::Path;
use std::time::Duration;
use verifying::VerifyArgs;

/// How often `tail -f` looks.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Show the newest records
    Tail {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20, value_name = "COUNT")]
        lines: usize,
        /// Go on showing what is written, until Ctrl-C
        #[arg(short, long)]
        follow: bool,
        /// The records as they stand in the log, one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Find records
    Query(QueryArgs),
    /// Show all of one record, and of the record that ends or begins it
    Show(ShowArgs),
    /// What happened in a day or a week: counts, denials, new actors, tools, slow requests, gaps
    Report(ReportArgs),
    /// Write records in the form another system takes
    Export(ExportArgs),
    /// Check everything: 0 intact, 1 a torn end, 2 unreadable, 3 tampered with, 4 rolled back
    Verify(VerifyArgs),
    /// Prove that one record is in the log, without showing any other
    Prove {
        /// The record's index
        index: u64,
    },
    /// Prove that the log of one size continues the log of an earlier size
    Consistency {
        /// Records of the earlier log
        from: u64,
        /// Records of the later log
        to: u64,
        /// The hashes as JSON
        #[arg(long)]
        json: bool,
    },
    /// Check the hashes that proofs are made of against the records
    Fsck {
        /// Make those again that are wrong
        #[arg(long)]
        repair: bool,
        /// The findings as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the public key the log rests on; write it down somewhere else
    Key,
    /// Print where the log is
    Path,
}

pub fn run(command: AuditCommand, home: &Home) -> CliResult {
    match command {
        AuditCommand::Tail {
            lines,
            follow,
            json,
        } => tail(&home.logs(), lines, follow, json),
        AuditCommand::Query(args) => query::run(&args, home),
        AuditCommand::Show(args) => one::run(&args, home),
        AuditCommand::Report(args) => report::run(&args, home),
        AuditCommand::Export(args) => export::run(&args, home),
        AuditCommand::Verify(args) => verifying::run(args, home),
        AuditCommand::Prove { index } => {
            let proof = prove(&home.logs(), index).map_err(unreadable)?;
            say!("{}", proof.trim_end());
            Ok(Exit::Done)
        }
        AuditCommand::Consistency { from, to, json } => {
            let hashes = consistency(&home.logs(), from, to).map_err(unreadable)?;
            let lines = hashes.join("\n");
            if json {
                say!(
                    "{}",
                    serde_json::json!({"from": from, "to": to, "hashes": hashes})
                );
            } else if !hashes.is_empty() {
                say!("{lines}");
            }
            Ok(Exit::Done)
        }
        AuditCommand::Fsck { repair, json } => upkeep(&home.logs(), repair, json),
        AuditCommand::Key => {
            say!("{}", root_key(&home.logs()).map_err(unreadable)?);
            Ok(Exit::Done)
        }
        AuditCommand::Path => {
            say!("{}", home.logs().display());
            Ok(Exit::Done)
        }
    }
}

fn tail(logs: &Path, count: usize, follow: bool, json: bool) -> CliResult {
    let (mut tail, lines) = Tail::open(logs, count).map_err(unreadable)?;
    let mut out = Out::new();
    if !json && out.is_terminal() {
        out.line(paint::heading());
    }
    show(&lines, json, &mut out);
    while follow && !out.is_closed() {
        std::thread::sleep(LOOK);
        show(&tail.more().map_err(unreadable)?, json, &mut out);
    }
    Ok(Exit::Done)
}

fn show(lines: &[String], json: bool, out: &mut Out) {
    for line in lines {
        if json {
            out.line(line);
        } else {
            out.line(paint::row(line));
        }
    }
    out.flush();
}

fn upkeep(logs: &Path, repair: bool, json: bool) -> CliResult {
    let found = fsck(logs, repair).map_err(unreadable)?;
    if json {
        let text = serde_json::to_string(&found).map_err(|e| Failure::new(Exit::Bug, e))?;
        say!("{text}");
    } else if found.wrong.is_empty() {
        say!("every hash is that of its records");
    } else {
        let what = if found.repaired {
            "made again"
        } else {
            "wrong or missing"
        };
        for file in &found.wrong {
            say!("{what}: {file}");
        }
    }
    let clean = found.wrong.is_empty() || found.repaired;
    Ok(if clean { Exit::Done } else { Exit::Found })
}

fn unreadable(error: AuditError) -> Failure {
    Failure::new(Exit::Unreadable, error).hint(
        "`clawdbot audit path` shows where the log should be; it is made when the gateway starts",
    )
}
