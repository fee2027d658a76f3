//! `search_files`: where a text stands, by file and line.

use super::{MOST_ARGUMENTS, Tool, Work, number, text};
use crate::workspace::{Workspace, words};
use clawdbot_domain::Effect;
use rustix::fd::OwnedFd;
use rustix::fs::{Dir, FileType};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::Read as _;

/// The most hits of a page, and how many when nothing is said.
const MOST_HITS: usize = 1_000;
const HITS: usize = 200;
/// The most of a line that is shown, characters.
const MOST_LINE: usize = 300;
/// The most bytes of a page, so that it fits a call's output.
const MOST_PAGE: usize = 256 << 10;
/// The most entries that are looked at, how deep, and how large a file.
const MOST_ENTRIES: usize = 50_000;
const MOST_DEPTH: usize = 32;
const MOST_FILE: u64 = 4 << 20;

pub(super) const TOOL: Tool = Tool {
    name: "search_files",
    description: "Find where a text stands in the files of the workspace: `path:line: text` for each hit, sorted by \
                  path. `text` is taken literally. `path` narrows it to a folder, `name` to files whose name ends so \
                  (e.g. `.rs`). Many hits come in pages: give `offset` (hits to skip) and `limit`.",
    effect: Effect::Read,
    schema,
    most_arguments: MOST_ARGUMENTS,
    work: Work::Inside(search),
};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "text": {
                "type": "string", "minLength": 1, "maxLength": 1024,
                "description": "The text to find, within a line"
            },
            "path": {
                "type": "string", "minLength": 1, "maxLength": 4096,
                "description": "Folder relative to the workspace"
            },
            "name": {
                "type": "string", "minLength": 1, "maxLength": 255,
                "description": "Only files whose name ends with this"
            },
            "ignore_case": { "type": "boolean", "description": "Take A for a" },
            "offset": { "type": "integer", "minimum": 0, "maximum": 1_000_000, "description": "Hits to skip" },
            "limit": { "type": "integer", "minimum": 1, "maximum": MOST_HITS, "description": "Hits to show" }
        },
        "required": ["text"],
        "additionalProperties": false
    })
}

fn search(workspace: &Workspace<'_>, arguments: &Map<String, Value>) -> Result<String, String> {
    let path = arguments.get("path").and_then(Value::as_str).unwrap_or(".");
    let wanted = text(arguments, "text")?;
    if wanted.contains('\n') {
        return Err("`text` is looked for within one line; leave out the line end".to_owned());
    }
    let fold = arguments
        .get("ignore_case")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let mut found = Search {
        wanted: if fold {
            wanted.to_lowercase()
        } else {
            wanted.to_owned()
        },
        fold,
        ending: arguments.get("name").and_then(Value::as_str).unwrap_or(""),
        skip: number(arguments, "offset").unwrap_or(0),
        limit: number(arguments, "limit").unwrap_or(HITS),
        ..Search::new()
    };
    let folder = workspace.folder(path)?;
    let shown = if path == "." {
        String::new()
    } else {
        format!("{}/", path.trim_end_matches('/'))
    };
    found.folder(&folder, &shown, 0)?;
    Ok(found.told())
}

struct Search<'a> {
    wanted: String,
    fold: bool,
    ending: &'a str,
    skip: usize,
    limit: usize,
    page: String,
    seen: usize,
    shown: usize,
    entries: usize,
    /// True when the page is full and there is more.
    more: bool,
    /// What was left out, for those who wonder.
    left_out: usize,
}

impl Search<'_> {
    fn new() -> Self {
        Self {
            wanted: String::new(),
            fold: false,
            ending: "",
            skip: 0,
            limit: HITS,
            page: String::new(),
            seen: 0,
            shown: 0,
            entries: 0,
            more: false,
            left_out: 0,
        }
    }

    fn is_over(&self) -> bool {
        self.more || self.entries >= MOST_ENTRIES
    }

    /// Links are not followed: what they lead to is found under its own name.
    fn folder(&mut self, folder: &OwnedFd, shown: &str, depth: usize) -> Result<(), String> {
        let said = |error| format!("{shown}: {}", words(error));
        let mut entries = Vec::new();
        for entry in Dir::read_from(folder).map_err(said)?.take(MOST_ENTRIES) {
            let entry = entry.map_err(said)?;
            if let Ok(name) = entry.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                entries.push((name.to_owned(), entry.file_type()));
            }
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, kind) in entries {
            if self.is_over() {
                return Ok(());
            }
            self.entries += 1;
            let path = format!("{shown}{name}");
            match kind {
                FileType::Directory if depth < MOST_DEPTH => {
                    match Workspace::folder_in(folder, &name, &path) {
                        Ok(inner) => self.folder(&inner, &format!("{path}/"), depth + 1)?,
                        Err(_) => self.left_out += 1,
                    }
                }
                FileType::RegularFile if name.ends_with(self.ending) => {
                    self.file(folder, &name, &path);
                }
                // Links lead to what has a name of its own; the rest is no text.
                FileType::RegularFile
                | FileType::Symlink
                | FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice => {}
                FileType::Directory | FileType::Unknown => self.left_out += 1,
            }
        }
        Ok(())
    }

    fn file(&mut self, folder: &OwnedFd, name: &str, path: &str) {
        let Ok((file, size)) = Workspace::file_in(folder, name, path) else {
            self.left_out += 1;
            return;
        };
        let mut bytes = Vec::new();
        if size > MOST_FILE || file.take(MOST_FILE).read_to_end(&mut bytes).is_err() {
            self.left_out += 1;
            return;
        }
        // Data that is no text is not searched.
        let Ok(content) = String::from_utf8(bytes) else {
            return;
        };
        if content.contains('\0') {
            return;
        }
        for (at, line) in content.lines().enumerate() {
            let hit = if self.fold {
                line.to_lowercase().contains(&self.wanted)
            } else {
                line.contains(&self.wanted)
            };
            if hit && !self.hit(path, at + 1, line) {
                return;
            }
        }
    }

    /// False when the page is full.
    fn hit(&mut self, path: &str, line: usize, text: &str) -> bool {
        self.seen += 1;
        if self.seen <= self.skip {
            return true;
        }
        if self.shown >= self.limit || self.page.len() >= MOST_PAGE {
            self.more = true;
            return false;
        }
        self.shown += 1;
        let cut: String = text.chars().take(MOST_LINE).collect();
        let mark = if cut.len() < text.len() { "…" } else { "" };
        let _ = writeln!(self.page, "{path}:{line}: {cut}{mark}");
        true
    }

    fn told(mut self) -> String {
        if self.shown == 0 {
            self.page.push_str("[no hit]\n");
        }
        if self.more {
            let next = self.skip + self.shown;
            let _ = writeln!(self.page, "[there is more; go on with offset {next}]");
        } else if self.entries >= MOST_ENTRIES {
            let _ = writeln!(
                self.page,
                "[stopped after {MOST_ENTRIES} entries; narrow it with `path`]"
            );
        }
        if self.left_out > 0 {
            let _ = writeln!(
                self.page,
                "[{} too large, too deep or not readable]",
                self.left_out
            );
        }
        self.page
    }
}
