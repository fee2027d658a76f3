//! What makes the log provable: the tree over its records, and the signed checkpoints.
//!
//! All of it is derived from records that are durable already, so nothing here waits for the disk with
//! a batch. A checkpoint is made each second with traffic and every thousand records.

use crate::error::{AuditError, Fault};
use crate::keys::{Epochs, Signer};
use crate::note::Signed;
use crate::register::Register;
use crate::tiles;
use crate::tree::{Hash, Tree, WIDTH, root_of};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

mod open;
mod publish;

pub(crate) use open::read_epochs;

/// The newest checkpoint, in the folder of the log.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// At most so much traffic goes without a checkpoint.
pub(crate) const EVERY: Duration = Duration::from_secs(1);
/// At most so many records do.
const EVERY_RECORDS: u64 = 1_000;
/// So long one key signs, while there is traffic.
const EPOCH: Duration = Duration::from_secs(60 * 60);
/// So often the checkpoint goes to the operational log, which the gateway's own user cannot take back
/// once the system has it.
const ANCHOR: Duration = Duration::from_secs(60);

/// Where things are that must not lie with the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The key that signs. It is made when a new log is begun, and lost with it.
    pub key: PathBuf,
    /// `gateway.audit.register`: a file that must be there.
    pub register: Option<PathBuf>,
}

impl Places {
    /// The key in a hidden folder of the log itself: fine for a log that nobody copies.
    pub fn within(folder: &Path) -> Self {
        Self {
            key: folder.join(".key/audit.key"),
            register: None,
        }
    }
}

/// The tree and who signs it.
pub(crate) struct Seal {
    folder: PathBuf,
    tree: Tree,
    signer: Signer,
    epochs: Epochs,
    register: Option<Register>,
    /// The checkpoint that was there at the start: the records must lead to it.
    expected: Option<(u64, Hash)>,
    published: u64,
    durable: u64,
    /// Index of the first record kept.
    first: u64,
    at: Instant,
    /// Since when this process knows the epoch that runs: its file tells the age by the wall clock, which
    /// may be set back.
    epoch_seen: Instant,
    /// The register holds less than the checkpoint that stood at the start.
    register_behind: bool,
    anchored: Option<Instant>,
}

impl Seal {
    /// Records that must be there: a checkpoint vouches for them.
    pub(crate) fn floor(&self) -> u64 {
        // An epoch begins with records that are durable, whatever became of the checkpoint.
        let begun = self.epochs.all.last().map_or(0, |last| last.size);
        self.durable.max(begun)
    }

    /// How many records the tree covers.
    pub(crate) fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The leaf hash of the last record in the tree, as far as it is vouched for by the root; `None` when
    /// the tile that has it is missing or wrong.
    pub(crate) fn last_leaf(&self) -> Option<Hash> {
        let size = self.tree.size();
        if let Some(leaf) = self.tree.last_leaf() {
            return Some(leaf);
        }
        let number = (size / WIDTH as u64).checked_sub(1)?;
        let tile = tiles::read(&self.folder, 0, number, WIDTH)?;
        let vouched = self.tree.last_of(1)? == root_of(&tile);
        tile.last().copied().filter(|_| vouched)
    }

    /// Adds the record of that index, unless the tree has it.
    pub(crate) fn push(&mut self, index: u64, leaf: Hash) -> Result<(), Fault> {
        if index < self.tree.size() {
            return Ok(());
        }
        self.tree.push(leaf);
        match self.expected {
            Some((size, root)) if size == self.tree.size() => {
                self.expected = None;
                if root == self.tree.root() {
                    Ok(())
                } else {
                    Err(Fault::Unsigned)
                }
            }
            _ => Ok(()),
        }
    }

    /// Refuses a log that is older than what the register knows.
    pub(crate) fn check_register(&mut self) -> Result<(), AuditError> {
        let Some(register) = &self.register else {
            return Ok(());
        };
        let held = register.read()?;
        if let Some(held) = &held {
            self.epochs_allow(held, register)?;
        }
        let known = held.map_or(0, |held| held.checkpoint.size);
        self.register_behind = known < self.durable;
        Ok(())
    }

    /// True when the register is to be brought up to a checkpoint that was there at the start: it is new,
    /// or the process before died between the two.
    pub(crate) fn register_is_behind(&self) -> bool {
        self.register_behind
    }

    fn epochs_allow(&self, held: &Signed, register: &Register) -> Result<(), AuditError> {
        let (records, known) = (self.tree.size(), held.checkpoint.size);
        let ours = held.checkpoint.origin == self.signer.key().name();
        if ours && known <= records {
            return Ok(());
        }
        Err(AuditError::RolledBack {
            records,
            known,
            register: register.path().to_owned(),
        })
    }

    /// How long until a checkpoint is due; `None` while nothing is new.
    pub(crate) fn due_in(&self) -> Option<Duration> {
        if self.tree.size() == self.durable {
            return None;
        }
        // Records without any checkpoint look as if somebody took it away.
        if self.published == 0 || self.tree.size() - self.published >= EVERY_RECORDS {
            return Some(Duration::ZERO);
        }
        Some(EVERY.saturating_sub(self.at.elapsed()))
    }
}

#[cfg(test)]
impl Seal {
    pub(crate) fn let_a_second_pass(&mut self) {
        self.at = self.at.checked_sub(EVERY).unwrap_or(self.at);
    }
}

#[cfg(test)]
mod tests;
