//! How old records are, at least.
//!
//! A wall clock is set by whoever may, and a file's time of change by its owner: neither may make evidence
//! old enough to be removed. What counts is time that was seen to pass on the clock that runs since boot,
//! which each record carries. A machine that was off gets nothing for it, so files stay longer, never
//! shorter.

use crate::line::clocks;
use crate::segment::{self, Segment};
use clawdbot_domain::UnixTime;
use serde::Deserialize;
use std::time::Duration;

/// When a record was written, by both clocks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Moment {
    /// Which boot `mono` counts from.
    boot: String,
    /// Nanoseconds since then.
    mono: u64,
    /// The wall clock, as RFC 3339.
    time: String,
}

impl Moment {
    pub(crate) fn now(boot: &str) -> Self {
        let (time, mono) = clocks();
        Self {
            boot: boot.to_owned(),
            mono,
            time: time.to_string(),
        }
    }

    /// Of the last record of a segment; `None` when it has none that can be read.
    fn last_of(segment: &Segment) -> Option<Self> {
        serde_json::from_slice(&segment::last_line(segment).ok()??).ok()
    }

    /// How much time passed since `earlier`, at least.
    ///
    /// Within a boot the difference. Over boots all the time since the later one: it began after. A log that
    /// came from another machine was not written before that booted, so no more than the wall clock says.
    fn since(&self, earlier: &Self) -> Duration {
        if self.boot == earlier.boot {
            return Duration::from_nanos(self.mono.saturating_sub(earlier.mono));
        }
        let wall = |one: &Self| UnixTime::parse(&one.time);
        let by_wall = match (wall(self), wall(earlier)) {
            (Some(later), Some(earlier)) => later.since(earlier),
            _ => Duration::ZERO,
        };
        Duration::from_nanos(self.mono).min(by_wall)
    }
}

/// The least age of each segment's youngest record. A segment whose end cannot be read has no age; one without
/// records is as old as the one after it.
pub(crate) fn at_least(segments: &[Segment], now: &Moment) -> Vec<Duration> {
    let last = |segment: &Segment| Moment::last_of(segment).ok_or_else(|| segment.is_empty());
    ages(segments.iter().map(last).rev(), now)
}

/// Newest first in, oldest first out. `Err(true)` is a segment without records.
fn ages(newest_first: impl Iterator<Item = Result<Moment, bool>>, now: &Moment) -> Vec<Duration> {
    let (mut age, mut after) = (Duration::ZERO, now.clone());
    let each = newest_first.map(|moment| match moment {
        Ok(moment) => {
            age = if moment.boot == now.boot {
                // Whatever the records between say.
                now.since(&moment)
            } else {
                age.saturating_add(after.since(&moment))
            };
            after = moment;
            age
        }
        Err(true) => age,
        Err(false) => Duration::ZERO,
    });
    let mut all: Vec<Duration> = each.collect();
    all.reverse();
    all
}

#[cfg(test)]
mod tests {
    use super::{Moment, ages};
    use std::time::Duration;

    const HOUR: u64 = 3_600_000_000_000;

    /// So many hours after boot, on that day of November 2026.
    fn moment(boot: &str, hours: u64, day: u32) -> Moment {
        Moment {
            boot: boot.into(),
            mono: hours * HOUR,
            time: format!("2026-11-{day:02}T00:00:00.000000000Z"),
        }
    }

    /// Hours, oldest first.
    fn hours(oldest_first: &[Moment], now: &Moment) -> Vec<u64> {
        let newest_first = oldest_first.iter().rev().cloned().map(Ok);
        let all = ages(newest_first, now).into_iter();
        all.map(|age| age.as_secs() / 3_600).collect()
    }

    #[test]
    fn a_wall_clock_set_ahead_makes_nothing_older_in_a_boot_or_over_one() {
        let mut future = moment("a", 3, 1);
        future.time = "2056-11-01T00:00:00.000000000Z".into();
        assert_eq!(hours(&[moment("a", 1, 1)], &future), [2]);
        future.boot = "b".into();
        assert_eq!(hours(&[moment("a", 1, 1)], &future), [3]);
        // Nor do records that were written while it was ahead, or that lie about the clock since boot.
        let between = Moment {
            mono: u64::MAX,
            ..moment("a", 0, 20)
        };
        let kept = [moment("a", 1, 1), between];
        assert_eq!(hours(&kept, &moment("a", 3, 1)), [2, 0]);
    }

    #[test]
    fn a_wall_clock_set_back_makes_nothing_younger_in_a_boot() {
        assert_eq!(hours(&[moment("a", 1, 20)], &moment("a", 30, 1)), [29]);
    }

    #[test]
    fn over_boots_the_time_that_each_was_seen_to_run_adds_up() {
        let kept = [
            moment("a", 5, 1),
            moment("a", 9, 1),
            moment("b", 7, 3),
            moment("c", 1, 5),
        ];
        assert_eq!(hours(&kept, &moment("c", 2, 5)), [4 + 7 + 2, 7 + 2, 2, 1]);
    }

    #[test]
    fn a_month_off_adds_nothing_and_a_day_of_running_after_it_does() {
        let before = [moment("a", 5, 1)];
        assert_eq!(hours(&before, &moment("b", 1, 28)), [1]);
        assert_eq!(hours(&before, &moment("b", 25, 29)), [25]);
    }

    #[test]
    fn a_log_taken_to_a_machine_that_runs_for_long_is_no_older_for_it() {
        assert_eq!(hours(&[moment("a", 5, 1)], &moment("b", 9_000, 1)), [0]);
    }

    #[test]
    fn a_segment_that_cannot_be_read_has_no_age_and_an_empty_one_keeps_none_back() {
        let now = moment("a", 9, 1);
        let newest_first = [
            Ok(moment("a", 8, 1)),
            Err(false),
            Err(true),
            Ok(moment("a", 2, 1)),
        ];
        let all = ages(newest_first.into_iter(), &now);
        let hour = Duration::from_nanos(HOUR);
        assert_eq!(all, [7 * hour, hour, Duration::ZERO, hour]);
    }
}
