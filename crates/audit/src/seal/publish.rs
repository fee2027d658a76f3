//! Signing what there is, and the key that is due.

use super::open::{checkpoint_of, newest_epochs};
use super::{ANCHOR, CHECKPOINT, EPOCH, EVERY, Seal};
use crate::disk;
use crate::error::AuditError;
use crate::keys::{self, EPOCHS};
use crate::note::Signed;
use crate::segment::{self, Segment};
use crate::tiles;
use crate::tree::{Tile, WIDTH};
use std::time::{Instant, SystemTime};

impl Seal {
    /// Signs and publishes what there is, under the lock of the log. `last` is the one before closing
    /// or pruning, whose content is always durable, as is that of each second.
    ///
    /// The tiles are written with those only: a checkpoint in between needs none, for an opening makes its
    /// tree from older tiles and the records after them.
    pub(crate) fn publish(&mut self, last: bool) -> Result<(), AuditError> {
        let size = self.tree.size();
        if last && size == self.durable && !self.register_behind {
            return Ok(());
        }
        let timed = last || self.at.elapsed() >= EVERY;
        if timed {
            self.write_tiles()?;
        }
        let begun = self.take_over()?;
        if self.epoch_is_due(begun) {
            self.begin_epoch()?;
        }
        if size == 0 {
            return Ok(());
        }
        let signed = self.sign(last, timed)?;
        self.published = size;
        if timed {
            self.drop_old_partials();
            if let Some(register) = &mut self.register {
                register.advance(&signed)?;
            }
            self.register_behind = false;
            (self.durable, self.at) = (size, Instant::now());
            self.anchor(&signed);
        }
        Ok(())
    }

    /// The checkpoint of what there is. The one that stands will do for the last one, if another process
    /// was quicker: of many that end at once few need to write.
    ///
    /// Its name is not flushed. After a power cut the one before may be back, which vouches for less; its
    /// bytes are there either way.
    fn sign(&self, last: bool, durable: bool) -> Result<Signed, AuditError> {
        let (size, root) = (self.tree.size(), self.tree.root());
        // One of our own of that size was none of a second, so its bytes are not flushed.
        let other = last && self.published != size;
        if other && let Ok(Some(stands)) = checkpoint_of(&self.folder, &self.epochs) {
            let (stood, that) = (stands.checkpoint.size, stands.checkpoint.root);
            if stood == size && that == root {
                return Ok(stands);
            }
        }
        let signed = self.signer.sign(size, root);
        let path = self.folder.join(CHECKPOINT);
        disk::replace(&path, signed.text.as_bytes(), durable, false)?;
        Ok(signed)
    }

    /// Only after the checkpoint: until then the older ones belonged to the one that stood.
    fn drop_old_partials(&mut self) {
        // Another process may have pruned meanwhile.
        let oldest = Segment::list(&self.folder)
            .ok()
            .and_then(|all| Some(all.first()?.first));
        self.first = oldest.unwrap_or(self.first).max(self.first);
        for tile in self.tree.edge() {
            self.drop_partial(&tile, tile.hashes.len());
        }
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

    /// Sees to it that the hashes of the oldest records, up to before `end`, are on disk. Their segments are
    /// read, and so checked once more, if some are not.
    pub(crate) fn keep_hashes(&self, oldest: &[Segment], end: u64) -> Result<(), AuditError> {
        let first = oldest.first().map_or(0, |segment| segment.first);
        if tiles::vouched(&self.folder, &self.tree, first, end) {
            return Ok(());
        }
        let mut leaves = Vec::new();
        for segment in oldest {
            segment::leaves(segment, segment.first..u64::MAX, |leaf| leaves.push(leaf))?;
        }
        tiles::hold(&self.folder, first, &leaves, self.tree.size())
    }

    /// Records before this one were pruned, and all tiles are durable.
    pub(crate) fn pruned_to(&mut self, first: u64) {
        self.first = first;
    }

    /// Takes over the epoch another process began; returns when the running one began, by the wall clock.
    fn take_over(&mut self) -> Result<SystemTime, AuditError> {
        let path = self.folder.join(EPOCHS);
        let looking = || AuditError::io("look at", &path);
        let meta = std::fs::metadata(&path).map_err(looking())?;
        if meta.len() != self.epochs.good {
            self.epochs = newest_epochs(&self.folder)?;
        }
        if let Some(last) = self.epochs.all.last()
            && last.number != self.signer.epoch
        {
            keys::settle(&self.folder)?;
            self.signer.catch_up(last.number)?;
            self.epoch_seen = Instant::now();
        }
        meta.modified().map_err(looking())
    }

    /// An opening goes on with the key that runs, so that many short ones cost no key each. An hour is an
    /// hour by either clock, and a file from the future is an hour old.
    fn epoch_is_due(&self, begun: SystemTime) -> bool {
        let by_wall = begun.elapsed().map_or(true, |age| age >= EPOCH);
        by_wall || self.epoch_seen.elapsed() >= EPOCH
    }

    /// Begins an epoch, if the last one has anything that it alone signed.
    fn begin_epoch(&mut self) -> Result<(), AuditError> {
        let size = self.tree.size();
        if self.epochs.all.last().is_none_or(|last| last.size < size) {
            let next = self.signer.next()?;
            let epoch = next.begin(&self.signer, size, self.tree.root())?;
            self.epochs.good = keys::append(&self.folder, self.epochs.good, &epoch)?;
            let number = epoch.number;
            // It is announced, whether or not the key before can be erased yet.
            self.epochs.all.push(epoch);
            self.signer.catch_up(number)?;
        }
        self.epoch_seen = Instant::now();
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
