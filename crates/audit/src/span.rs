//! From when to when the records of a segment are, so that a search by time can leave it out.
//!
//! Indices tell the order of records; times need not follow it, because clocks are set. So nothing is
//! concluded from the first and the last record of a segment: the writer notes the earliest and the
//! latest of all of them, and the record that the segment was closed tells both.

use crate::line::MAX_LINE;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

/// So many bytes are read to learn the times of a segment that another process began: a tenth of a second.
const QUICKLY: u64 = 128 << 20;

/// A time as it stands in a record: RFC 3339 in UTC with nanoseconds, whose order is that of its text.
pub(crate) type Stamp = [u8; 30];

/// The time of a record's line, found without reading the rest of it.
pub(crate) fn stamp(line: &[u8]) -> Option<&Stamp> {
    let rest = line.strip_prefix(b"{\"index\":")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = rest.get(digits..)?.strip_prefix(b",\"time\":\"")?;
    let (stamp, rest) = rest.split_first_chunk::<30>()?;
    (rest.starts_with(b"\"") && stamp.ends_with(b"Z")).then_some(stamp)
}

/// The earliest and the latest time of some records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// Of none.
    Empty,
    Times(Stamp, Stamp),
    /// There is one whose time cannot be read: nothing may be concluded.
    Unknown,
}

impl Span {
    /// Takes one more record in.
    pub(crate) fn see(&mut self, line: &[u8]) {
        *self = match (*self, stamp(line)) {
            (Self::Unknown, _) | (_, None) => Self::Unknown,
            (Self::Empty, Some(at)) => Self::Times(*at, *at),
            (Self::Times(earliest, latest), Some(at)) => {
                Self::Times(earliest.min(*at), latest.max(*at))
            }
        };
    }

    /// Takes every whole line of a buffer in.
    pub(crate) fn see_all(&mut self, lines: &[u8]) {
        let mut rest = lines;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            self.see(line);
            rest = after.get(1..).unwrap_or_default();
        }
    }

    /// Takes in the first bytes of a segment, which end with a line. More than a rotation may wait for is not
    /// read, and then nothing is known.
    pub(crate) fn see_file(&mut self, path: &Path, bytes: u64) {
        let read = || {
            if bytes > QUICKLY {
                return None;
            }
            let mut lines = BufReader::with_capacity(1 << 18, File::open(path).ok()?.take(bytes));
            let (mut span, mut line) = (*self, Vec::new());
            loop {
                line.clear();
                let most = MAX_LINE as u64 + 1;
                if (&mut lines).take(most).read_until(b'\n', &mut line).ok()? == 0 {
                    return Some(span);
                }
                span.see(&line);
            }
        };
        *self = read().unwrap_or(Self::Unknown);
    }

    /// Both times as text.
    pub(crate) fn texts(&self) -> (Option<String>, Option<String>) {
        let text = |at: &Stamp| Some(String::from_utf8_lossy(at).into_owned());
        match self {
            Self::Times(earliest, latest) => (text(earliest), text(latest)),
            Self::Empty | Self::Unknown => (None, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Span, stamp};

    fn line(time: &str) -> String {
        format!(r#"{{"index":7,"time":"{time}","boot":"x"}}"#)
    }

    #[test]
    fn the_earliest_and_latest_are_those_of_all_records_in_any_order() {
        let mut span = Span::Empty;
        let at = |second: u32| format!("2026-11-25T00:00:{second:02}.000000000Z");
        let lines: Vec<String> = [5, 9, 2, 7].iter().map(|s| line(&at(*s)) + "\n").collect();
        span.see_all(lines.concat().as_bytes());
        assert_eq!(span.texts(), (Some(at(2)), Some(at(9))));
        span.see(b"{\"index\":8}");
        assert_eq!(
            span.texts(),
            (None, None),
            "one without a time leaves nothing to conclude"
        );
    }

    #[test]
    fn a_time_is_only_read_where_the_writer_puts_it() {
        assert!(stamp(line("2026-11-25T00:00:00.000000000Z").as_bytes()).is_some());
        for other in [
            r#"{"time":"2026-11-25T00:00:00.000000000Z"}"#,
            r#"{"index":7,"path":"","time":"2026-11-25T00:00:00.000000000Z"}"#,
            r#"{"index":7,"time":"2026-11-25"}"#,
            r#"{"index":7,"time":"2026-11-25T00:00:00.000000000+"#,
        ] {
            assert_eq!(stamp(other.as_bytes()), None, "{other}");
        }
    }
}
