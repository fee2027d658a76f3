//! Whether the log can be written, as far as is known without trying.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Told by the writer, asked by `/ready`.
#[derive(Debug)]
pub(crate) struct Health {
    down: AtomicBool,
    /// Milliseconds after `start`, plus one, at which the running write began; 0 when none runs.
    busy_since: AtomicU64,
    start: Instant,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self {
            down: AtomicBool::new(false),
            busy_since: AtomicU64::new(0),
            start: Instant::now(),
        }
    }

    pub(crate) fn set_up(&self) {
        self.down.store(false, Ordering::Relaxed);
    }

    pub(crate) fn set_down(&self) {
        self.down.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_busy(&self) {
        let now = self.start.elapsed().as_millis() as u64;
        self.busy_since.store(now + 1, Ordering::Relaxed);
    }

    pub(crate) fn set_idle(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
    }

    /// False after a write that failed, and while one hangs for longer than `patience`.
    pub(crate) fn is_up(&self, patience: Duration) -> bool {
        let hangs = match self.busy_since.load(Ordering::Relaxed).checked_sub(1) {
            Some(since) => self.start.elapsed() > Duration::from_millis(since) + patience,
            None => false,
        };
        !hangs && !self.down.load(Ordering::Relaxed)
    }
}
