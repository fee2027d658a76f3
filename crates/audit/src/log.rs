//! The log on disk: appends batches, one write and one flush each, after whatever other processes
//! appended.
//!
//! Invariants: a segment holds whole records only, except for the very end of the newest one after
//! a crash. Its bytes are never changed; the one thing ever cut off is the end of a write that
//! failed or was torn, which nobody was told of.

use crate::disk;
use crate::error::{AuditError, Fault};
use crate::line::{Entry, LineWriter, MAX_LINE, Tip};
use crate::redact::Redactor;
use crate::seal::{Places, Seal};
use crate::segment::{self, Extent, Segment};
use crate::settings::AuditSettings;
use crate::torn;
use crate::tree::Hash;
use clawdbot_domain::Event;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Set aside for the record that says that the disk is full.
const RESERVE: &str = ".reserve";
/// So many bytes.
const RESERVED: u64 = 1 << 20;

/// How large segments grow and how many stay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) segment_bytes: u64,
    pub(crate) segments: u32,
    pub(crate) min_age: Duration,
}

impl Limits {
    pub(crate) fn of(settings: &AuditSettings) -> Self {
        Self {
            segment_bytes: settings.max_segment_bytes,
            segments: settings.max_segments,
            min_age: settings.min_age,
        }
    }
}

/// The newest segment, open.
struct Open {
    segment: Segment,
    file: File,
    /// Bytes of whole, durable records.
    len: u64,
}

/// The log of one folder, as this process knows it.
pub(crate) struct Log {
    folder: PathBuf,
    lock: File,
    tip: Tip,
    newest: Option<Open>,
    /// The newest segment's descriptor saw an error on flush. What the kernel did with its pages is
    /// unknown from then on, so it is never flushed again: the next record opens a new segment.
    sealed: bool,
    /// Length of the newest segment with the leftovers of a failed write that could not be cut off.
    leftovers: Option<u64>,
    /// Records of our own that go first into the next batch.
    own: Vec<Event>,
    /// Segments that go once the records that say so are durable.
    pruned: Vec<Segment>,
    lines: LineWriter,
    buffer: Vec<u8>,
    places: Places,
    /// Set from `open` on.
    seal: Option<Seal>,
    /// The reserve was spent to write that the disk is full.
    spent: bool,
}

impl Log {
    /// Opens the log of a folder, made if it is missing, and checks the newest segment. A line that a
    /// crash cut short is set aside.
    pub(crate) fn open(folder: &Path, places: &Places) -> Result<Self, AuditError> {
        disk::make_folder(folder)?;
        let path = folder.join(".lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&path).map_err(AuditError::io("open", &path))?;
        let mut log = Self {
            folder: folder.to_owned(),
            lock,
            tip: Tip::START,
            newest: None,
            sealed: false,
            leftovers: None,
            own: Vec::new(),
            pruned: Vec::new(),
            lines: LineWriter::new(),
            buffer: Vec::with_capacity(64 * 1024),
            places: places.clone(),
            seal: None,
            spent: false,
        };
        log.locked(Self::load)?;
        if let Err(error) = disk::reserve(&log.folder.join(RESERVE), RESERVED) {
            tracing::warn!(%error, "error: nothing is reserved for the record that the disk is full");
        }
        Ok(log)
    }

    /// The newest record; `None` while there is none.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.tip.next.checked_sub(1)
    }

    /// Appends a first part of `entries`, at least one, and returns how many: as many as fit in one
    /// segment. They are durable then and have their indices. On an error none of them stands.
    pub(crate) fn append(
        &mut self,
        entries: &mut [Entry],
        limits: Limits,
        redactor: &Redactor,
    ) -> Result<usize, AuditError> {
        self.locked(|log| {
            log.restore_reserve()?;
            log.cut_leftovers()?;
            log.catch_up()?;
            let taken = log.append_or_take_back(entries, limits, redactor);
            match &taken {
                Err(error) if error.is_full() => log.spend_reserve(error, limits, redactor),
                _ => {}
            }
            taken
        })
    }

    fn append_or_take_back(
        &mut self,
        entries: &mut [Entry],
        limits: Limits,
        redactor: &Redactor,
    ) -> Result<usize, AuditError> {
        let taken = self.append_locked(entries, limits, redactor);
        if taken.is_err() {
            self.take_back();
        }
        taken
    }

    /// The disk is full: what was set aside for it holds the record that says so.
    fn spend_reserve(&mut self, error: &AuditError, limits: Limits, redactor: &Redactor) {
        if self.spent {
            return;
        }
        if disk::remove(&self.folder.join(RESERVE)).is_err() {
            // There was none: the disk was too full for it from the start.
            return;
        }
        self.spent = true;
        let cause = error.to_string();
        self.own.push(Event::AuditFull { cause });
        if let Err(error) = self.append_or_take_back(&mut [], limits, redactor) {
            tracing::error!(%error, "security: not even the reserve could hold a record");
        }
    }

