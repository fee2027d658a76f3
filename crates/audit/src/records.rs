//! All records of a log, one after another, in little memory.

use crate::disk;
use crate::error::AuditError;
use crate::line::MAX_LINE;
use crate::segment::Segment;
use crate::span;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

/// From when to when, as beginnings of RFC 3339 times in UTC: `2026-11-25`, `2026-11-25T22:00`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Between {
    /// Records from this time on.
    pub since: Option<String>,
    /// Records before this time.
    pub until: Option<String>,
}

impl Between {
    fn takes(&self, time: &[u8]) -> bool {
        self.since
            .as_deref()
            .is_none_or(|since| time >= since.as_bytes())
            && self
                .until
                .as_deref()
                .is_none_or(|until| time < until.as_bytes())
    }

    /// True when nothing from `earliest` to `latest` is wanted.
    fn misses(&self, earliest: &str, latest: &str) -> bool {
        self.since.as_deref().is_some_and(|since| latest < since)
            || self.until.as_deref().is_some_and(|until| earliest >= until)
    }
}

/// Reads a log from its first record kept to its end, a line at a time. It takes no lock and judges
/// nothing: [`crate::verify`] does.
///
/// What is longer than a record can be comes in pieces, so that no file can fill the memory. The end of
/// a line that is still being written is left out.
#[derive(Debug)]
pub struct Records {
    waiting: std::vec::IntoIter<Segment>,
    current: Option<(Segment, BufReader<File>)>,
    between: Between,
    line: Vec<u8>,
    /// The line when it is no UTF-8.
    mended: String,
}

impl Records {
    /// Of the log in that folder, as many segments as it has now.
    ///
    /// # Errors
    /// [`AuditError::Io`] when the folder cannot be read.
    pub fn open(folder: &Path) -> Result<Self, AuditError> {
        Self::between(folder, Between::default())
    }

    /// Those of some time. A segment whose closing record says that it has none of it is not read; a
    /// line that has no time is shown.
    ///
    /// # Errors
    /// [`AuditError::Io`] when the folder cannot be read.
    pub fn between(folder: &Path, between: Between) -> Result<Self, AuditError> {
        let mut all = Segment::list(folder)?;
        if between != Between::default() {
            let closing = all.iter().skip(1).map(Rotation::told_in);
            let closing: Vec<Option<Rotation>> = closing.chain([None]).collect();
            let mut closing = closing.into_iter();
            all.retain(|segment| {
                let told = closing.next().flatten();
                !told.is_some_and(|told| told.misses(segment, &between))
            });
        }
        Ok(Self::of(all, between))
    }

    /// From a little before one record on: the segment it is in and those after.
    ///
    /// # Errors
    /// [`AuditError::Io`] when the folder cannot be read.
    pub fn from(folder: &Path, index: u64) -> Result<Self, AuditError> {
        let mut all = Segment::list(folder)?;
        let after = all.iter().position(|segment| segment.first > index);
        let here = after.unwrap_or(all.len()).saturating_sub(1);
        all.drain(..here.min(all.len()));
        Ok(Self::of(all, Between::default()))
    }

    fn of(segments: Vec<Segment>, between: Between) -> Self {
        Self {
            waiting: segments.into_iter(),
            current: None,
            between,
            line: Vec::new(),
            mended: String::new(),
        }
    }

    /// The next line, without its newline; `None` at the end.
    ///
    /// # Errors
    /// [`AuditError::Io`] when a segment cannot be read.
    pub fn read(&mut self) -> Result<Option<&str>, AuditError> {
        if !self.fill()? {
            return Ok(None);
        }
        // Asked twice, because the borrow of a `match` would last too long; it costs nothing beside parsing.
        if str::from_utf8(&self.line).is_err() {
            self.mended = String::from_utf8_lossy(&self.line).into_owned();
            return Ok(Some(&self.mended));
        }
        Ok(str::from_utf8(&self.line).ok())
    }

    /// Puts the next wanted line into `line`; false at the end.
    fn fill(&mut self) -> Result<bool, AuditError> {
        loop {
            if self.current.is_none() {
                let Some(segment) = self.waiting.next() else {
                    return Ok(false);
                };
                let file = match disk::open_read(&segment.path) {
                    Ok(file) => file,
                    // Pruned since the folder was read; the numbers show that it is missing.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(AuditError::io("open", &segment.path)(error)),
                };
                self.current = Some((segment, BufReader::with_capacity(1 << 17, file)));
            }
            let line = &mut self.line;
            while let Some((segment, file)) = &mut self.current {
                line.clear();
                let read = file.take(MAX_LINE as u64).read_until(b'\n', line);
                read.map_err(AuditError::io("read", &segment.path))?;
                if line.pop_if(|last| *last == b'\n').is_none() && line.len() < MAX_LINE {
                    self.current = None;
                    break;
                }
                if span::stamp(line).is_none_or(|time| self.between.takes(time)) {
                    return Ok(true);
                }
            }
        }
    }
}

/// The same with a text of its own for each line.
impl Iterator for Records {
    type Item = Result<String, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.read().map(|line| line.map(str::to_owned));
        line.transpose()
    }
}

/// What the record of a rotation, the first of the next segment, says of the one that was closed.
#[derive(serde::Deserialize)]
struct Rotation {
    event: String,
    closed: String,
    earliest: Option<String>,
    latest: Option<String>,
}

impl Rotation {
    /// `None` when the segment begins with anything else: then the one before is read.
    fn told_in(next: &Segment) -> Option<Self> {
        let file = File::open(&next.path).ok()?;
        let mut line = Vec::new();
        let mut start = BufReader::new(file.take(MAX_LINE as u64));
        start.read_until(b'\n', &mut line).ok()?;
        serde_json::from_slice(&line).ok()
    }

    fn misses(&self, segment: &Segment, between: &Between) -> bool {
        let (Some(earliest), Some(latest)) = (&self.earliest, &self.latest) else {
            return false;
        };
        let about = self.event == "audit.rotated" && self.closed == segment.name();
        about && between.misses(earliest, latest)
    }
}
