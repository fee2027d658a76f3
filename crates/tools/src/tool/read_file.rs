//! `read_file`: text, a page at a time.

use super::{MOST_ARGUMENTS, Tool, Work, number, text};
use crate::workspace::Workspace;
use clawdbot_domain::Effect;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};

/// The most bytes of a page.
const MOST_PAGE: usize = 256 << 10;
/// How many lines a page has when nothing is said.
const LINES: usize = 2_000;
/// How far into a file a page may be looked for.
const MOST_SCAN: u64 = 64 << 20;

pub(super) const TOOL: Tool = Tool {
    name: "read_file",
    description: "Read a text file in the workspace. Long files come in pages: give `offset` (first line, \
                  counted from 1) and `limit` (number of lines). The path is relative to the workspace.",
    effect: Effect::Read,
    schema,
    most_arguments: MOST_ARGUMENTS,
    work: Work::Inside(read),
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
                "type": "integer", "minimum": 1, "maximum": 1_000_000_000,
                "description": "First line to read, from 1"
            },
            "limit": {
                "type": "integer", "minimum": 1, "maximum": 100_000,
                "description": "Number of lines"
            }
        },
        "required": ["path"],
        "additionalProperties": false
    })
}

fn read(workspace: &Workspace<'_>, arguments: &Map<String, Value>) -> Result<String, String> {
    let path = text(arguments, "path")?;
    let first = number(arguments, "offset").unwrap_or(1);
    let lines = number(arguments, "limit").unwrap_or(LINES);
    let (file, size) = workspace.file(path)?;
    let page = page(BufReader::new(file.take(MOST_SCAN)), first, lines)
        .map_err(|error| format!("{path}: {error}"))?;
    page.told(path, first, size)
}

/// Some lines of a file.
#[derive(Debug, Default)]
struct Page {
    bytes: Vec<u8>,
    lines: usize,
    /// True when the file goes on.
    more: bool,
    /// True when the last line was cut.
    cut: bool,
}

fn page(mut from: impl std::io::BufRead, first: usize, lines: usize) -> std::io::Result<Page> {
    for _ in 1..first {
        if from.skip_until(b'\n')? == 0 {
            return Ok(Page::default());
        }
    }
    let mut page = Page::default();
    while page.lines < lines && page.bytes.len() < MOST_PAGE {
        let left = MOST_PAGE - page.bytes.len();
        let mut line = from.by_ref().take(left as u64);
        let read = line.read_until(b'\n', &mut page.bytes)?;
        if read == 0 {
            return Ok(page);
        }
        page.lines += 1;
        page.cut = read == left && !page.bytes.ends_with(b"\n");
    }
    page.more = !from.fill_buf()?.is_empty();
    page.cut &= page.more;
    Ok(page)
}

impl Page {
    fn told(self, path: &str, first: usize, size: u64) -> Result<String, String> {
        if self.lines == 0 && first > 1 {
            return Err(format!("{path}: has no line {first}"));
        }
        let mut text = into_text(self.bytes, self.cut)
            .ok_or_else(|| format!("{path}: is not text ({size} bytes of binary data)"))?;
        if self.more {
            let last = first + self.lines - 1;
            let next = if self.cut {
                format!("line {last} is longer than a page and was cut")
            } else {
                format!("go on with offset {}", last + 1)
            };
            if !text.ends_with('\n') {
                text.push('\n');
            }
            let _ = writeln!(text, "[lines {first} to {last}; {next}]");
        }
        Ok(text)
    }
}

/// Text is UTF-8 without NUL. A page that was cut inside a character loses its part of it.
fn into_text(mut bytes: Vec<u8>, cut: bool) -> Option<String> {
    if bytes.contains(&0) {
        return None;
    }
    if cut
        && let Err(error) = std::str::from_utf8(&bytes)
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &[u8], first: usize, lines: usize) -> Result<String, String> {
        page(text, first, lines)
            .unwrap()
            .told("f", first, text.len() as u64)
    }

    #[test]
    fn a_file_comes_in_pages_that_say_how_to_go_on() {
        assert_eq!(told(b"a\nb\nc\n", 1, 10).unwrap(), "a\nb\nc\n");
        assert_eq!(
            told(b"a\nb\nc", 1, 2).unwrap(),
            "a\nb\n[lines 1 to 2; go on with offset 3]\n"
        );
        assert_eq!(told(b"a\nb\nc", 3, 2).unwrap(), "c");
        assert_eq!(told(b"", 1, 2).unwrap(), "");
        assert_eq!(told(b"a\n", 3, 2).unwrap_err(), "f: has no line 3");
    }

    #[test]
    fn a_line_longer_than_a_page_is_cut_between_characters_and_says_so() {
        let text = "é".repeat(MOST_PAGE).into_bytes();
        let told = told(&[b"x".as_slice(), &text].concat(), 1, 9).unwrap();
        assert!(told.len() < MOST_PAGE + 100, "{}", told.len());
        assert!(told.ends_with("é\n[lines 1 to 1; line 1 is longer than a page and was cut]\n"));
    }

    #[test]
    fn what_is_no_text_is_refused_in_words() {
        for bytes in [b"\x7fELF\0\0".as_slice(), b"\xff\xfe\x00", b"caf\xe9"] {
            let error = told(bytes, 1, 9).unwrap_err();
            assert!(error.starts_with("f: is not text"), "{error}");
        }
    }
}
