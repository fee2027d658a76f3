//! The proof that an intent is durable, and the handle that writes how it ended.

use clawdbot_domain::{Event, Outcome, Who};
use std::sync::Arc;

/// Where end records go. Never blocks and never fails the caller: the act is done, and what is
/// queued here is written with the next batch.
pub(crate) trait EndSink: Send + Sync {
    /// Queues the end record of the begin record `begin`.
    fn end(&self, begin: Option<u64>, who: Who, outcome: Outcome, event: Event);
}

/// `T` is written down: its begin record is durable on disk (or auditing of its class is switched
/// off by the operator, which is itself recorded). Made only by [`crate::Recorder`].
#[derive(Debug)]
#[must_use = "what was recorded is now expected to happen"]
pub struct Recorded<T> {
    value: T,
    end: OpenRecord,
}

impl<T> Recorded<T> {
    pub(crate) fn new(value: T, end: OpenRecord) -> Self {
        Self { value, end }
    }

    /// The number of the begin record; `None` while auditing of this class is switched off.
    pub fn index(&self) -> Option<u64> {
        self.end.begin
    }

    /// What was recorded.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Takes what was recorded, to act on it, and the handle to write down how it ended.
    pub fn act(self) -> (T, OpenRecord) {
        (self.value, self.end)
    }
}

/// A begin record whose end is not written yet. Dropping it writes that nobody saw the end.
#[must_use = "close it with how the action ended"]
pub struct OpenRecord {
    begin: Option<u64>,
    who: Who,
    sink: Option<(Arc<dyn EndSink>, Event)>,
}

impl OpenRecord {
    /// `abandoned` is the event written if nobody closes the record: the begin event again.
    pub(crate) fn new(
        begin: Option<u64>,
        who: Who,
        sink: Arc<dyn EndSink>,
        abandoned: Event,
    ) -> Self {
        Self {
            begin,
            who,
            sink: Some((sink, abandoned)),
        }
    }

    /// The number of the begin record.
    pub fn index(&self) -> Option<u64> {
        self.begin
    }

    /// Writes how it ended. Queued, not waited for.
    pub fn close(mut self, outcome: Outcome, event: Event) {
        if let Some((sink, _)) = self.sink.take() {
            sink.end(self.begin, std::mem::take(&mut self.who), outcome, event);
        }
    }
}

impl Drop for OpenRecord {
    fn drop(&mut self) {
        if let Some((sink, abandoned)) = self.sink.take() {
            sink.end(
                self.begin,
                std::mem::take(&mut self.who),
                Outcome::Abandoned,
                abandoned,
            );
        }
    }
}

impl std::fmt::Debug for OpenRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenRecord")
            .field("begin", &self.begin)
            .finish_non_exhaustive()
    }
}
