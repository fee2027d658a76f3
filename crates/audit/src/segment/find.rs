//! One record among a hundred million bytes: by bisection, for the index rises with the place.

use super::{Segment, follow, start_tip};
use crate::disk;
use crate::error::{AuditError, Fault};
use crate::line::{MAX_LINE, Parts, Tip};
use crate::tree::Hash;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// Shows the leaf hash of each record of a segment whose index is in `wanted`, checked. The segment is read
/// from the first of them to the last only, where they can be found.
pub(crate) fn leaves(
    segment: &Segment,
    wanted: Range<u64>,
    mut see: impl FnMut(Hash),
) -> Result<(), AuditError> {
    let opening = || AuditError::io("open", &segment.path);
    let file = disk::open_read(&segment.path).map_err(opening())?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::{Entry, LineWriter};
    use crate::redact::Redactor;
    use clawdbot_domain::Event;
    use std::path::Path;

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
