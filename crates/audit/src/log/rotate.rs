//! The next segment, and the end of the oldest ones.

use super::{Limits, Log, Open};
use crate::age;
use crate::disk;
use crate::error::AuditError;
use crate::segment::Segment;
use clawdbot_domain::Event;

impl Open {
    /// The earliest and the latest time in the segment, as far as it is known or quickly found out.
    fn times(&self) -> (Option<String>, Option<String>) {
        let mut span = self.span;
        if self.unread > 0 {
            span.see_file(&self.segment.path, self.unread);
        }
        span.texts()
    }
}

impl Log {
    /// Opens the next segment. Segments that are too many now go once records in it say so.
    pub(super) fn rotate(&mut self, limits: Limits) -> Result<(), AuditError> {
        let next = Segment::at(&self.folder, self.tip.next);
        let closed = self.newest.as_ref();
        let closed = closed.map(|open| (open.segment.clone(), open.times()));
        let file = disk::create(&next.path)?;
        disk::sync_folder(&self.folder)?;
        // Empty segments (after a failed first write) are no older segment of themselves.
        if let Some((closed, times)) = closed.filter(|(closed, _)| *closed != next) {
            let rotated = Event::AuditRotated {
                closed: closed.name(),
                opened: next.name(),
                earliest: times.0,
                latest: times.1,
            };
            self.own.insert(0, rotated);
        }
        self.newest = Some(Open::from(next, file, 0));
        self.sealed = false;
        self.prune(limits)
    }

    fn prune(&mut self, limits: Limits) -> Result<(), AuditError> {
        self.pruned.clear();
        let mut segments = Segment::list(&self.folder)?;
        let keep = usize::try_from(limits.segments.max(1)).unwrap_or(usize::MAX);
        let too_many = segments.len().saturating_sub(keep);
        let firsts: Vec<u64> = segments.iter().map(|s| s.first).skip(1).collect();
        if too_many == 0 {
            return Ok(());
        }
        let ages = age::at_least(&segments, &self.lines.moment());
        segments.truncate(too_many);
        if let Some(at) = ages
            .iter()
            .take(too_many)
            .position(|age| *age < limits.min_age)
        {
            let kept = segments.len() - at;
            tracing::warn!(
                kept,
                "security: audit segments are too many but too young to be pruned"
            );
            segments.truncate(at);
        }
        for (segment, next_first) in segments.iter().zip(firsts) {
            self.own.push(Event::AuditPruned {
                segment: segment.name(),
                first: segment.first,
                last: next_first.saturating_sub(1),
            });
        }
        self.pruned = segments;
        Ok(())
    }

    /// A segment that cannot be removed is tried again at the next rotation.
    pub(super) fn drop_pruned(&mut self) {
        let pruned = std::mem::take(&mut self.pruned);
        if pruned.is_empty() {
            return;
        }
        let kept = Segment::list(&self.folder).unwrap_or_default();
        let first = kept.iter().find(|segment| !pruned.contains(segment));
        let first = first.map(|segment| segment.first);
        // Their hashes must outlive them, or no later record could be proven.
        let kept = self
            .publish_locked(true)
            .and_then(|()| self.keep_hashes(&pruned, first))
            .and_then(|()| disk::sync_all(&self.folder));
        if let Err(error) = kept {
            tracing::warn!(%error, "error: pruned audit segments stay until their hashes are durable");
            return;
        }
        if let (Some(seal), Some(first)) = (&mut self.seal, first) {
            seal.pruned_to(first);
        }
        for segment in &pruned {
            if let Err(error) = disk::remove(&segment.path) {
                tracing::warn!(%error, "error: a pruned audit segment stays");
            }
        }
        if let Err(error) = disk::sync_folder(&self.folder) {
            tracing::warn!(%error, "error: the folder of the audit log was not flushed");
        }
    }

    fn keep_hashes(&self, pruned: &[Segment], kept: Option<u64>) -> Result<(), AuditError> {
        let end = kept.unwrap_or(self.tip.next);
        match &self.seal {
            Some(seal) => seal.keep_hashes(pruned, end),
            None => Ok(()),
        }
    }
}
