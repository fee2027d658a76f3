//! The newest lines of a log, and then whatever is appended.

use crate::error::AuditError;
use crate::segment::Segment;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// So much is read at once.
const PIECE: u64 = 1 << 16;

/// Reads on in a log, across segments. It takes no lock: it shows, it does not judge.
#[derive(Debug)]
pub struct Tail {
    folder: PathBuf,
    current: Option<(Segment, File)>,
    at: u64,
}

impl Tail {
    /// The last `count` lines of the log, oldest first, and a tail that continues after them.
    ///
    /// # Errors
    /// [`AuditError::Io`] when the folder or a segment cannot be read.
    pub fn open(folder: &Path, count: usize) -> Result<(Self, Vec<String>), AuditError> {
        let mut tail = Self {
            folder: folder.to_owned(),
            current: None,
            at: 0,
        };
        let mut lines: Vec<String> = Vec::new();
        for segment in Segment::list(folder)?.into_iter().rev() {
            let reading = || AuditError::io("read", &segment.path);
            let mut file = File::open(&segment.path).map_err(reading())?;
            let wanted = count - lines.len();
            let (mut older, end) = last_lines(&mut file, wanted).map_err(reading())?;
            if tail.current.is_none() {
                (tail.current, tail.at) = (Some((segment, file)), end);
            }
            older.append(&mut lines);
            lines = older;
            if lines.len() >= count {
                break;
            }
        }
        Ok((tail, lines))
    }

    /// What was appended since, as whole lines; empty when nothing was.
    ///
    /// # Errors
    /// [`AuditError::Io`] when a segment cannot be read.
    pub fn more(&mut self) -> Result<Vec<String>, AuditError> {
        let mut lines = self.read_on()?;
        while let Some(next) = self.newer()? {
            // It is there, so the current one is complete only now.
            lines.append(&mut self.read_on()?);
            let file = File::open(&next.path).map_err(AuditError::io("open", &next.path))?;
            (self.current, self.at) = (Some((next, file)), 0);
            lines.append(&mut self.read_on()?);
        }
        Ok(lines)
    }

    /// The segment after the current one, if there is one.
    fn newer(&self) -> Result<Option<Segment>, AuditError> {
        let here = self.current.as_ref().map(|(segment, _)| segment.first);
        let mut segments = Segment::list(&self.folder)?.into_iter();
        Ok(segments.find(|segment| Some(segment.first) > here))
    }

    fn read_on(&mut self) -> Result<Vec<String>, AuditError> {
        let Some((segment, file)) = &mut self.current else {
            return Ok(Vec::new());
        };
        let reading = || AuditError::io("read", &segment.path);
        file.seek(SeekFrom::Start(self.at)).map_err(reading())?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(reading())?;
        let end = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
        bytes.truncate(end);
        self.at += end as u64;
        Ok(split(&bytes))
    }
}

/// The last lines of a file, and where the last whole one ends.
fn last_lines(file: &mut File, count: usize) -> std::io::Result<(Vec<String>, u64)> {
    let len = file.metadata()?.len();
    let (mut start, mut bytes) = (len, Vec::new());
    // One newline more than lines: the one before the first line wanted.
    while start > 0 && memchr::memchr_iter(b'\n', &bytes).count() <= count {
        // Twice as much each time, so that reading all of a long file takes no longer than its length.
        let piece = PIECE.max(bytes.len() as u64).min(start);
        start -= piece;
        file.seek(SeekFrom::Start(start))?;
        let mut before = Vec::with_capacity(piece as usize + bytes.len());
        file.take(piece).read_to_end(&mut before)?;
        before.append(&mut bytes);
        bytes = before;
    }
    let whole = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
    bytes.truncate(whole);
    let mut lines = split(&bytes);
    lines.drain(..lines.len().saturating_sub(count));
    Ok((lines, start + whole as u64))
}

fn split(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(str::to_owned).collect()
}
