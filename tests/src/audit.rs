//! What was written down.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The audit log of a home, read from its files as anyone can.
#[derive(Debug, Clone)]
pub struct AuditLog {
    folder: PathBuf,
}

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record(pub Value);

/// The files of the log in this folder, oldest first; none while there is no folder.
pub fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.extension().is_some_and(|e| e == "jsonl") && name.starts_with("audit-")
    };
    let mut all: Vec<_> = entries.map(|entry| entry.path()).filter(named).collect();
    all.sort();
    all
}

/// Makes the key that signs the log in this folder two hours old: the next command begins another one.
///
/// # Panics
/// When there is none.
pub fn age_key(folder: &Path) {
    let epochs = std::fs::File::options()
        .write(true)
        .open(folder.join("epochs"));
    let then = std::time::SystemTime::now() - Duration::from_secs(2 * 60 * 60);
    let aged = epochs.and_then(|epochs| epochs.set_modified(then));
    aged.expect("the log has keys");
}

impl AuditLog {
    /// The log in this folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Every whole record that is in the files now, oldest first.
    pub fn records(&self) -> Vec<Record> {
        let segments = segments(&self.folder);
        let texts = segments
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap_or_default());
        let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
        lines
            .filter_map(|line| serde_json::from_str(&line).ok().map(Record))
            .collect()
    }

    /// The records of one event.
    pub fn of(&self, event: &str) -> Vec<Record> {
        self.records()
            .into_iter()
            .filter(|record| record.event() == event)
            .collect()
    }

    /// The paths of the tool calls that have a begin record.
    ///
    /// # Panics
    /// When one of them has no path.
    pub fn paths_begun(&self) -> Vec<String> {
        let path = |record: &Record| {
            let arguments: Value = serde_json::from_str(record.text("arguments")).unwrap();
            arguments["path"].as_str().unwrap().to_owned()
        };
        self.of("tool.begin").iter().map(path).collect()
    }

    /// Waits until a record is there that this holds for: end records are written behind an answer.
    ///
    /// # Panics
    /// When none has come after ten seconds.
    pub fn wait_for(&self, what: &str, holds: impl Fn(&Record) -> bool) -> Record {
        let give_up = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(found) = self.records().into_iter().find(&holds) {
                return found;
            }
            assert!(
                Instant::now() < give_up,
                "no record of {what} was written; there are: {:?}",
                self.records()
                    .iter()
                    .map(|r| r.event().to_owned())
                    .collect::<Vec<_>>()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Record {
    /// Its event.
    pub fn event(&self) -> &str {
        self.text("event")
    }

    /// One field as text; empty when there is none.
    pub fn text(&self, field: &str) -> &str {
        self.0
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// One field.
    pub fn get(&self, field: &str) -> &Value {
        self.0.get(field).unwrap_or(&Value::Null)
    }
}
