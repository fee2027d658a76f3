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
    let mode = mode_of_old(&folder, name, path)?;
    replace(&folder, name, mode, content.as_bytes(), || Ok(()))
        .map_err(|error| format!("{path}: {error}"))?;
    Ok(format!("wrote {} bytes to {path}\n", content.len()))
}

/// Puts a file with this content in the place of whatever has the name: whole, or not at all. `still` is
/// asked last, when all that is left is the change itself.
pub(super) fn replace(
    folder: &OwnedFd,
    name: &str,
    mode: Mode,
    content: &[u8],
    still: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let temporary = temporary_name().map_err(|error| error.to_string())?;
    let done = fill(folder, &temporary, mode, content)
        .map_err(|error| error.to_string())
        .and_then(|()| still())
        .and_then(|()| {
            rustix::fs::renameat(folder, &temporary, folder, name)
                // The new name itself must survive a crash.
                .and_then(|()| rustix::fs::fsync(folder))
                .map_err(words)
        });
    if done.is_err() {
        // It may not exist; what matters is the first error.
        let _ = rustix::fs::unlinkat(folder, &temporary, AtFlags::empty());
    }
    done
}

/// Names whose contents run later, outside, by themselves: git's hooks and configuration, direnv, the tasks
/// that editors start.
const PROTECTED: [&str; 8] = [
    ".git",
    ".gitmodules",
    ".envrc",
    ".vscode",
    ".idea",
    ".zed",
    ".devcontainer",
    ".husky",
];

/// Folder and name, of a path that stays beneath the workspace and is not protected.
pub(super) fn place(path: &str) -> Result<(&str, &str), String> {
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(format!(
            "{path}: leads outside the workspace; paths are relative to it, without `..`"
        ));
    }
    if path.split('/').any(|part| {
        let part = part.to_ascii_lowercase();
        PROTECTED.contains(&part.as_str())
    }) {
        return Err(format!(
            "{path}: what other programs run by themselves ({}) is not written by tools",
            PROTECTED.join(", ")
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
            ".vscode/tasks.json",
            ".Devcontainer/devcontainer.json",
        ] {
            assert!(place(path).is_err(), "{path}");
        }
    }
}
