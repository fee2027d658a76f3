//! Segments: `audit-<first index>.jsonl`, and reading them line by line.

use crate::disk;
use crate::error::{AuditError, Fault};
use crate::line::{HexHash, MAX_LINE, NO_RECORD, Parts, Tip};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

mod find;

pub(crate) use find::{find, leaves, leaves_of};

/// A segment on disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Segment {
    /// Index of its first record.
    pub(crate) first: u64,
    pub(crate) path: PathBuf,
}

impl Segment {
    /// The segment of that first record in that folder, whether it is there or not.
    pub(crate) fn at(folder: &Path, first: u64) -> Self {
        Self {
            first,
            path: folder.join(format!("audit-{first:020}.jsonl")),
        }
    }

    /// Its file name.
    pub(crate) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The segments of a folder, oldest first.
    pub(crate) fn list(folder: &Path) -> Result<Vec<Self>, AuditError> {
        let read = || AuditError::io("read the folder", folder);
        let mut all = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(read())? {
            let name = entry.map_err(read())?.file_name();
            let first = name.to_str().and_then(first_of);
            all.extend(first.map(|first| Self::at(folder, first)));
        }
        all.sort();
        Ok(all)
    }

    /// True when it has no bytes.
    pub(crate) fn is_empty(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|meta| meta.len() == 0)
    }

    pub(crate) fn corrupt(&self, index: u64, fault: Fault) -> AuditError {
        AuditError::Corrupt {
            index,
            segment: self.path.clone(),
            fault,
        }
    }
}

/// `audit-<20 digits>.jsonl` and nothing like it.
fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// How reading a segment from some place on ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Bytes of whole records.
    pub(crate) good: u64,
    /// Bytes after them that a crash cut short.
    pub(crate) torn: u64,
}

/// Reads records from `from` to `to` and checks that they continue `tip`. `see` is shown each line.
pub(crate) fn follow(
    file: &File,
    segment: &Segment,
    (from, to): (u64, u64),
    tip: &mut Tip,
    mut see: impl FnMut(&[u8], &Tip),
) -> Result<Extent, AuditError> {
    let reading = || AuditError::io("read", &segment.path);
    let mut file = file;
    file.seek(SeekFrom::Start(from)).map_err(reading())?;
    let mut lines = BufReader::with_capacity(1 << 18, file.take(to.saturating_sub(from)));
    let mut good = from;
    let mut line = Vec::with_capacity(1024);
    loop {
        line.clear();
        // A little more than a line can have: what has no end by then is no record.
        let most = MAX_LINE as u64 + 1;
        let read = (&mut lines).take(most).read_until(b'\n', &mut line);
        if read.map_err(reading())? == 0 {
            return Ok(Extent { good, torn: 0 });
        }
        let whole = line.strip_suffix(b"\n");
        let accepted = whole
            .ok_or(Fault::NotARecord)
            .and_then(|whole| tip.accept(whole));
        match accepted {
            Ok(()) => {
                good += line.len() as u64;
                see(&line, tip);
            }
            Err(fault) => {
                let torn = is_torn(&line) && !any_record(&mut lines).map_err(reading())?;
                return if torn {
                    let torn = to.saturating_sub(good);
                    Ok(Extent { good, torn })
                } else {
                    Err(segment.corrupt(tip.next, fault))
                };
            }
        }
    }
}

/// Where the chain stands before a segment, as far as its first record tells.
pub(crate) fn start_tip(file: &File, segment: &Segment) -> Result<Tip, AuditError> {
    first_prev(file, segment).map(|prev| Tip {
        next: segment.first,
        prev,
    })
}

/// True for what a cut write leaves: no newline, or blocks that never reached the disk. A whole line
/// that is wrong was changed by someone.
fn is_torn(line: &[u8]) -> bool {
    !line.ends_with(b"\n") || line.contains(&0)
}

/// True when a whole record follows somewhere: then what stands before it is no torn end.
fn any_record(lines: &mut impl BufRead) -> io::Result<bool> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines
            .take(MAX_LINE as u64 + 1)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(false);
        }
        if line.strip_suffix(b"\n").and_then(Parts::of).is_some() {
            return Ok(true);
        }
    }
}

/// Where the chain stands after the last whole record of a segment; `None` when it has none.
/// `index` is the one that record should have.
pub(crate) fn last_tip(segment: &Segment, index: u64) -> Result<Option<Tip>, AuditError> {
    let Some(line) = last_line(segment)? else {
        return Ok(None);
    };
    let tip = Parts::of(&line)
        .ok_or(Fault::NotARecord)
        .and_then(|parts| parts.tip_after());
    tip.map(Some).map_err(|fault| segment.corrupt(index, fault))
}

/// The last whole line of a segment, without its newline; `None` when it has none.
pub(crate) fn last_line(segment: &Segment) -> Result<Option<Vec<u8>>, AuditError> {
    let reading = || AuditError::io("read", &segment.path);
    let mut file = disk::open_read(&segment.path).map_err(reading())?;
    let len = file.metadata().map_err(reading())?.len();
    // Nearly always a few hundred bytes do.
    for size in [4096, 2 * MAX_LINE as u64] {
        let start = len.saturating_sub(size);
        file.seek(SeekFrom::Start(start)).map_err(reading())?;
        let mut tail = Vec::new();
        (&mut file)
            .take(size)
            .read_to_end(&mut tail)
            .map_err(reading())?;
        let Some(end) = memchr::memrchr(b'\n', &tail) else {
            continue;
        };
        tail.truncate(end);
        match memchr::memrchr(b'\n', &tail) {
            Some(before) => return Ok(Some(tail.split_off(before + 1))),
            None if start == 0 => return Ok(Some(tail)),
            None => {}
        }
    }
    Ok(None)
}

/// What the first record of a segment says it follows. That is all there is to go by for the oldest
/// segment; a segment without a whole record follows nothing.
pub(crate) fn first_prev(mut file: &File, segment: &Segment) -> Result<HexHash, AuditError> {
    let reading = || AuditError::io("read", &segment.path);
    file.seek(SeekFrom::Start(0)).map_err(reading())?;
    let mut line = Vec::new();
    let mut start = BufReader::new(file.take(MAX_LINE as u64 + 1));
    start.read_until(b'\n', &mut line).map_err(reading())?;
    let mut prev = NO_RECORD;
    if let Some(parts) = line.strip_suffix(b"\n").and_then(Parts::of) {
        prev.copy_from_slice(parts.prev);
    }
    Ok(prev)
}
