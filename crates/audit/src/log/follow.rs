//! Where the log ends, and what other processes appended since.

use super::{Log, Open};
use crate::disk;
use crate::error::{AuditError, Fault};
use crate::line::Tip;
use crate::seal::Seal;
use crate::segment::{self, Extent, Segment};
use crate::torn;
use clawdbot_domain::Event;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;

impl Log {
    /// Learns from the disk where the log ends.
    pub(super) fn load(&mut self) -> Result<(), AuditError> {
        (self.newest, self.tip, self.sealed) = (None, Tip::START, false);
        let segments = Segment::list(&self.folder)?;
        self.seal = Some(Seal::open(&self.folder, &self.places, &segments)?);
        let Some((newest, older)) = segments.split_last() else {
            return self.check_length();
        };
        let file = disk::open_append(&newest.path)?;
        if let Some((len, tip)) = self.signed_end(&file, newest)? {
            self.tip = tip;
            let segment = newest.clone();
            self.newest = Some(Open::from(segment, file, len));
            self.read_on()?;
            return self.check_length();
        }
        let before = match older.last() {
            Some(older) => segment::last_tip(older, newest.first.saturating_sub(1))?,
            None => None,
        };
        self.tip = match before {
            Some(before) => before,
            None => segment::start_tip(&file, newest)?,
        };
        if self.tip.next != newest.first {
            let fault = Fault::OutOfOrder {
                found: newest.first,
            };
            return Err(newest.corrupt(self.tip.next, fault));
        }
        self.newest = Some(Open::from(newest.clone(), file, 0));
        self.read_on()?;
        self.check_length()
    }

    /// Where the signed records of the newest segment end. What stands before is not read: a root over it was
    /// signed, the last record is the one that root ends with, and whether the others are as they were is
    /// for a verification to say. `None` when the segment is to be read from its start.
    fn signed_end(&self, file: &File, newest: &Segment) -> Result<Option<(u64, Tip)>, AuditError> {
        let Some(seal) = &self.seal else {
            return Ok(None);
        };
        let Some(last) = seal
            .size()
            .checked_sub(1)
            .filter(|last| *last >= newest.first)
        else {
            return Ok(None);
        };
        let looking = AuditError::io("look at", &newest.path);
        let len = file.metadata().map_err(looking)?.len();
        let found = segment::find(file, newest, len, last)?;
        match (found, seal.last_leaf()) {
            (Some((_, tip)), Some(leaf)) if tip.leaf() != leaf => {
                Err(newest.corrupt(last, Fault::Unsigned))
            }
            (found, Some(_)) => Ok(found),
            (_, None) => Ok(None),
        }
    }

    /// The log must be as long as its own checkpoint and the register say.
    fn check_length(&mut self) -> Result<(), AuditError> {
        let Some(seal) = &mut self.seal else {
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
    pub(super) fn catch_up(&mut self) -> Result<(), AuditError> {
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
            self.newest = Some(Open::from(next, file, 0));
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
        let (mut tip, mut leaves, mut span) = (self.tip, Vec::new(), open.span);
        let Extent { good, torn } =
            segment::follow(&open.file, &open.segment, range, &mut tip, |line, tip| {
                leaves.push(tip.leaf());
                span.see(line);
            })?;
        open.span = span;
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
}

fn is_recovery(event: &Event) -> bool {
    matches!(event, Event::AuditRecovered { .. })
}
