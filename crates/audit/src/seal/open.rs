//! The seal of a log as it was left: its keys, its newest checkpoint, and the tree below it.

use super::{CHECKPOINT, Places, Seal};
use crate::error::AuditError;
use crate::keys::{self, EPOCHS, Epochs, Signer};
use crate::note::Signed;
use crate::register::Register;
use crate::segment::{self, Segment};
use crate::tiles;
use crate::tree::{Hash, Tree};
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Instant;

/// So much of the end of the public keys is read to go on: some five epochs.
const NEWEST: u64 = 2048;

impl Seal {
    /// The seal of a log, up to before its newest segment. A log without records gets its keys.
    pub(crate) fn open(
        folder: &Path,
        places: &Places,
        segments: &[Segment],
    ) -> Result<Self, AuditError> {
        let (signer, epochs) = signing(folder, places, segments)?;
        let register = places.register.as_deref().map(Register::open).transpose()?;
        let checkpoint = match checkpoint_of(folder, &epochs) {
            // It may be older than the last few keys.
            Err(_) => checkpoint_of(folder, &read_epochs(folder)?)?,
            Ok(found) => found,
        };
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
            epoch_seen: Instant::now(),
            register_behind: false,
            anchored: None,
        };
        let known = checkpoint.map(|signed| (signed.checkpoint.size, signed.checkpoint.root));
        seal.load(known, segments)?;
        (seal.published, seal.durable) = known.map_or((0, 0), |(size, _)| (size, size));
        Ok(seal)
    }

    /// The tree of everything before the newest segment, or up to the checkpoint if that is further on.
    ///
    /// Three ways, the cheapest that gives the root that was signed: the unfinished tiles that were written
    /// with the checkpoint; the finished ones before it and the records after those; all records.
    fn load(&mut self, known: Option<(u64, Hash)>, segments: &[Segment]) -> Result<(), AuditError> {
        let signed = |tree: &Tree| known.is_some_and(|(_, root)| tree.root() == root);
        let quick = known.and_then(|(size, _)| tiles::load(&self.folder, size));
        let quick = quick.filter(signed).or_else(|| {
            let tree = self.after_finished(known?.0, segments);
            tree.filter(signed)
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

    /// The tree of that size from the finished tiles on disk and the records after them; `None` when any of
    /// it is missing or not as it was written, which the long way will name.
    fn after_finished(&self, size: u64, segments: &[Segment]) -> Option<Tree> {
        let mut tree = tiles::load_finished(&self.folder, size)?;
        for leaf in segment::leaves_of(segments, tree.size()..size)? {
            tree.push(leaf);
        }
        Some(tree)
    }

    fn read_older(&mut self, segment: &Segment) -> Result<(), AuditError> {
        let from = self.tree.size().max(segment.first);
        let mut leaves = Vec::new();
        segment::leaves(segment, from..u64::MAX, |leaf| leaves.push(leaf))?;
        for (index, leaf) in (from..).zip(leaves) {
            self.push(index, leaf)
                .map_err(|fault| segment.corrupt(index, fault))?;
        }
        Ok(())
    }
}

/// Who signs, and the public keys so far. Both are made for a log without records.
fn signing(
    folder: &Path,
    places: &Places,
    segments: &[Segment],
) -> Result<(Signer, Epochs), AuditError> {
    let mut epochs = newest_epochs(folder)?;
    if let Some(last) = epochs.all.last() {
        let mut signer = Signer::load(&places.key)?;
        if signer.epoch < last.number {
            keys::settle(folder)?;
            signer.catch_up(last.number)?;
        }
        return if signer.key() == last.key {
            keys::cut_torn(folder, &mut epochs)?;
            Ok((signer, epochs))
        } else if signer.key().name() == last.key.name() && signer.epoch > last.number {
            let (known, epoch) = (last.number, signer.epoch);
            let folder = folder.to_owned();
            Err(AuditError::Older {
                folder,
                known,
                epoch,
            })
        } else {
            Err(AuditError::key(&places.key, "it is the key of another log"))
        };
    }
    if !segments.iter().all(Segment::is_empty) {
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

/// All epochs, each checked.
pub(crate) fn read_epochs(folder: &Path) -> Result<Epochs, AuditError> {
    let path = folder.join(EPOCHS);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(AuditError::io("read", &path)(error)),
    };
    Epochs::parse(&text).map_err(|epoch| AuditError::Epoch { path, epoch })
}

/// The last few epochs, checked among themselves: all that going on takes. A year has thousands, and
/// whether they are all as they were is for a verification to say.
pub(super) fn newest_epochs(folder: &Path) -> Result<Epochs, AuditError> {
    let path = folder.join(EPOCHS);
    let reading = || AuditError::io("read", &path);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Epochs::default()),
        Err(error) => return Err(reading()(error)),
    };
    let len = file.metadata().map_err(reading())?.len();
    let start = len.saturating_sub(NEWEST);
    file.seek(SeekFrom::Start(start)).map_err(reading())?;
    let mut text = Vec::new();
    file.take(NEWEST)
        .read_to_end(&mut text)
        .map_err(reading())?;
    Epochs::parse_end(&text, start).map_err(|epoch| AuditError::Epoch { path, epoch })
}

/// The checkpoint in the folder; `None` when there is none, or only what a power cut leaves of one.
pub(super) fn checkpoint_of(folder: &Path, epochs: &Epochs) -> Result<Option<Signed>, AuditError> {
    let path = folder.join(CHECKPOINT);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) if bytes.iter().all(|byte| *byte == 0) => return Ok(None),
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
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
