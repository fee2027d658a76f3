//! `clawdbot audit`.

use super::{CliResult, Exit, Failure};
use crate::home::Home;
use crate::{note, say};
use clap::Subcommand;
use clawdbot_audit::{AuditError, Tail, Verdict, Verified, human_line, verify};
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// Check every record: 0 intact, 1 a torn end after a crash, 2 unreadable, 3 tampered with
    Verify {
        /// Another folder with a log in it, such as a copy [default: the log of this home]
        dir: Option<PathBuf>,
        /// The findings as JSON
        #[arg(long)]
        json: bool,
    },
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
        AuditCommand::Verify { dir, json } => check(&dir.unwrap_or_else(|| home.logs()), json),
        AuditCommand::Path => {
            say!("{}", home.logs().display());
            Ok(Exit::Done)
        }
    }
}

fn tail(logs: &Path, count: usize, follow: bool, json: bool) -> CliResult {
    let (mut tail, lines) = Tail::open(logs, count).map_err(unreadable)?;
    show(&lines, json);
    if !follow {
        return Ok(Exit::Done);
    }
    loop {
        std::thread::sleep(LOOK);
        show(&tail.more().map_err(unreadable)?, json);
    }
}

fn show(lines: &[String], json: bool) {
    for line in lines {
        if json {
            say!("{line}");
        } else {
            say!("{}", human_line(line));
        }
    }
}

fn check(logs: &Path, json: bool) -> CliResult {
    let found = verify(logs).map_err(unreadable)?;
    if json {
        let text = serde_json::to_string(&found).map_err(|e| Failure::new(Exit::Bug, e))?;
        say!("{text}");
    } else {
        explain(&found);
    }
    Ok(match found.verdict {
        Verdict::Intact => Exit::Done,
        Verdict::Torn { .. } => Exit::Found,
        Verdict::Tampered { .. } => Exit::Tampered,
    })
}

fn explain(found: &Verified) {
    let (records, segments) = (found.records, found.segments);
    match &found.verdict {
        Verdict::Intact => say!("intact: {records} records, {segments} segment(s)"),
        Verdict::Torn { segment, bytes } => {
            say!(
                "torn: {records} records are intact; {bytes} bytes at the end of {segment} are not"
            );
            note!("a crash cut the last write short; the next start sets it aside");
        }
        Verdict::Tampered {
            index,
            segment,
            why,
        } => {
            say!("TAMPERED at record {index} in {segment}: {why}");
            note!(
                "{records} records before it are intact; keep the folder as it is, it is evidence"
            );
        }
    }
    if let (Some(first), Some(last), Some(head)) = (found.first, found.last, &found.head) {
        say!("records {first} to {last}, head {head}");
    }
}

fn unreadable(error: AuditError) -> Failure {
    Failure::new(Exit::Unreadable, error).hint(
        "`clawdbot audit path` shows where the log should be; it is made when the gateway starts",
    )
}
