//! Whether the wall clock jumped.

/// Watches the wall clock against the one that never jumps.
pub(crate) struct Clock {
    offset: i128,
}

impl Clock {
    /// A difference of so many nanoseconds is a jump; less is a clock that is being slewed.
    const JUMP: i128 = 5_000_000_000;

    pub(crate) fn new() -> Self {
        Self {
            offset: Self::offset(),
        }
    }

    fn offset() -> i128 {
        let (wall, mono) = crate::line::clocks();
        i128::from(wall.as_nanos()) - i128::from(mono)
    }

    /// By how many seconds the wall clock jumped since the last call.
    pub(crate) fn jumped(&mut self) -> Option<i64> {
        let before = std::mem::replace(&mut self.offset, Self::offset());
        let by = self.offset - before;
        if by.abs() < Self::JUMP {
            return None;
        }
        let seconds = i64::try_from(by / 1_000_000_000).unwrap_or(i64::MAX);
        tracing::warn!(seconds, "security: the clock jumped");
        Some(seconds)
    }
}
