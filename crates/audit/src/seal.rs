//! What makes the log provable: the tree over its records, and the signed checkpoints.
//!
//! All of it is derived from records that are durable already, so nothing here waits for the disk with
//! a batch. A checkpoint is made each second with traffic and every thousand records.

use crate::disk;
use crate::error::{AuditError, Fault};
use crate::keys::{self, EPOCHS, Epochs, Signer};
use crate::note::Signed;
use crate::register::Register;
use crate::segment::{self, Segment};
use crate::tiles;
use crate::tree::{Hash, Tile, Tree, WIDTH};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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
    epoch_began: Option<Instant>,
    anchored: Option<Instant>,
}

impl Seal {
    /// The seal of a log, up to before its newest segment. A log without records gets its keys.
    pub(crate) fn open(
        folder: &Path,
        places: &Places,
        segments: &[Segment],
    ) -> Result<Self, AuditError> {
        let (signer, epochs) = signing(folder, places, segments)?;
        let register = places.register.as_deref().map(Register::open).transpose()?;
        let checkpoint = checkpoint_of(folder, &epochs)?;
        let mut seal = Self {
            folder: folder.to_owned(),
            tree: Tree::default(),
            signer,
            epochs,
            register,
            expected: None,
            published: 0,
            durable: 0,
            first: segments.first().map_or(0, |segment| segment.first),
            at: Instant::now(),
            epoch_began: None,
            anchored: None,
        };
        let known = checkpoint.map(|signed| (signed.checkpoint.size, signed.checkpoint.root));
        seal.load(known, segments)?;
        (seal.published, seal.durable) = known.map_or((0, 0), |(size, _)| (size, size));
        Ok(seal)
    }

