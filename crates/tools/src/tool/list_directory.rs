//! `list_directory`: names, kinds and sizes.

use super::{MOST_ARGUMENTS, Tool, Work, number};
use crate::workspace::{Workspace, words};
use clawdbot_domain::Effect;
use rustix::fs::{AtFlags, Dir, FileType};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The most entries shown.
const MOST_SHOWN: usize = 1_000;
/// The most entries looked at, so that a folder of millions ends in time.
const MOST_READ: usize = 100_000;

pub(super) const TOOL: Tool = Tool {
    name: "list_directory",
    description: "List a folder in the workspace: kind, size in bytes and name of each entry, sorted by name. \
                  The path is relative to the workspace; without one, the workspace itself. Many entries come in \
                  pages: give `offset` (entries to skip) and `limit`.",
    effect: Effect::Read,
    schema,
    most_arguments: MOST_ARGUMENTS,
    work: Work::Inside(list),
};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "path": {
                "type": "string", "minLength": 1, "maxLength": 4096,
                "description": "Path relative to the workspace"
            },
            "offset": {
                "type": "integer", "minimum": 0, "maximum": MOST_READ,
                "description": "Entries to skip"
            },
            "limit": {
                "type": "integer", "minimum": 1, "maximum": MOST_SHOWN,
                "description": "Entries to show"
            }
        },
        "required": [],
        "additionalProperties": false
    })
}

fn list(workspace: &Workspace<'_>, arguments: &Map<String, Value>) -> Result<String, String> {
    let path = arguments.get("path").and_then(Value::as_str).unwrap_or(".");
    let said = |error| format!("{path}: {}", words(error));
    let skip = number(arguments, "offset").unwrap_or(0);
    let most = number(arguments, "limit").unwrap_or(MOST_SHOWN);
    let folder = workspace.folder(path)?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&folder).map_err(said)?.take(MOST_READ) {
        let name = entry.map_err(said)?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort();
    let mut told = String::new();
    for name in names.iter().skip(skip).take(most) {
        let (kind, size) = match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => (kind(found.st_mode), found.st_size.to_string()),
            // Gone since it was read.
            Err(_) => ("gone", "-".to_owned()),
        };
        let _ = writeln!(
            told,
            "{kind:<6} {size:>10} {}",
            shown(&name.to_string_lossy())
        );
    }
    let next = skip.saturating_add(most);
    if names.is_empty() {
        told.push_str("[empty]\n");
    } else if skip >= names.len() {
        return Err(format!(
            "{path}: has {} entries, not more than {skip}",
            names.len()
        ));
    } else if next < names.len() {
        let left = names.len() - next;
        let _ = writeln!(told, "[{left} more entries; go on with offset {next}]");
    }
    if names.len() >= MOST_READ - 2 {
        let _ = writeln!(told, "[only {MOST_READ} entries were looked at]");
    }
    Ok(told)
}

fn kind(mode: rustix::fs::RawMode) -> &'static str {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => "file",
        FileType::Directory => "folder",
        FileType::Symlink => "link",
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => "other",
    }
}

/// A name can hold a line break, and with it a line that looks like an entry.
fn shown(name: &str) -> String {
    if name.chars().any(char::is_control) {
        name.escape_debug().to_string()
    } else {
        name.to_owned()
    }
}
