//! Checks a whole log: every record's bytes against its hash, every record against the one before, all
//! of them against the roots that were signed, and every signature against the key of its epoch.
//!
//! The chain of hashes names the record that was changed, dropped, doubled or moved. The signed roots
//! show what was rewritten with all its hashes, and what was cut off. That a folder was put back as it
//! was yesterday shows only against something outside it: the register.

use crate::disk;
use crate::error::{AuditError, Fault};
use crate::line::{NO_RECORD, Tip};
use crate::note::VerifierKey;
use crate::segment::{self, Extent, Segment};
use crate::tiles;
use crate::tree::{Hash, Tile, Tree, WIDTH};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

mod statements;

use statements::Statements;

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
    /// Records that a checkpoint vouches for are not there.
    #[serde(rename = "rolledback")]
    RolledBack {
        /// Index of the first one that is missing.
        index: u64,
        /// How many records there were.
        known: u64,
        /// What knows of them.
        by: String,
    },
    /// A record was changed, dropped, doubled or moved, or a signature is wrong.
    Tampered {
        /// Index of the record that is wrong or missing.
        index: u64,
        /// File name of the segment where it stands or should stand.
        segment: String,
        /// What is wrong.
        why: String,
    },
}

/// What a log is verified against, besides itself.
#[derive(Debug, Clone, Default)]
pub struct Against {
    /// The public key of epoch 0, written down elsewhere. Without it the one in the folder is believed.
    pub key: Option<VerifierKey>,
    /// A register to compare with.
    pub register: Option<PathBuf>,
    /// The folder is a copy. One made while the log was written may have a newer checkpoint than
    /// records, which in a log in use is a sign that records were cut off.
    pub copy: bool,
}

/// A segment as it was when the verification began.
struct Held {
    pub(crate) segment: Segment,
    file: File,
    len: u64,
}

/// Verifies the log of a folder. It may be in use: what is appended meanwhile is not looked at. The
/// folder may be a copy, and read-only.
///
/// # Errors
/// [`AuditError::Io`] when it cannot be read.
pub fn verify(folder: &Path) -> Result<Verified, AuditError> {
    verify_against(folder, &Against::default(), &mut |_, _| ())
}

