//! Evidence that leaves the machine and can still be believed.
//!
//! The log vouches for itself. For the other files there is a list of digests, and the digest of that list
//! is a record in the log, written before the log is copied.

use super::super::backup;
use super::super::record::{Record, settings};
use super::super::{CliResult, Exit, Failure};
use super::cannot;
use crate::home::Home;
use crate::incident::Incident;
use crate::{note, say, wire};
use clap::Args;
use clawdbot_audit::{
    Against, Records, Verdict, VerifierKey, human_line, root_key, verify_against,
};
use clawdbot_domain::{Event, UnixTime, sha256_hex};
use serde_json::Value;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// In the form of sha256sum(1), so that it can be checked without this program.
const LIST: &str = "SHA256SUMS";
/// The copy of the log.
const LOGS: &str = "logs";
/// What vouches for the newest records.
const CHECKPOINT: &str = "checkpoint";
/// What the log rests on.
const KEY: &str = "audit.pub";
/// How long before an incident a report begins.
const BEFORE: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The folder
    dir: PathBuf,
    /// The public key the log must rest on, as `clawdbot audit key` printed it [default: the one in the folder]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

pub(super) fn preserve(home: &Home, dir: &Path) -> CliResult {
    let loaded = settings(home)?;
    let record = Record::open(home, &loaded)?;
    DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .map_err(|e| cannot("create", dir.display(), e))?;
    let copied = |e| cannot("copy to", dir.display(), e);
    // Everything but the log first: the log is to say what it was.
    for (from, name) in [
        (home.config_file(), "gateway.json"),
        (home.incident_file(), "incident.json"),
        (home.state().join("tokens.db"), "tokens.db"),
        (home.state().join("tokens.db-wal"), "tokens.db-wal"),
    ] {
        copy(&from, &dir.join(name)).map_err(copied)?;
    }
    for entry in entries(&home.logs()).map_err(copied)? {
        if entry.to_string_lossy().starts_with("gateway.log") {
            copy(&home.logs().join(&entry), &dir.join(&entry)).map_err(copied)?;
        }
    }
    if let Some(register) = wire::audit_places(home, &loaded.settings).register {
        copy(&register, &dir.join("register")).map_err(copied)?;
    }
    let key = root_key(&home.logs()).map_err(|e| Failure::new(Exit::Unreadable, e))?;
    std::fs::write(dir.join(KEY), format!("{key}\n")).map_err(copied)?;
    let list = list_of(dir).map_err(copied)?;
    std::fs::write(dir.join(LIST), &list).map_err(copied)?;
    let event = Event::IncidentPreserved {
        folder: dir.display().to_string(),
        sha256: sha256_hex(list.as_bytes()),
    };
    record.act(&event, || Ok::<_, io::Error>(()))?;
    // Closing it signs what it wrote.
    drop(record);
    copy_log(&home.logs(), &dir.join(LOGS)).map_err(copied)?;
    sync_all(dir).map_err(copied)?;
    let found = check(dir, None)?;
    say!("{}: {found}", dir.display());
    note!(
        "copy it to another machine, and check it there: clawdbot incident verify DIR --key {key}"
    );
    Ok(Exit::Done)
}

pub(super) fn verify(args: &VerifyArgs) -> CliResult {
    say!("{}", check(&args.dir, args.key.as_deref())?);
    Ok(Exit::Done)
}

/// The log against its key, the list against the log, the files against the list.
fn check(dir: &Path, key: Option<&str>) -> Result<String, Failure> {
    let own = std::fs::read_to_string(dir.join(KEY)).unwrap_or_default();
    let key = key.unwrap_or_else(|| own.trim());
    let key = VerifierKey::parse(key)
        .ok_or_else(|| Failure::new(Exit::BadData, "there is no key to verify the log with"))?;
    let against = Against {
        key: Some(key),
        register: None,
        copy: true,
    };
    let logs = dir.join(LOGS);
    // Without it the end could have been cut off.
    if !logs.join(CHECKPOINT).exists() {
        return Err(Failure::new(Exit::Tampered, "the log has no checkpoint"));
    }
    let found = verify_against(&logs, &against, &mut |_, _| {})
        .map_err(|e| Failure::new(Exit::Unreadable, e))?;
    let (exit, why) = match &found.verdict {
        // The gateway may have been writing while it was copied.
        Verdict::Intact | Verdict::Torn { .. } => (Exit::Done, String::new()),
        Verdict::Tampered { index, why, .. } => {
            (Exit::Tampered, format!("tampered at record {index}: {why}"))
        }
        Verdict::RolledBack { index, .. } => {
            (Exit::RolledBack, format!("cut off before record {index}"))
        }
    };
    if exit != Exit::Done {
        return Err(Failure::new(exit, format!("the log is {why}")));
    }
    let list = std::fs::read_to_string(dir.join(LIST))
        .map_err(|e| cannot("read", dir.join(LIST).display(), e))?;
    if !log_knows(&logs, &sha256_hex(list.as_bytes()))? {
        return Err(Failure::new(
            Exit::Tampered,
            format!("{LIST} is not the list that the log tells of"),
        ));
    }
    let now = list_of(dir).map_err(|e| cannot("read", dir.display(), e))?;
    let differs = |line: &&str| !now.lines().any(|other| other == *line);
    if let Some(line) = list.lines().find(differs) {
        let name = line.split_once("  ").map_or(line, |(_, name)| name);
        return Err(Failure::new(
            Exit::Tampered,
            format!("{name} was changed or removed since it was preserved"),
        ));
    }
    Ok(format!(
        "intact: {} records, and {} files as the log tells of them",
        found.records,
        list.lines().count()
    ))
}

