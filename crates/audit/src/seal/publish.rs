//! Signing what there is, and the key that is due.

use super::open::read_epochs;
use super::{ANCHOR, CHECKPOINT, EPOCH, EVERY, Seal};
use crate::disk;
use crate::error::AuditError;
use crate::keys::{self, EPOCHS};
use crate::note::Signed;
use crate::tiles;
use crate::tree::{Tile, WIDTH};
use std::time::Instant;

impl Seal {
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
