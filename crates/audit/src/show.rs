//! A record, taken apart for people.

use crate::text::deceives;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// What every record has; it is shown in columns or not at all.
const FRAME: &[&str] = &[
    "index", "time", "boot", "mono", "level", "event", "outcome", "begin", "actor", "session",
    "request", "address", "repeats", "prev", "hash",
];

/// So much of a value is shown.
const SHORT: usize = 72;

/// A record for people. No control character and nothing that changes the direction of text is left in
/// any of it, so that it may be coloured and printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its number.
    pub index: String,
    /// `2026-11-25 17:00:00.123`, UTC. The log itself has nanoseconds.
    pub time: String,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// Its event.
    pub event: String,
    /// How it ended, or that it begins.
    pub outcome: String,
    /// Public id of the token, or `-`.
    pub actor: String,
    /// What it belongs to and what tells it apart, by name.
    pub details: Vec<(String, String)>,
}

impl Shown {
    /// Takes a line of the log apart; `None` when it is no record.
    pub fn of(line: &str) -> Option<Self> {
        let Ok(Value::Object(record)) = serde_json::from_str(line) else {
            return None;
        };
        let word = |key: &str| match record.get(key) {
            Some(Value::String(text)) => visible(text),
            Some(other) => visible(&other.to_string()),
            None => "-".to_owned(),
        };
        let time: String = word("time").chars().take(23).collect();
        let mut details = Vec::new();
        for (key, name) in [
            ("repeats", "times"),
            ("begin", "of"),
            ("session", "session"),
            ("address", "from"),
        ] {
            if record.contains_key(key) {
                details.push((name.to_owned(), word(key)));
            }
        }
        own(&record, &mut details);
        Some(Self {
            index: word("index"),
            time: time.replacen('T', " ", 1),
            level: word("level"),
            event: word("event"),
            outcome: word("outcome"),
            actor: word("actor"),
            details,
        })
    }
}

/// A record, as it stands in the log, as one plain line for people. What is no record is shown as it is.
pub fn human_line(line: &str) -> String {
    let Some(shown) = Shown::of(line) else {
        return visible(line);
    };
    let Shown {
        index,
        time,
        level,
        event,
        outcome,
        actor,
        details,
    } = shown;
    let mut text = format!("{index:>7} {time}Z {level:<5} {event:<26} {outcome:<9} {actor:<14}");
    for (name, value) in details {
        let _ = write!(text, " {name}={value}");
    }
    text
}

fn own(record: &Map<String, Value>, details: &mut Vec<(String, String)>) {
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
        details.push((visible(key), visible(&short)));
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
    use super::{Shown, visible};

    #[test]
    fn a_record_is_shown_with_what_tells_it_apart() {
        let line = r#"{"index":7,"time":"2026-11-25T17:00:00.123456789Z","boot":"b","mono":1,"level":"warn","event":"security.tool.denied","tool":"run_command","effect":"execute","rules":["tools.allowList"],"arguments_sha256":"ab","outcome":"denied","repeats":12,"actor":"a1b2","address":"127.0.0.1","prev":"00","hash":"11"}"#;
        let shown = Shown::of(line).unwrap();
        assert_eq!(shown.time, "2026-11-25 17:00:00.123");
        assert_eq!((shown.index.as_str(), shown.actor.as_str()), ("7", "a1b2"));
        let details: Vec<String> = shown
            .details
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!(
            details,
            [
                "times=12",
                "from=127.0.0.1",
                "tool=run_command",
                "effect=execute",
                "rules=[\"tools.allowList\"]"
            ]
        );
    }

    #[test]
    fn nothing_in_a_record_reaches_the_terminal_as_a_command() {
        let line = r#"{"event":"x\u001b[2J","actor":"\u202e","pa\u0007th":"a\u001b[2Jb\nc\u202ed\u2028e\u009bf"}"#;
        let shown = Shown::of(line).unwrap();
        assert_eq!(
            (shown.event.as_str(), shown.actor.as_str()),
            (r"x\u{1b}[2J", r"\u{202e}")
        );
        let hostile = (
            r"pa\u{7}th".to_owned(),
            r"a\u{1b}[2Jb\u{a}c\u{202e}d\u{2028}e\u{9b}f".to_owned(),
        );
        assert_eq!(shown.details, [hostile]);
        assert_eq!(Shown::of("no record"), None);
        assert_eq!(visible("no\u{1b}[2J record"), r"no\u{1b}[2J record");
    }
}
