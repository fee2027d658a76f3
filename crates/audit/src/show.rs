//! A record as a line for people.

use crate::text::deceives;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// What every record has; it is shown in columns or not at all.
const FRAME: &[&str] = &[
    "index", "time", "boot", "mono", "level", "event", "outcome", "begin", "actor", "session",
    "request", "address", "prev", "hash",
];

/// So much of a value is shown.
const SHORT: usize = 72;

/// A record, as it stands in the log, as one line for people: time, level, event, outcome, who, and
/// what tells the event apart. What is no record is shown as it is. No control character and
/// nothing that changes the direction of text is left in it.
pub fn human_line(line: &str) -> String {
    let Ok(Value::Object(record)) = serde_json::from_str(line) else {
        return visible(line);
    };
    let word = |key: &str| match record.get(key) {
        Some(Value::String(text)) => visible(text),
        Some(other) => visible(&other.to_string()),
        None => "-".to_owned(),
    };
    // To the millisecond; the log itself has nanoseconds.
    let time: String = word("time").chars().take(23).collect();
    let mut shown = format!(
        "{:>7} {time}Z {:<5} {:<26} {:<9} {:<14}",
        word("index"),
        word("level"),
        word("event"),
        word("outcome"),
        word("actor"),
    );
    for (key, name) in [("begin", "of"), ("session", "session"), ("address", "from")] {
        if record.contains_key(key) {
            let _ = write!(shown, " {name}={}", word(key));
        }
    }
    details(&record, &mut shown);
    shown
}

fn details(record: &Map<String, Value>, shown: &mut String) {
    let own = |key: &str| !FRAME.contains(&key) && !key.ends_with("sha256");
    for (key, value) in record.iter().filter(|(key, _)| own(key)) {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Array(all) if all.is_empty() => continue,
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                value.to_string()
            }
        };
        let mut short: String = text.chars().take(SHORT).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        let _ = write!(shown, " {}={}", visible(key), visible(&short));
    }
}

/// The text with everything escaped that a terminal would obey.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || deceives(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::human_line;

    #[test]
    fn a_record_is_shown_with_what_tells_it_apart() {
        let line = r#"{"index":7,"time":"2026-11-25T17:00:00.123456789Z","boot":"b","mono":1,"level":"warn","event":"security.tool.denied","tool":"run_command","effect":"execute","rules":["tools.allowList"],"arguments_sha256":"ab","outcome":"denied","actor":"a1b2","address":"127.0.0.1","prev":"00","hash":"11"}"#;
        assert_eq!(
            human_line(line),
            "      7 2026-11-25T17:00:00.123Z warn  security.tool.denied       denied    a1b2           \
             from=127.0.0.1 tool=run_command effect=execute rules=[\"tools.allowList\"]"
        );
    }

    #[test]
    fn nothing_in_a_record_reaches_the_terminal_as_a_command() {
        let line = r#"{"event":"x","path":"a\u001b[2Jb\nc\u202ed\u2028e\u009bf"}"#;
        let shown = human_line(line);
        assert!(
            shown.ends_with(r"path=a\u{1b}[2Jb\u{a}c\u{202e}d\u{2028}e\u{9b}f"),
            "{shown}"
        );
        assert_eq!(human_line("no\u{1b}[2J record"), r"no\u{1b}[2J record");
    }
}
