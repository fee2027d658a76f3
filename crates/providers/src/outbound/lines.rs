//! The lines of an event of a stream.

use bytes::Bytes;
use serde_json::Value;
use std::borrow::Cow;

/// Bytes as text. Almost all are; asking that first is quicker than mending them.
pub(super) fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// What an event carries, its `data:` lines joined.
pub(super) fn data_of(event: &str) -> Cow<'_, str> {
    let lines = event.lines().filter_map(|line| line.strip_prefix("data:"));
    let mut lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line));
    let first = lines.next().unwrap_or_default();
    let Some(second) = lines.next() else {
        return Cow::Borrowed(first);
    };
    let all: Vec<_> = [first, second].into_iter().chain(lines).collect();
    Cow::Owned(all.join("\n"))
}

/// True when a client may read other lines in it than we do: a carriage return by itself ends a line for
/// some, and a byte order mark is no part of the first for others.
pub(super) fn is_read_otherwise(event: &str) -> bool {
    let bare = |at: usize| event.as_bytes().get(at + 1) != Some(&b'\n');
    event.starts_with('\u{feff}') || memchr::memchr_iter(b'\r', event.as_bytes()).any(bare)
}

/// An event with other data: all its other lines as they were.
pub(super) fn with_data(text: &str, value: &Value) -> Bytes {
    let mut out = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !line.is_empty()) {
        if !line.starts_with("data:") {
            out.push_str(line);
            out.push('\n');
        }
    }
    out.push_str("data: ");
    out.push_str(&value.to_string());
    out.push_str("\n\n");
    out.into()
}
