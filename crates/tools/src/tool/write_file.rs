//! `write_file`: whole or not at all.

use super::{Tool, Work, text};
use crate::workspace::{Workspace, regular, words};
use clawdbot_domain::Effect;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::Write as _;

/// The most characters of a file.
const MOST_CONTENT: usize = 1 << 20;

pub(super) const TOOL: Tool = Tool {
    name: "write_file",
    description: "Write a text file in the workspace, in full: an existing file is replaced, missing folders \
                  are made. The path is relative to the workspace.",
    effect: Effect::Write,
    schema,
    // A megabyte of text can be six as JSON, when all of it is escaped.
    most_arguments: 6 * MOST_CONTENT + (64 << 10),
    work: Work::Inside(write),
};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "path": {
                "type": "string", "minLength": 1, "maxLength": 4096,
                "description": "Path relative to the workspace"
            },
            "content": {
                "type": "string", "maxLength": MOST_CONTENT,
                "description": "The whole content of the file"
            }
        },
        "required": ["path", "content"],
        "additionalProperties": false
    })
}

fn write(workspace: &Workspace<'_>, arguments: &Map<String, Value>) -> Result<String, String> {
    let path = text(arguments, "path")?;
    let content = text(arguments, "content")?;
    let (folder, name) = place(path)?;
    let folder = workspace.folder_or_make(folder)?;
    let said = |error: &dyn std::fmt::Display| format!("{path}: {error}");
    let mode = mode_of_old(&folder, name, path)?;
    let temporary = temporary_name().map_err(|error| said(&error))?;
    let done = fill(&folder, &temporary, mode, content.as_bytes())
        .and_then(|()| Ok(rustix::fs::renameat(&folder, &temporary, &folder, name)?))
        // The new name itself must survive a crash.
        .and_then(|()| Ok(rustix::fs::fsync(&folder)?));
    if let Err(error) = done {
        // It may not exist; what matters is the first error.
        let _ = rustix::fs::unlinkat(&folder, &temporary, AtFlags::empty());
        return Err(said(&error));
    }
    Ok(format!("wrote {} bytes to {path}\n", content.len()))
}

/// Folder and name. What runs later, outside, by itself (git's hooks and configuration, direnv) is not for
/// a tool to write.
fn place(path: &str) -> Result<(&str, &str), String> {
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(format!(
            "{path}: leads outside the workspace; paths are relative to it, without `..`"
        ));
    }
    if path.split('/').any(|part| {
        let part = part.to_ascii_lowercase();
        part == ".git" || part == ".envrc"
    }) {
        return Err(format!(
            "{path}: files that other programs run by themselves (.git, .envrc) are not written by tools"
        ));
    }
    let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
    if matches!(name, "" | ".") {
        return Err(format!("{path}: names no file"));
    }
    Ok((folder, name))
}

/// The mode to keep. Only a regular file is replaced; a link gives way to a file of its own, so nothing is
/// ever written through one.
fn mode_of_old(folder: &OwnedFd, name: &str, path: &str) -> Result<Mode, String> {
    const NEW: u32 = 0o644;
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if rustix::fs::FileType::from_raw_mode(found.st_mode).is_symlink() => {
            Ok(Mode::from_raw_mode(NEW))
        }
        Ok(found) => {
            regular(&found, path)?;
            Ok(Mode::from_raw_mode(found.st_mode & 0o777))
        }
        Err(Errno::NOENT) => Ok(Mode::from_raw_mode(NEW)),
        Err(error) => Err(format!("{path}: {}", words(error))),
    }
}

fn temporary_name() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)?;
    Ok(format!(".{}.tmp", clawdbot_domain::hex(&bytes)))
}

fn fill(folder: impl AsFd, name: &str, mode: Mode, content: &[u8]) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(opened);
    file.write_all(content)?;
    rustix::fs::fchmod(&file, mode)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_into_folder_and_name() {
        assert_eq!(place("a.txt"), Ok((".", "a.txt")));
        assert_eq!(place("a/b/c.txt"), Ok(("a/b", "c.txt")));
    }

    #[test]
    fn paths_that_climb_name_nothing_or_plant_a_hook_are_refused() {
        for path in [
            "/etc/passwd",
            "../x",
            "a/../../x",
            "..",
            "a/",
            ".",
            "a/.",
            ".git/hooks/pre-commit",
            "sub/.GIT/config",
            ".envrc",
            ".git",
        ] {
            assert!(place(path).is_err(), "{path}");
        }
    }
}
