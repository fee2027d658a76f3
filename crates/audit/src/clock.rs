//! Whether the wall clock jumped.

use crate::line::since_boot;
use clawdbot_domain::UnixTime;

/// Watches the wall clock against the one that never jumps.
pub(crate) struct Clock {
    offset: Option<i128>,
}

/// The wall clock in nanoseconds, and the one that never jumps just before and just after.
struct Reading {
    before: u64,
    wall: i64,
    after: u64,
}

impl Reading {
    /// No clock is told more exactly than this, in nanoseconds.
    const EXACT: u64 = 1_000_000_000;

    fn now() -> Self {
        Self {
            before: since_boot(),
            wall: UnixTime::now().as_nanos(),
            after: since_boot(),
        }
    }

    /// `None` when so long passed between the three, on a busy machine or one that slept, that nobody knows
    /// when in it the wall clock was read: that would be a jump of its own, and one back at the next reading.
    fn offset(&self) -> Option<i128> {
        let took = self.after.saturating_sub(self.before);
        (took < Self::EXACT).then(|| i128::from(self.wall) - i128::from(self.before))
    }
}

impl Clock {
    /// A difference of so many nanoseconds is a jump; less is a clock that is being slewed.
    const JUMP: i128 = 5_000_000_000;

    pub(crate) fn new() -> Self {
        Self {
            offset: Reading::now().offset(),
        }
    }

    /// By how many seconds the wall clock jumped since the last call.
    pub(crate) fn jumped(&mut self) -> Option<i64> {
        let seconds = self.jumped_by(&Reading::now())?;
        tracing::warn!(seconds, "security: the clock jumped");
        Some(seconds)
    }

    /// A reading that tells nothing leaves what was known, and the next one tells of the jump.
    fn jumped_by(&mut self, now: &Reading) -> Option<i64> {
        let offset = now.offset()?;
        let by = offset - self.offset.replace(offset)?;
        (by.abs() >= Self::JUMP).then(|| i64::try_from(by / 1_000_000_000).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Reading};

    const SECOND: u64 = 1_000_000_000;

    /// Both clocks began together and the wall clock is `ahead` seconds; so many seconds passed before it was
    /// read, and so many after.
    fn reading(at: u64, waits: [u64; 2], ahead: i64) -> Reading {
        let [first, second] = waits.map(|seconds| seconds * SECOND);
        let before = at * SECOND;
        let real = i64::try_from(before + first).unwrap();
        let second_in_nanos = i64::try_from(SECOND).unwrap();
        Reading {
            before,
            wall: real + ahead * second_in_nanos,
            after: before + first + second,
        }
    }

    fn told(readings: &[Reading]) -> Vec<Option<i64>> {
        let mut clock = Clock { offset: None };
        readings.iter().map(|one| clock.jumped_by(one)).collect()
    }

    #[test]
    fn a_thread_that_waits_for_a_minute_amid_the_reading_sees_no_jump() {
        for waits in [[60, 0], [0, 60], [30, 30]] {
            let all = [
                reading(1, [0, 0], 0),
                reading(10, waits, 0),
                reading(80, [0, 0], 0),
            ];
            assert_eq!(told(&all), [None, None, None], "{waits:?}");
        }
        let first = [reading(1, [60, 0], 0), reading(80, [0, 0], 0)];
        assert_eq!(told(&first), [None, None], "nor when that is its first");
    }

    #[test]
    fn a_jump_during_such_a_wait_is_told_by_the_next_reading_and_once() {
        let all = [
            reading(1, [0, 0], 0),
            reading(10, [60, 0], 7),
            reading(80, [0, 0], 7),
            reading(81, [0, 0], 7),
            reading(82, [0, 0], -7),
        ];
        assert_eq!(told(&all), [None, None, Some(7), None, Some(-14)]);
    }
}
