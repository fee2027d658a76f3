//! The log on disk: appends batches, one write and one flush each, after whatever other processes
//! appended.
//!
//! Invariants: a segment holds whole records only, except for the very end of the newest one after
//! a crash. Its bytes are never changed; the one thing ever cut off is the end of a write that
//! failed or was torn, which nobody was told of.

use crate::disk;
use crate::error::AuditError;
use crate::line::{Entry, LineWriter, Tip};
use crate::redact::Redactor;
use crate::seal::{Places, Seal};
use crate::segment::Segment;
use crate::settings::AuditSettings;
use crate::span::Span;
use clawdbot_domain::Event;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod follow;
mod rotate;
mod write;

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
    /// When those were that this process wrote or read.
    span: Span,
    /// Bytes at its start that it did not read, because they are signed.
    unread: u64,
}

impl Open {
    /// A segment whose first bytes, so many, are known to be whole records.
    fn from(segment: Segment, file: File, len: u64) -> Self {
        Self {
            segment,
            file,
            len,
            span: Span::Empty,
            unread: len,
        }
    }
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

    /// True when the register is to be brought up to the checkpoint before anything else is done.
    pub(crate) fn register_is_behind(&self) -> bool {
        self.seal.as_ref().is_some_and(Seal::register_is_behind)
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
}

#[cfg(test)]
impl Log {
    pub(crate) fn seal(&self) -> &Seal {
        self.seal.as_ref().expect("an open log has one")
    }

    /// Lets the next checkpoint be that of a second.
    fn let_a_second_pass(&mut self) {
        if let Some(seal) = &mut self.seal {
            seal.let_a_second_pass();
        }
    }
}

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;