    /// Nothing is taken in before the reserve is back: its own megabyte is not space that came free.
    fn restore_reserve(&mut self) -> Result<(), AuditError> {
        if self.spent {
            disk::reserve(&self.folder.join(RESERVE), RESERVED)?;
            self.spent = false;
        }
        Ok(())
    }

    /// How long until a checkpoint is due; `None` while nothing is new.
    pub(crate) fn due_in(&self) -> Option<Duration> {
        self.seal.as_ref().and_then(Seal::due_in)
    }

    /// Signs what there is.
    pub(crate) fn publish(&mut self, last: bool) -> Result<(), AuditError> {
        self.locked(|log| {
            log.catch_up()?;
            log.publish_locked(last)
        })
    }

    fn publish_locked(&mut self, last: bool) -> Result<(), AuditError> {
        match &mut self.seal {
            Some(seal) => seal.publish(last),
            None => Ok(()),
        }
    }

    /// True when there is something to write that is known in memory only, such as a recovery.
    pub(crate) fn has_own_records(&self) -> bool {
        !self.own.is_empty()
    }

    /// Runs `work` while no other process appends.
    fn locked<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, AuditError>,
    ) -> Result<T, AuditError> {
        let path = self.folder.join(".lock");
        flock(&self.lock, FlockOperation::LockExclusive)
            .map_err(|error| AuditError::io("lock", &path)(error.into()))?;
        let result = work(self);
        // Closing the descriptor unlocks as well; there is nothing to do when this fails.
        let _ = flock(&self.lock, FlockOperation::Unlock);
        result
    }

    /// Learns from the disk where the log ends.
    fn load(&mut self) -> Result<(), AuditError> {
        (self.newest, self.tip, self.sealed) = (None, Tip::START, false);
        let segments = Segment::list(&self.folder)?;
        self.seal = Some(Seal::open(&self.folder, &self.places, &segments)?);
        let Some((newest, older)) = segments.split_last() else {
            return self.check_length();
        };
        let before = match older.last() {
            Some(older) => segment::last_tip(older, newest.first.saturating_sub(1))?,
            None => None,
        };
        let file = disk::open_append(&newest.path)?;
        self.tip = before.unwrap_or(Tip {
            next: newest.first,
            ..stated_tip(&file, newest)?
        });
        if self.tip.next != newest.first {
            let fault = Fault::OutOfOrder {
                found: newest.first,
            };
            return Err(newest.corrupt(self.tip.next, fault));
        }
        self.newest = Some(Open {
            segment: newest.clone(),
            file,
            len: 0,
        });
        self.read_on()?;
        self.check_length()
    }

    /// The log must be as long as its own checkpoint and the register say.
    fn check_length(&self) -> Result<(), AuditError> {
        let Some(seal) = &self.seal else {
            return Ok(());
        };
        if self.tip.next < seal.floor() {
            let newest = Segment::list(&self.folder)?.pop();
            let segment = newest.unwrap_or_else(|| Segment::at(&self.folder, 0));
            return Err(segment.corrupt(self.tip.next, Fault::Shrunk));
        }
        seal.check_register()
    }

    /// Takes in what other processes appended since. Cheap when nobody did: our segment has our
    /// length, and the next one would be named after our next record.
    fn catch_up(&mut self) -> Result<(), AuditError> {
        let Some(open) = &self.newest else {
            return self.lost_segment();
        };
        let meta = open
            .file
            .metadata()
            .map_err(AuditError::io("look at", &open.segment.path))?;
        if meta.nlink() == 0 {
            return self.lost_segment();
        }
        if meta.len() < open.len {
            return Err(open
                .segment
                .corrupt(self.tip.next.saturating_sub(1), Fault::Shrunk));
        }
        if meta.len() > open.len {
            self.read_on()?;
        }
        self.next_segments()
    }

    /// Goes over to segments that other processes opened.
    fn next_segments(&mut self) -> Result<(), AuditError> {
        loop {
            let next = Segment::at(&self.folder, self.tip.next);
            let current = self
                .newest
                .as_ref()
                .is_some_and(|open| open.segment == next);
            if current || !next.path.exists() {
                return Ok(());
            }
            let file = disk::open_append(&next.path)?;
            self.newest = Some(Open {
                segment: next,
                file,
                len: 0,
            });
            self.sealed = false;
            self.read_on()?;
        }
    }

    /// Our segment is no longer in the folder: pruned by another process, or somebody removed it.
    fn lost_segment(&mut self) -> Result<(), AuditError> {
        let tip = self.tip;
        self.load()?;
        if self.tip.next < tip.next {
            // Go on numbering where we were, so that the gap shows.
            (self.tip, self.newest) = (tip, None);
        }
        Ok(())
    }

    /// Reads the newest segment from where we know it to its end, and sets a torn end aside.
    fn read_on(&mut self) -> Result<(), AuditError> {
        let Some(open) = &mut self.newest else {
            return Ok(());
        };
        let path = &open.segment.path;
        let len = open
            .file
            .metadata()
            .map_err(AuditError::io("look at", path))?
            .len();
        let range = (open.len, len);
        let (mut tip, mut leaves) = (self.tip, Vec::new());
        let Extent { good, torn } =
            segment::follow(&open.file, &open.segment, range, &mut tip, |_, tip| {
                leaves.push(tip.leaf());
            })?;
        let floor = self.seal.as_ref().map_or(0, Seal::floor);
        if torn > 0 && tip.next < floor {
            // A checkpoint vouches for more than is there: no crash cuts that off.
            return Err(open.segment.corrupt(tip.next, Fault::Shrunk));
        }
        if let Some(seal) = &mut self.seal {
            for (index, leaf) in (self.tip.next..).zip(leaves) {
                let pushed = seal.push(index, leaf);
                pushed.map_err(|fault| open.segment.corrupt(index, fault))?;
            }
        }
        if torn > 0 {
            let kept_in = torn::set_aside(&self.folder, &open.segment, &open.file, good)?;
            self.own.push(Event::AuditRecovered {
                bytes: torn,
                kept_in,
            });
        }
        if good > open.len {
            // Another process wrote here meanwhile: what we had to say of a new segment is stale.
            self.own.retain(is_recovery);
            self.pruned.clear();
        }
        open.len = good;
        self.tip = tip;
        Ok(())
    }

    fn append_locked(
        &mut self,
        entries: &mut [Entry],
        limits: Limits,
        redactor: &Redactor,
    ) -> Result<usize, AuditError> {
        self.buffer.clear();
        let mut leaves = Vec::with_capacity(entries.len() + 4);
        let mut tip = self.tip;
        if !self.first_fits(entries, limits, redactor) {
            self.rotate(limits)?;
        }
        for event in self.own.clone() {
            self.lines
                .write(&mut Entry::own(event), &mut tip, redactor, &mut self.buffer);
            leaves.push(tip.leaf());
        }
        let taken = self.fill(entries, &mut tip, limits, redactor, &mut leaves);
        let Some(open) = &mut self.newest else {
            return Ok(0);
        };
        if let Err(error) = disk::append(&open.file, &open.segment.path, &self.buffer) {
            self.sealed = !error.is_full();
            return Err(error);
        }
        if let Err(error) = disk::sync(&open.file, &open.segment.path) {
            self.sealed = true;
            return Err(error);
        }
        open.len += self.buffer.len() as u64;
        if let Some(seal) = &mut self.seal {
            for (index, leaf) in (self.tip.next..).zip(leaves) {
                let pushed = seal.push(index, leaf);
                pushed.map_err(|fault| open.segment.corrupt(index, fault))?;
            }
        }
        self.tip = tip;
        self.own.clear();
        self.drop_pruned();
        Ok(taken)
    }

    /// True when what comes first fits in the newest segment, and that one may still be written.
    fn first_fits(&mut self, entries: &mut [Entry], limits: Limits, redactor: &Redactor) -> bool {
        let Some(open) = self.newest.as_ref().filter(|_| !self.sealed) else {
            return false;
        };
        let longest = (self.own.len() + 1) * MAX_LINE;
        if open.len + longest as u64 <= limits.segment_bytes {
            return true;
        }
        let mut tip = self.tip;
        let own = self.own.iter().cloned().map(Entry::own);
        let mut first: Vec<Entry> = own.collect();
        for entry in first.iter_mut().chain(entries.first_mut()) {
            self.lines
                .write(entry, &mut tip, redactor, &mut self.buffer);
        }
        let fits = open.len == 0 || open.len + self.buffer.len() as u64 <= limits.segment_bytes;
        self.buffer.clear();
        fits
    }

    /// Writes lines into the buffer until the segment is full.
    fn fill(
        &mut self,
        entries: &mut [Entry],
        tip: &mut Tip,
        limits: Limits,
        redactor: &Redactor,
        leaves: &mut Vec<Hash>,
    ) -> usize {
        let len = self.newest.as_ref().map_or(0, |open| open.len);
        let room = usize::try_from(limits.segment_bytes.saturating_sub(len)).unwrap_or(usize::MAX);
        let mut taken = 0;
        for entry in entries {
            let (before, here) = (*tip, self.buffer.len());
            self.lines.write(entry, tip, redactor, &mut self.buffer);
            if taken > 0 && self.buffer.len() > room {
                self.buffer.truncate(here);
                *tip = before;
                break;
            }
            leaves.push(tip.leaf());
            taken += 1;
        }
        taken
    }

    /// Opens the next segment. Segments that are too many now go once records in it say so.
    fn rotate(&mut self, limits: Limits) -> Result<(), AuditError> {
        let next = Segment::at(&self.folder, self.tip.next);
        let closed = self.newest.as_ref().map(|open| open.segment.clone());
        let file = disk::create(&next.path)?;
        disk::sync_folder(&self.folder)?;
        // Empty segments (after a failed first write) are no older segment of themselves.
        if let Some(closed) = closed.filter(|closed| *closed != next) {
            let (closed, opened) = (closed.name(), next.name());
            self.own.insert(0, Event::AuditRotated { closed, opened });
        }
        self.newest = Some(Open {
            segment: next,
            file,
            len: 0,
        });
        self.sealed = false;
        self.prune(limits)
    }

    fn prune(&mut self, limits: Limits) -> Result<(), AuditError> {
        let mut segments = Segment::list(&self.folder)?;
        let keep = usize::try_from(limits.segments.max(1)).unwrap_or(usize::MAX);
        let too_many = segments.len().saturating_sub(keep);
        let firsts: Vec<u64> = segments.iter().map(|s| s.first).skip(1).collect();
        segments.truncate(too_many);
        let young = |segment: &Segment| segment.age() < limits.min_age;
        if let Some(at) = segments.iter().position(young) {
            let kept = segments.len() - at;
            tracing::warn!(
                kept,
                "security: audit segments are too many but too young to be pruned"
            );
            segments.truncate(at);
        }
        for (segment, next_first) in segments.iter().zip(firsts) {
            self.own.push(Event::AuditPruned {
                segment: segment.name(),
                first: segment.first,
                last: next_first.saturating_sub(1),
            });
        }
        self.pruned = segments;
        Ok(())
    }

    /// A segment that cannot be removed is tried again at the next rotation.
    fn drop_pruned(&mut self) {
        let pruned = std::mem::take(&mut self.pruned);
        if pruned.is_empty() {
            return;
        }
        // Their hashes must outlive them, or no later record could be proven.
        let kept = self
            .publish_locked(true)
            .and_then(|()| disk::sync_all(&self.folder));
        if let Err(error) = kept {
            tracing::warn!(%error, "error: pruned audit segments stay until their hashes are durable");
            return;
        }
        let kept = Segment::list(&self.folder).unwrap_or_default();
        let first = kept.iter().find(|segment| !pruned.contains(segment));
        if let (Some(seal), Some(first)) = (&mut self.seal, first) {
            seal.pruned_to(first.first);
        }
        for segment in &pruned {
            if let Err(error) = disk::remove(&segment.path) {
                tracing::warn!(%error, "error: a pruned audit segment stays");
            }
        }
        if let Err(error) = disk::sync_folder(&self.folder) {
            tracing::warn!(%error, "error: the folder of the audit log was not flushed");
        }
    }

    /// After a failed append: nothing of it may stand, for its callers are told that it does not.
    fn take_back(&mut self) {
        let Some(open) = &self.newest else {
            return;
        };
        if let Err(error) = disk::take_back(&open.file, &open.segment.path, open.len) {
            tracing::error!(%error, "a failed write to the audit log is not taken back yet");
            self.leftovers = open.file.metadata().ok().map(|meta| meta.len());
        }
    }

    /// Takes back what could not be taken back before, unless another process wrote after it.
    fn cut_leftovers(&mut self) -> Result<(), AuditError> {
        let (Some(len), Some(open)) = (self.leftovers, &self.newest) else {
            return Ok(());
        };
        let path = &open.segment.path;
        let meta = open
            .file
            .metadata()
            .map_err(AuditError::io("look at", path))?;
        if meta.len() == len {
            disk::take_back(&open.file, path, open.len)?;
        }
        self.leftovers = None;
        Ok(())
    }
}

fn is_recovery(event: &Event) -> bool {
    matches!(event, Event::AuditRecovered { .. })
}

/// What the first record of a segment says it follows: all there is to go by for the oldest one.
fn stated_tip(file: &File, segment: &Segment) -> Result<Tip, AuditError> {
    segment::first_prev(file, segment).map(|prev| Tip {
        next: segment.first,
        prev,
    })
}

#[cfg(test)]
mod tests;