fn log_knows(logs: &Path, digest: &str) -> Result<bool, Failure> {
    for line in Records::open(logs).map_err(|e| Failure::new(Exit::Unreadable, e))? {
        let line = line.map_err(|e| Failure::new(Exit::Unreadable, e))?;
        let Ok(record) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        let is =
            |field: &str, value: &str| record.get(field).and_then(Value::as_str) == Some(value);
        if is("event", "security.incident.preserved") && is("sha256", digest) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn report(home: &Home, json: bool) -> CliResult {
    let incident = std::fs::read_to_string(home.incident_file())
        .ok()
        .and_then(|text| serde_json::from_str::<Incident>(&text).ok());
    let began = incident
        .as_ref()
        .map_or_else(|| UnixTime::now().as_nanos(), |i| i.began_nanos);
    let before = i64::try_from(BEFORE.as_nanos()).unwrap_or(i64::MAX);
    let since = UnixTime::from_nanos(began.saturating_sub(before)).to_string();
    if let Some(incident) = incident {
        note!("closed since {}: {}", incident.began, incident.reason);
    } else {
        note!("no incident is open; this is the last day");
    }
    let mut shown = 0_u64;
    for line in Records::open(&home.logs()).map_err(|e| Failure::new(Exit::Unreadable, e))? {
        let line = line.map_err(|e| Failure::new(Exit::Unreadable, e))?;
        let Ok(record) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        let text = |field: &str| {
            record
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let told = text("event").starts_with("security.")
            || text("event").starts_with("tool.")
            || matches!(text("level"), "warn" | "error");
        if told && text("time") >= since.as_str() {
            shown += 1;
            if json {
                say!("{line}");
            } else {
                say!("{}", human_line(&line));
            }
        }
    }
    note!(
        "{shown} records; all of them: clawdbot audit report --week, clawdbot audit query --since 24h"
    );
    Ok(Exit::Done)
}

/// One line a file of the folder itself; the log below it is not listed.
fn list_of(dir: &Path) -> io::Result<String> {
    let mut list = String::new();
    for name in entries(dir)? {
        let path = dir.join(&name);
        if name != LIST && std::fs::symlink_metadata(&path)?.is_file() {
            let (_, digest) = backup::digest(&mut File::open(&path)?)?;
            list += &[digest.as_str(), "  ", &name.to_string_lossy(), "\n"].concat();
        }
    }
    Ok(list)
}

/// What vouches comes before what it vouches for: the copy may have more records than its checkpoint, and
/// never fewer.
fn copy_log(from: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    let mut names = entries(from)?;
    let late = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("audit-");
    names.sort_by_key(|name| (late(name), name != CHECKPOINT));
    for name in names {
        let (source, target) = (from.join(&name), to.join(&name));
        let text = name.to_string_lossy();
        if text.starts_with('.') || text.starts_with("gateway.log") {
            continue;
        }
        if std::fs::symlink_metadata(&source).is_ok_and(|found| found.is_dir()) {
            copy_log(&source, &target)?;
        } else {
            copy(&source, &target)?;
        }
    }
    Ok(())
}

/// A file that went meanwhile is no failure.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::copy(from, to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn entries(dir: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let names = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn sync_all(dir: &Path) -> io::Result<()> {
    for name in entries(dir)? {
        let path = dir.join(name);
        if path.is_dir() {
            sync_all(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    File::open(dir)?.sync_all()
}
