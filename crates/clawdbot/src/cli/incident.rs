//! `clawdbot incident`: what to do in the first minutes, and how to come back.

mod evidence;
mod rotate;

use super::config::change::{self, Consent};
use super::record::{Record, settings};
use super::{CliResult, Exit, Failure, sessions};
use crate::home::Home;
use crate::incident::Incident;
use crate::{note, say};
use clap::Subcommand;
use clawdbot_domain::{Event, UnixTime};
use evidence::VerifyArgs;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum IncidentCommand {
    /// Close the gateway: nothing is taken any more, what is under way is cut, sessions end
    Start {
        /// Why, for the log
        #[arg(long, default_value = "not said")]
        reason: String,
    },
    /// Copy the evidence to a new folder that can be verified anywhere
    Preserve {
        /// The folder; it must not be there yet
        dir: PathBuf,
    },
    /// Check such a folder, or a copy of it: the log, and every file against what the log says
    Verify(VerifyArgs),
    /// What the log has to say of the time around it
    Report {
        /// As the records stand in the log, one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Revoke every token and remove every provider credential; says what remains to be done
    Rotate {
        /// Yes, all of them
        #[arg(long, required = true)]
        all: bool,
    },
    /// Open the gateway again, with the audit log at debug
    Resume,
}

pub fn run(command: IncidentCommand, home: &Home) -> CliResult {
    match command {
        IncidentCommand::Start { reason } => start(home, reason),
        IncidentCommand::Preserve { dir } => evidence::preserve(home, &dir),
        IncidentCommand::Verify(args) => evidence::verify(&args),
        IncidentCommand::Report { json } => evidence::report(home, json),
        IncidentCommand::Rotate { all: _ } => rotate::all(home),
        IncidentCommand::Resume => resume(home),
    }
}

/// Closing comes before writing down here: whoever attacks may have filled the disk of the log.
fn start(home: &Home, reason: String) -> CliResult {
    home.create()
        .map_err(|e| cannot("open", home.root().display(), e))?;
    let file = home.incident_file();
    let now = UnixTime::now();
    let incident = Incident {
        began: now.to_string(),
        began_nanos: now.as_nanos(),
        reason: reason.clone(),
    };
    let text = serde_json::to_string(&incident).map_err(|e| Failure::new(Exit::Bug, e))?;
    match write_durably(&file, &text) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            note!("it is closed already; see clawdbot incident report");
        }
        Err(e) => return Err(cannot("write", file.display(), e)),
    }
    say!(
        "closed: a running gateway takes no more requests and cuts what is under way within a second"
    );
    let event = Event::IncidentStarted { reason };
    let written = settings(home)
        .and_then(|loaded| Record::open(home, &loaded))
        .and_then(|record| record.act(&event, || Ok::<_, io::Error>(())));
    if let Err(failure) = written {
        // It stays closed all the same.
        note!("warning: security: this is not in the audit log");
        return Err(failure);
    }
    sessions::end_all(home)?;
    note!("next: clawdbot incident preserve DIR, report, rotate --all, resume");
    Ok(Exit::Done)
}

fn resume(home: &Home) -> CliResult {
    let file = home.incident_file();
    let text = std::fs::read_to_string(&file).map_err(|e| {
        if e.kind() == io::ErrorKind::NotFound {
            Failure::new(Exit::BadData, "there is no incident to end")
        } else {
            cannot("read", file.display(), e)
        }
    })?;
    let began = serde_json::from_str::<Incident>(&text).map_or(String::new(), |i| i.began);
    let consent = Consent::default();
    change::set(home, "gateway.audit.logLevel", "debug", &consent)?;
    let record = Record::open(home, &settings(home)?)?;
    let event = Event::IncidentEnded { began };
    record.act_with(
        &event,
        || std::fs::remove_file(&file),
        |e| cannot("remove", file.display(), e),
    )?;
    say!("open again; the audit log writes everything from here on (gateway.audit.logLevel debug)");
    Ok(Exit::Done)
}

/// A new file that is there after a crash, too.
fn write_durably(file: &PathBuf, text: &str) -> io::Result<()> {
    let mut new = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    file.parent()
        .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

fn cannot(what: &str, path: impl std::fmt::Display, error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Io, format!("cannot {what} {path}: {error}"))
}
