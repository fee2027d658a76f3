//! One batch: one write, one flush, and nothing left of it when either fails.

use super::{Limits, Log};
use crate::disk;
use crate::error::AuditError;
use crate::line::{Entry, MAX_LINE, Tip};
use crate::redact::Redactor;
use crate::tell::tell;
use crate::tree::Hash;

impl Log {
    pub(super) fn append_locked(
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
        let mut own: Vec<Entry> = self.own.iter().cloned().map(Entry::own).collect();
        for entry in &mut own {
            self.lines
                .write(entry, &mut tip, redactor, &mut self.buffer);
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
        open.span.see_all(&self.buffer);
        if let Some(seal) = &mut self.seal {
            for (index, leaf) in (self.tip.next..).zip(leaves) {
                let pushed = seal.push(index, leaf);
                pushed.map_err(|fault| open.segment.corrupt(index, fault))?;
            }
        }
        self.tip = tip;
        self.own.clear();
        own.iter().for_each(tell);
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

    /// After a failed append: nothing of it may stand, for its callers are told that it does not.
    pub(super) fn take_back(&mut self) {
        let Some(open) = &self.newest else {
            return;
        };
        if let Err(error) = disk::take_back(&open.segment.path, open.len) {
            tracing::error!(%error, "a failed write to the audit log is not taken back yet");
            self.leftovers = open.file.metadata().ok().map(|meta| meta.len());
        }
    }

    /// Takes back what could not be taken back before, unless another process wrote after it.
    pub(super) fn cut_leftovers(&mut self) -> Result<(), AuditError> {
        let (Some(len), Some(open)) = (self.leftovers, &self.newest) else {
            return Ok(());
        };
        let path = &open.segment.path;
        let meta = open
            .file
            .metadata()
            .map_err(AuditError::io("look at", path))?;
        if meta.len() == len {
            disk::take_back(path, open.len)?;
        }
        self.leftovers = None;
        Ok(())
    }
}