    /// Records that must be there: a checkpoint vouches for them.
    pub(crate) fn floor(&self) -> u64 {
        self.durable
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

    /// The tree of everything before the newest segment; from the tiles where they agree with the
    /// checkpoint, else from the records.
    fn load(&mut self, known: Option<(u64, Hash)>, segments: &[Segment]) -> Result<(), AuditError> {
        let quick = known.and_then(|(size, root)| {
            let tree = tiles::load(&self.folder, size)?;
            (tree.root() == root).then_some(tree)
        });
        if let Some(tree) = quick {
            self.tree = tree;
        } else {
            self.expected = known.filter(|(size, _)| *size > 0);
            let first = segments.first().map_or(0, |segment| segment.first);
            let size = known.map_or(first, |(size, _)| size);
            let pruned = tiles::leaves_before(&self.folder, first, size.max(first));
            let path = self.folder.join("tile");
            let missing = || AuditError::key(&path, "hashes of pruned records are missing");
            for (index, leaf) in (0..).zip(pruned.ok_or_else(missing)?) {
                self.push(index, leaf).map_err(|_| missing())?;
            }
        }
        for pair in segments.windows(2) {
            if let [older, newer] = pair
                && newer.first > self.tree.size()
            {
                self.read_older(older)?;
            }
        }
        Ok(())
    }

    fn read_older(&mut self, segment: &Segment) -> Result<(), AuditError> {
        let opening = || AuditError::io("open", &segment.path);
        let file = File::open(&segment.path).map_err(opening())?;
        let len = file.metadata().map_err(opening())?.len();
        let mut leaves = Vec::new();
        segment::leaves(&file, segment, len, |leaf| leaves.push(leaf))?;
        for (index, leaf) in (segment.first..).zip(leaves) {
            self.push(index, leaf)
                .map_err(|fault| segment.corrupt(index, fault))?;
        }
        Ok(())
    }

    /// Refuses a log that is older than what the register knows.
    pub(crate) fn check_register(&self) -> Result<(), AuditError> {
        let Some(register) = &self.register else {
            return Ok(());
        };
        match register.read()? {
            Some(held) => self.epochs_allow(&held, register),
            None => Ok(()),
        }
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
        if self.tree.size() - self.published >= EVERY_RECORDS {
            return Some(Duration::ZERO);
        }
        Some(EVERY.saturating_sub(self.at.elapsed()))
    }

    /// Signs and publishes what there is, under the lock of the log. `last` is the one before closing
    /// or pruning, which is always durable.
    pub(crate) fn publish(&mut self, last: bool) -> Result<(), AuditError> {
        let durable = last || self.at.elapsed() >= EVERY;
        self.write_tiles()?;
        self.take_over()?;
        if self
            .epoch_began
            .is_none_or(|began| began.elapsed() >= EPOCH)
        {
            self.begin_epoch()?;
        }
        let size = self.tree.size();
        if size == 0 {
            return Ok(());
        }
        let signed = self.signer.sign(size, self.tree.root());
        let path = self.folder.join(CHECKPOINT);
        disk::replace(&path, signed.text.as_bytes(), durable)?;
        self.published = size;
        // Only now: until then the older ones belonged to the checkpoint that stood.
        for tile in self.tree.edge() {
            self.drop_partial(&tile, tile.hashes.len());
        }
        if durable {
            if let Some(register) = &self.register {
                register.advance(&signed)?;
            }
            (self.durable, self.at) = (size, Instant::now());
            self.anchor(&signed);
        }
        Ok(())
    }

    fn write_tiles(&mut self) -> Result<(), AuditError> {
        let finished = self.tree.take_finished();
        for (at, tile) in finished.iter().enumerate() {
            if let Err(error) = tiles::write(&self.folder, tile) {
                self.tree
                    .give_back(finished.get(at..).unwrap_or_default().to_vec());
                return Err(error);
            }
        }
        for tile in &finished {
            self.drop_partial(tile, 0);
        }
        for tile in self.tree.edge() {
            tiles::write(&self.folder, &tile)?;
        }
        Ok(())
    }

    /// Drops older versions of a tile. Those of the tile that holds the first record kept stay: they are
    /// all there is of the pruned records before it until newer ones are known to be durable.
    fn drop_partial(&self, tile: &Tile, keep: usize) {
        let pinned = self.first > 0 && tile.level == 0 && tile.number == self.first / WIDTH as u64;
        if !pinned {
            tiles::drop_partial(&self.folder, tile.level, tile.number, keep);
        }
    }

    /// Records before this one were pruned, and all tiles are durable.
    pub(crate) fn pruned_to(&mut self, first: u64) {
        self.first = first;
    }

    /// Takes over the epoch another process began.
    fn take_over(&mut self) -> Result<(), AuditError> {
        let path = self.folder.join(EPOCHS);
        let len = std::fs::metadata(&path).map_err(AuditError::io("look at", &path))?;
        if len.len() != self.epochs.good {
            self.epochs = read_epochs(&self.folder)?;
        }
        match self.epochs.all.last() {
            Some(last) => self.signer.catch_up(last.number),
            None => Ok(()),
        }
    }

    /// Begins an epoch, if the last one has anything that it alone signed.
    fn begin_epoch(&mut self) -> Result<(), AuditError> {
        let size = self.tree.size();
        if self.epochs.all.last().is_none_or(|last| last.size < size) {
            let next = self.signer.next()?;
            let epoch = next.begin(&self.signer, size, self.tree.root())?;
            self.epochs.good = keys::append(&self.folder, self.epochs.good, &epoch)?;
            self.signer.catch_up(epoch.number)?;
            self.epochs.all.push(epoch);
        }
        self.epoch_began = Some(Instant::now());
        Ok(())
    }

    fn anchor(&mut self, signed: &Signed) {
        if self.anchored.is_some_and(|at| at.elapsed() < ANCHOR) {
            return;
        }
        self.anchored = Some(Instant::now());
        let checkpoint = signed.text.trim_end().replace('\n', "|");
        tracing::info!(%checkpoint, "security: checkpoint of the audit log");
    }
}

/// Who signs, and the public keys so far. Both are made for a log without records.
fn signing(
    folder: &Path,
    places: &Places,
    segments: &[Segment],
) -> Result<(Signer, Epochs), AuditError> {
    let epochs = read_epochs(folder)?;
    if let Some(last) = epochs.all.last() {
        let mut signer = Signer::load(&places.key)?;
        if signer.epoch <= last.number {
            signer.catch_up(last.number)?;
        }
        return if signer.key() == last.key {
            Ok((signer, epochs))
        } else {
            Err(AuditError::key(&places.key, "it is the key of another log"))
        };
    }
    let empty = |segment: &Segment| std::fs::metadata(&segment.path).is_ok_and(|m| m.len() == 0);
    if !segments.iter().all(empty) {
        return Err(AuditError::Unsigned {
            folder: folder.to_owned(),
        });
    }
    let signer = Signer::create(&places.key)?;
    let first = signer.begin(&signer, 0, Tree::default().root())?;
    let good = keys::append(folder, 0, &first)?;
    let all = vec![first];
    let torn = 0;
    Ok((signer, Epochs { all, good, torn }))
}

pub(crate) fn read_epochs(folder: &Path) -> Result<Epochs, AuditError> {
    let path = folder.join(EPOCHS);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(AuditError::io("read", &path)(error)),
    };
    Epochs::parse(&text).map_err(|epoch| AuditError::Epoch { path, epoch })
}

/// The checkpoint in the folder; `None` when there is none, or only what a power cut leaves of one.
fn checkpoint_of(folder: &Path, epochs: &Epochs) -> Result<Option<Signed>, AuditError> {
    let path = folder.join(CHECKPOINT);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) if bytes.iter().all(|byte| *byte == 0) => return Ok(None),
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(AuditError::io("read", &path)(error)),
    };
    let signed = std::str::from_utf8(&bytes).ok().and_then(Signed::parse);
    match signed.filter(|signed| epochs.vouch(signed)) {
        Some(signed) => Ok(Some(signed)),
        None => Err(AuditError::key(
            &path,
            "it is not signed by the key of its epoch",
        )),
    }
}

#[cfg(test)]
mod tests;