/// [`verify`] against a key and a register. `progress` is told how many bytes of how many were read.
///
/// # Errors
/// [`AuditError::Io`] when it cannot be read, [`AuditError::Unsigned`] when there are no keys.
pub fn verify_against(
    folder: &Path,
    against: &Against,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Verified, AuditError> {
    let (held, signed) = hold(folder, against)?;
    let mut seen = Seen::new(signed.sizes());
    let verdict = match seen.read(folder, &held, &signed, progress) {
        Ok(verdict) => signed.judge(&seen, verdict, &held, against),
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
fn hold(folder: &Path, against: &Against) -> Result<(Vec<Held>, Statements), AuditError> {
    // A copy of the log may have no lock file; then nobody writes it either.
    let lock = File::open(folder.join(".lock")).ok();
    if let Some(lock) = &lock {
        flock(lock, FlockOperation::LockShared)
            .map_err(|error| AuditError::io("lock", folder)(error.into()))?;
    }
    let hold = |segment: Segment| {
        let opening = || AuditError::io("open", &segment.path);
        let file = disk::open_read(&segment.path).map_err(opening())?;
        let len = file.metadata().map_err(opening())?.len();
        Ok(Held { segment, file, len })
    };
    let segments = Segment::list(folder)?.into_iter();
    let all = segments.map(hold).collect::<Result<Vec<Held>, _>>()?;
    let empty = all.iter().all(|one| one.len == 0);
    let statements = Statements::read(folder, against, empty)?;
    Ok((all, statements))
}

/// What was read so far.
struct Seen {
    tip: Tip,
    first: Option<u64>,
    records: u64,
    /// `first - 1` for every `first` that a record of pruning explains.
    pruned_to: Vec<u64>,
    /// Index of the first pruned record whose hash is not there.
    pub(crate) lost: Option<u64>,
    tree: Tree,
    /// Sizes whose root is wanted, largest first, and the roots of those reached.
    wanted: Vec<u64>,
    pub(crate) roots: BTreeMap<u64, Hash>,
}

impl Seen {
    fn new(mut wanted: Vec<u64>) -> Self {
        wanted.sort_unstable_by(|a, b| b.cmp(a));
        wanted.dedup();
        let mut seen = Self {
            tip: Tip::START,
            first: None,
            records: 0,
            pruned_to: Vec::new(),
            lost: None,
            tree: Tree::default(),
            wanted,
            roots: BTreeMap::new(),
        };
        seen.note_root();
        seen
    }

    fn note_root(&mut self) {
        while self.wanted.last() == Some(&self.tree.size()) {
            self.wanted.pop();
            self.roots.insert(self.tree.size(), self.tree.root());
        }
    }

    fn push(&mut self, leaf: Hash) {
        self.tree.push(leaf);
        // What was finished is known already; only the edge is wanted here.
        if self.tree.size().is_multiple_of(1 << 16) {
            self.tree.take_finished();
        }
        self.note_root();
    }

    /// Index of the record that would come next.
    pub(crate) fn next(&self) -> u64 {
        self.tip.next
    }

    /// The hashes of the records before the first one kept. Without them no root comes out.
    fn take_pruned(&mut self, folder: &Path, first: u64, signed: &Statements) {
        let size = signed.size().max(first);
        let upto = |end| tiles::leaves_before(folder, end, size);
        let Some(leaves) = upto(first) else {
            self.lost = Some(first_lost(first, upto));
            return;
        };
        for leaf in leaves {
            self.push(leaf);
        }
    }

    fn read(
        &mut self,
        folder: &Path,
        held: &[Held],
        signed: &Statements,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Verdict, AuditError> {
        let newest = held.len().saturating_sub(1);
        let total = held.iter().map(|one| one.len).sum();
        let mut done = 0;
        if let Some(oldest) = held.first() {
            self.take_pruned(folder, oldest.segment.first, signed);
        }
        for (at, one) in held.iter().enumerate() {
            if at == 0 {
                self.start(one)?;
            }
            if one.segment.first != self.tip.next {
                let found = one.segment.first;
                let fault = Fault::OutOfOrder { found };
                return Err(one.segment.corrupt(self.tip.next, fault));
            }
            let torn = self.read_segment(one, &mut |read| progress(done + read, total))?;
            done += one.len;
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

    fn read_segment(
        &mut self,
        one: &Held,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, AuditError> {
        let mut tip = self.tip;
        let before = tip.next;
        let (mut pruned_to, mut read_bytes) = (std::mem::take(&mut self.pruned_to), 0);
        let (mut last, mut prev) = (before, tip.prev);
        let read = segment::follow(
            &one.file,
            &one.segment,
            (0, one.len),
            &mut tip,
            |line, tip| {
                (last, prev) = (tip.next, tip.prev);
                self.push(tip.leaf());
                read_bytes += line.len() as u64;
                if last.is_multiple_of(4096) {
                    progress(read_bytes);
                }
                pruned_to.extend(pruned_last(line));
            },
        );
        self.pruned_to = pruned_to;
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

/// The first record of the first tile that is missing, or is too short for the `first` records before
/// those that were kept.
fn first_lost(first: u64, upto: impl Fn(u64) -> Option<Vec<Hash>>) -> u64 {
    let width = WIDTH as u64;
    let (mut there, mut missing) = (0, first.div_ceil(width));
    while missing - there > 1 {
        let middle = u64::midpoint(there, missing);
        match upto(middle * width) {
            Some(_) => there = middle,
            None => missing = middle,
        }
    }
    there * width
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

pub(crate) fn file_name(path: &Path) -> String {
    let name = PathBuf::from(path.file_name().unwrap_or_default());
    name.display().to_string()
}

/// Every tile of the tree over the first `size` records, from the records, and from the tiles of those
/// that were pruned.
pub(crate) fn tiles_of(folder: &Path, size: u64) -> Result<Vec<Tile>, AuditError> {
    let segments = Segment::list(folder)?;
    let first = segments.first().map_or(0, |segment| segment.first);
    let lost = || AuditError::key(&folder.join("tile"), "hashes of pruned records are missing");
    let mut leaves = tiles::leaves_before(folder, first, size).ok_or_else(lost)?;
    for segment in &segments {
        let opening = || AuditError::io("open", &segment.path);
        let file = disk::open_read(&segment.path).map_err(opening())?;
        let len = file.metadata().map_err(opening())?.len();
        let prev = segment::first_prev(&file, segment)?;
        let next = segment.first;
        let mut tip = Tip { next, prev };
        segment::follow(&file, segment, (0, len), &mut tip, |_, tip| {
            leaves.push(tip.leaf());
        })?;
    }
    let mut tree = Tree::default();
    leaves.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    for leaf in leaves {
        tree.push(leaf);
    }
    let mut all = tree.take_finished();
    all.extend(tree.edge());
    Ok(all)
}
