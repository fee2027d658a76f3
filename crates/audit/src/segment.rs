//! Segments: `audit-<first index>.jsonl`, and reading them line by line.

use crate::error::{AuditError, Fault};
use crate::line::{HexHash, MAX_LINE, NO_RECORD, Parts, Tip};
use crate::tree::Hash;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

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

    /// How long ago it was written last; no time at all when nobody knows.
    pub(crate) fn age(&self) -> Duration {
        let written = std::fs::metadata(&self.path).and_then(|meta| meta.modified());
        written
            .ok()
            .and_then(|at| at.elapsed().ok())
            .unwrap_or_default()
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

/// Shows the leaf hash of each record of a segment whose index is in `wanted`, checked. The segment is read
/// from the first of them to the last only, where they can be found.
pub(crate) fn leaves(
    segment: &Segment,
    wanted: Range<u64>,
    mut see: impl FnMut(Hash),
) -> Result<(), AuditError> {
    let opening = || AuditError::io("open", &segment.path);
    let file = File::open(&segment.path).map_err(opening())?;
    let len = file.metadata().map_err(opening())?.len();
    let place = |after: Option<u64>| match after.filter(|index| *index >= segment.first) {
        Some(index) => find(&file, segment, len, index),
        None => Ok(None),
    };
    let end = match wanted.end {
        // All there are.
        u64::MAX => None,
        end => place(end.checked_sub(1))?,
    };
    let (start, mut tip) = match place(wanted.start.checked_sub(1))? {
        Some(found) => found,
        None => (0, start_tip(&file, segment)?),
    };
    let end = end.map_or(len, |(end, _)| end);
    let extent = follow(&file, segment, (start, end), &mut tip, |_, tip| {
        if wanted.contains(&tip.next.saturating_sub(1)) {
            see(tip.leaf());
        }
    })?;
    if extent.torn > 0 {
        return Err(segment.corrupt(tip.next, Fault::NotARecord));
    }
    Ok(())
}

/// The leaf hashes of those records, from however many of these segments; `None` when any of them is not
/// there as it was written.
pub(crate) fn leaves_of(segments: &[Segment], wanted: Range<u64>) -> Option<Vec<Hash>> {
    let mut found = Vec::new();
    let from = segments.iter().rposition(|one| one.first <= wanted.start)?;
    for segment in segments.get(from..)? {
        let next = wanted.start + found.len() as u64;
        if next == wanted.end || segment.first > next {
            break;
        }
        // What lies after them may be torn, and is not asked for here.
        let _ = leaves(segment, next..wanted.end, |leaf| found.push(leaf));
    }
    (found.len() as u64 == wanted.end - wanted.start).then_some(found)
}

/// Finds the record of that index by bisection, and checks its bytes. Returns where it ends, and where the
/// chain stands there; `None` when it is not found, or not as it was written.
pub(crate) fn find(
    file: &File,
    segment: &Segment,
    len: u64,
    index: u64,
) -> Result<Option<(u64, Tip)>, AuditError> {
    let reading = || AuditError::io("read", &segment.path);
    let (mut low, mut high) = (0, len);
    // A line starts at `low`, and the one that is looked for does not start after `high`.
    // Saturating: in a log that was changed the order may be any.
    while u64::saturating_sub(high, low) > NEAR {
        let middle = low + (high - low) / 2;
        match line_after(file, middle).map_err(reading())? {
            Some((_, end, found)) if found < index && end <= len => low = end,
            Some((start, end, found)) if found == index => (low, high) = (start, end.min(len)),
            // Further on, or no record starts after it at all.
            Some(_) | None => high = middle,
        }
    }
    let mut near = file;
    near.seek(SeekFrom::Start(low)).map_err(reading())?;
    let left = len.saturating_sub(low).min(NEAR + 2 * MAX_LINE as u64);
    let mut lines = BufReader::new(near.take(left));
    let (mut line, mut end) = (Vec::new(), low);
    loop {
        line.clear();
        lines.read_until(b'\n', &mut line).map_err(reading())?;
        end += line.len() as u64;
        let Some(parts) = line.strip_suffix(b"\n").and_then(Parts::of) else {
            return Ok(None);
        };
        if parts.index == index {
            return Ok(parts.tip_after().ok().map(|tip| (end, tip)));
        }
        if parts.index > index {
            return Ok(None);
        }
    }
}

/// Bisection ends when so little is left; the rest is read.
const NEAR: u64 = 64 * 1024;

/// The first whole line that starts after that place: its start, its end, and its index. `None` when there
/// is none, or it is no record, which reading what is left will show.
fn line_after(file: &File, place: u64) -> io::Result<Option<(u64, u64, u64)>> {
    for size in [8 * 1024, 2 * MAX_LINE] {
        let mut piece = vec![0; size];
        let mut filled = 0;
        while let Some(rest) = piece.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, place + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        piece.truncate(filled);
        let mut lines = memchr::memchr_iter(b'\n', &piece);
        if let (Some(before), Some(end)) = (lines.next(), lines.next()) {
            let line = piece.get(before + 1..end).and_then(Parts::of);
            let ends = place + end as u64 + 1;
            return Ok(line.map(|parts| (place + before as u64 + 1, ends, parts.index)));
        }
    }
    Ok(None)
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
    let reading = || AuditError::io("read", &segment.path);
    let mut file = File::open(&segment.path).map_err(reading())?;
    let len = file.metadata().map_err(reading())?.len();
    let start = len.saturating_sub(2 * MAX_LINE as u64);
    file.seek(SeekFrom::Start(start)).map_err(reading())?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).map_err(reading())?;
    let Some(end) = memchr::memrchr(b'\n', &tail) else {
        return Ok(None);
    };
    tail.truncate(end);
    let line = tail.rsplit(|b| *b == b'\n').next().unwrap_or_default();
    let tip = Parts::of(line)
        .ok_or(Fault::NotARecord)
        .and_then(|parts| parts.tip_after());
    tip.map(Some).map_err(|fault| segment.corrupt(index, fault))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::{Entry, LineWriter};
    use crate::redact::Redactor;
    use clawdbot_domain::Event;

    /// Records of all lengths, the longest among short ones; returns where each ends.
    fn written(path: &Path) -> Vec<u64> {
        let (mut tip, mut lines, mut bytes) = (Tip::START, LineWriter::new(), Vec::new());
        let mut ends = Vec::new();
        for at in 0..600_usize {
            let long = if at % 83 == 0 { 15_000 } else { at * 7 % 900 };
            let cause = "x".repeat(long);
            // Three long texts make a line that is nearly as long as one may be.
            let event = Event::ToolDenied {
                tool: cause.clone(),
                effect: None,
                rules: vec![cause.clone()],
                arguments_sha256: cause,
            };
            lines.write(
                &mut Entry::own(event),
                &mut tip,
                &Redactor::new(),
                &mut bytes,
            );
            ends.push(bytes.len() as u64);
        }
        std::fs::write(path, bytes).unwrap();
        ends
    }

    #[test]
    fn every_record_is_found_where_it_is_and_none_that_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let segment = Segment::at(dir.path(), 0);
        let ends = written(&segment.path);
        let file = File::open(&segment.path).unwrap();
        let len = *ends.last().unwrap();
        assert!(len > 8 * NEAR, "{len}");
        for (index, end) in (0..).zip(&ends) {
            let (found, tip) = find(&file, &segment, len, index).unwrap().unwrap();
            assert_eq!((found, tip.next), (*end, index + 1));
        }
        assert_eq!(find(&file, &segment, len, 600).unwrap(), None);
        // Half of the newest record: the others are found all the same.
        let torn = len - 20;
        for index in (0..599).step_by(13) {
            assert!(find(&file, &segment, torn, index).unwrap().is_some());
        }
        assert_eq!(find(&file, &segment, torn, 599).unwrap(), None);
        let some = leaves_of(std::slice::from_ref(&segment), 100..350).unwrap();
        let mut all = Vec::new();
        leaves(&segment, 0..u64::MAX, |leaf| all.push(leaf)).unwrap();
        assert_eq!(some, all[100..350]);
    }

    #[test]
    fn a_record_that_was_changed_is_not_found_and_junk_ends_the_search() {
        let dir = tempfile::tempdir().unwrap();
        let segment = Segment::at(dir.path(), 0);
        let ends = written(&segment.path);
        let good = std::fs::read(&segment.path).unwrap();
        let at = usize::try_from(ends[299]).unwrap();
        let mut bad = good.clone();
        bad[at + 30] ^= 1;
        for bytes in [
            bad,
            vec![b'x'; good.len()],
            vec![b'\n'; good.len()],
            vec![0; 5],
        ] {
            std::fs::write(&segment.path, &bytes).unwrap();
            let file = File::open(&segment.path).unwrap();
            let found = find(&file, &segment, bytes.len() as u64, 300).unwrap();
            assert_eq!(found, None);
        }
    }
}
