//! Checks a whole log: every record's bytes against its hash, every record against the one before.
//!
//! A hash chain shows what was changed, dropped, doubled or moved, but not that the newest records
//! were cut off: for that something outside the folder must know how long the log was.

use crate::error::{AuditError, Fault};
use crate::line::{NO_RECORD, Tip};
use crate::segment::{self, Extent, Segment};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use std::fs::File;
use std::path::{Path, PathBuf};

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Segments read.
    pub segments: u64,
    /// Intact records.
    pub records: u64,
    /// Index of the first record kept; those before it were pruned.
    pub first: Option<u64>,
    /// Index of the last intact record.
    pub last: Option<u64>,
    /// Hash of the last intact record: written down elsewhere, it shows later that nothing before it
    /// changed.
    pub head: Option<String>,
    /// The judgement.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// The judgement over a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// Every record is as it was written.
    Intact,
    /// A crash cut the last write short; nobody was told that it succeeded. The next start sets it
    /// aside.
    Torn {
        /// File name of the segment.
        segment: String,
        /// How many bytes.
        bytes: u64,
    },
    /// A record was changed, dropped, doubled or moved.
    Tampered {
        /// Index of the record that is wrong or missing.
        index: u64,
        /// File name of the segment where it stands or should stand.
        segment: String,
        /// What is wrong.
        why: String,
    },
}

/// A segment as it was when the verification began.
struct Held {
    segment: Segment,
    file: File,
    len: u64,
}

/// Verifies the log of a folder. It may be in use: what is appended meanwhile is not looked at. The
/// folder may be a copy, and read-only.
///
/// # Errors
/// [`AuditError::Io`] when it cannot be read.
pub fn verify(folder: &Path) -> Result<Verified, AuditError> {
    let held = hold(folder)?;
    let mut seen = Seen::default();
    let verdict = match seen.read(&held) {
        Ok(verdict) => verdict,
        Err(AuditError::Corrupt {
            index,
            segment,
            fault,
        }) => Verdict::Tampered {
            index,
            segment: file_name(&segment),
            why: fault.to_string(),
        },
        Err(error) => return Err(error),
    };
    let newest_hash = String::from_utf8_lossy(&seen.tip.prev).into_owned();
    Ok(Verified {
        segments: held.len() as u64,
        records: seen.records,
        first: seen.first,
        last: seen.first.and(seen.tip.next.checked_sub(1)),
        head: seen.first.map(|_| newest_hash),
        verdict,
    })
}

/// Opens all segments at one moment, so that pruning and writing meanwhile change nothing.
fn hold(folder: &Path) -> Result<Vec<Held>, AuditError> {
    // A copy of the log may have no lock file; then nobody writes it either.
    let lock = File::open(folder.join(".lock")).ok();
    if let Some(lock) = &lock {
        flock(lock, FlockOperation::LockShared)
            .map_err(|error| AuditError::io("lock", folder)(error.into()))?;
    }
    let hold = |segment: Segment| {
        let opening = || AuditError::io("open", &segment.path);
        let file = File::open(&segment.path).map_err(opening())?;
        let len = file.metadata().map_err(opening())?.len();
        Ok(Held { segment, file, len })
    };
    Segment::list(folder)?.into_iter().map(hold).collect()
}

/// What was read so far.
struct Seen {
    tip: Tip,
    first: Option<u64>,
    records: u64,
    /// `first - 1` for every `first` that a record of pruning explains.
    pruned_to: Vec<u64>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            tip: Tip::START,
            first: None,
            records: 0,
            pruned_to: Vec::new(),
        }
    }
}

impl Seen {
    fn read(&mut self, held: &[Held]) -> Result<Verdict, AuditError> {
        let newest = held.len().saturating_sub(1);
        for (at, one) in held.iter().enumerate() {
            if at == 0 {
                self.start(one)?;
            }
            if one.segment.first != self.tip.next {
                let found = one.segment.first;
                let fault = Fault::OutOfOrder { found };
                return Err(one.segment.corrupt(self.tip.next, fault));
            }
            let torn = self.read_segment(one)?;
            if torn > 0 && at < newest {
                // A start sets a torn end aside before it goes on: an older segment has none.
                return Err(one.segment.corrupt(self.tip.next, Fault::NotARecord));
            }
            if torn > 0 {
                self.check_start(held)?;
                return Ok(Verdict::Torn {
                    segment: one.segment.name(),
                    bytes: torn,
                });
            }
        }
        self.check_start(held)?;
        Ok(Verdict::Intact)
    }

    /// The first record kept follows one that is gone: what it says of it must be believed.
    fn start(&mut self, oldest: &Held) -> Result<(), AuditError> {
        let first = oldest.segment.first;
        let prev = if first == 0 {
            NO_RECORD
        } else {
            segment::first_prev(&oldest.file, &oldest.segment)?
        };
        self.tip = Tip { next: first, prev };
        Ok(())
    }

    fn read_segment(&mut self, one: &Held) -> Result<u64, AuditError> {
        let mut tip = self.tip;
        let before = tip.next;
        let pruned_to = &mut self.pruned_to;
        let (mut last, mut prev) = (before, tip.prev);
        let read = segment::follow(
            &one.file,
            &one.segment,
            (0, one.len),
            &mut tip,
            |line, tip| {
                (last, prev) = (tip.next, tip.prev);
                pruned_to.extend(pruned_last(line));
            },
        );
        self.tip = Tip { next: last, prev };
        self.records += last - before;
        if last > before {
            self.first.get_or_insert(before);
        }
        read.map(|Extent { torn, .. }| torn)
    }

    /// Records before the first one kept must have been pruned, and a record must say so.
    fn check_start(&self, held: &[Held]) -> Result<(), AuditError> {
        let Some(oldest) = held.first() else {
            return Ok(());
        };
        let first = oldest.segment.first;
        match first.checked_sub(1) {
            Some(last) if !self.pruned_to.contains(&last) => {
                Err(oldest.segment.corrupt(last, Fault::Missing { first }))
            }
            _ => Ok(()),
        }
    }
}

/// The last index a record of pruning names.
fn pruned_last(line: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Pruned {
        event: String,
        last: u64,
    }
    // Only our own records have the event there; the search spares parsing all the others.
    memchr::memmem::find(line, b"\"event\":\"audit.pruned\"")?;
    let pruned: Pruned = serde_json::from_slice(line).ok()?;
    (pruned.event == "audit.pruned").then_some(pruned.last)
}

fn file_name(path: &Path) -> String {
    let name = PathBuf::from(path.file_name().unwrap_or_default());
    name.display().to_string()
}
