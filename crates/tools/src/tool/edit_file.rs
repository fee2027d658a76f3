//! `edit_file`: one exact piece of text for another, whole or not at all.

use super::write_file::{place, replace};
use super::{Tool, Work, text};
use crate::workspace::{Workspace, look, words};
use clawdbot_domain::Effect;
use rustix::fs::{AtFlags, Mode, Stat};
use serde_json::{Map, Value, json};
use std::io::Read as _;

/// The largest file that is edited, bytes.
const MOST_FILE: u64 = 4 << 20;
/// The longest piece of text, characters.
const MOST_PIECE: usize = 256 << 10;

pub(super) const TOOL: Tool = Tool {
    name: "edit_file",
    description: "Change a text file in the workspace: `old` is replaced by `new`. `old` must stand in the file \
                  exactly once, with its spaces and line ends; with `all`, every place is changed. The path is \
                  relative to the workspace.",
    effect: Effect::Write,
    schema,
    // Both pieces, when all of them is escaped.
    most_arguments: 12 * MOST_PIECE + (64 << 10),
    work: Work::Inside(edit),
};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "path": {
                "type": "string", "minLength": 1, "maxLength": 4096,
                "description": "Path relative to the workspace"
            },
            "old": {
                "type": "string", "minLength": 1, "maxLength": MOST_PIECE,
                "description": "The text to replace, exactly as it stands in the file"
            },
            "new": {
                "type": "string", "maxLength": MOST_PIECE,
                "description": "The text to put there"
            },
            "all": {
                "type": "boolean",
                "description": "Replace every place where `old` stands, not just one"
            }
        },
        "required": ["path", "old", "new"],
        "additionalProperties": false
    })
}

fn edit(workspace: &Workspace<'_>, arguments: &Map<String, Value>) -> Result<String, String> {
    let path = text(arguments, "path")?;
    let (old, new) = (text(arguments, "old")?, text(arguments, "new")?);
    let all = arguments
        .get("all")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let (folder, name) = place(path)?;
    let folder = workspace.folder(folder)?;
    // By its own name, so that what is read is what is replaced: a link would be changed into a file.
    let (file, size) = Workspace::file_in(&folder, name, path)?;
    if size > MOST_FILE {
        return Err(format!(
            "{path}: is {size} bytes; at most {MOST_FILE} are edited"
        ));
    }
    let before = look(&file, path)?;
    let mut content = String::new();
    file.take(MOST_FILE + 1)
        .read_to_string(&mut content)
        .map_err(|error| format!("{path}: {error}"))?;
    let (content, times) =
        changed(&content, old, new, all).map_err(|why| format!("{path}: {why}"))?;
    let mode = Mode::from_raw_mode(before.st_mode & 0o777);
    let unchanged = || match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(now) if same(&now, &before) => Ok(()),
        Ok(_) => Err("was changed by somebody else meanwhile; read it again".to_owned()),
        Err(error) => Err(words(error)),
    };
    replace(&folder, name, mode, content.as_bytes(), unchanged)
        .map_err(|error| format!("{path}: {error}"))?;
    let places = if times == 1 { "place" } else { "places" };
    Ok(format!("changed {times} {places} in {path}\n"))
}

/// The same file with the same content, as far as its dates tell.
fn same(now: &Stat, before: &Stat) -> bool {
    (now.st_dev, now.st_ino, now.st_size) == (before.st_dev, before.st_ino, before.st_size)
        && (now.st_mtime, now.st_mtime_nsec) == (before.st_mtime, before.st_mtime_nsec)
}

fn changed(content: &str, old: &str, new: &str, all: bool) -> Result<(String, usize), String> {
    if old == new {
        return Err("`old` and `new` are the same".to_owned());
    }
    let times = content.matches(old).count();
    let grown = content.len() as u64 + (times as u64).saturating_mul(new.len() as u64);
    match times {
        0 => Err("`old` does not stand in the file; read it and copy the text exactly".to_owned()),
        _ if grown > 2 * MOST_FILE => Err(format!(
            "the file would grow beyond {} bytes",
            2 * MOST_FILE
        )),
        1 => Ok((content.replacen(old, new, 1), 1)),
        times if all => Ok((content.replace(old, new), times)),
        times => Err(format!(
            "`old` stands in the file {times} times; give more of the text round it, or `all`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_or_all_and_never_a_guess() {
        assert_eq!(changed("abc", "b", "x", false), Ok(("axc".to_owned(), 1)));
        assert_eq!(changed("bab", "b", "", true), Ok(("a".to_owned(), 2)));
        for (old, why) in [
            ("b", "stands in the file 2 times"),
            ("z", "does not stand"),
            ("B", "does not stand"),
        ] {
            let error = changed("bab", old, "x", false).unwrap_err();
            assert!(error.contains(why), "{old}: {error}");
        }
        assert!(changed("a", "a", "a", false).is_err());
    }

    #[test]
    fn a_file_does_not_explode() {
        let content = "a".repeat(1 << 20);
        let new = "b".repeat(100);
        assert!(changed(&content, "a", &new, true).is_err());
    }
}
