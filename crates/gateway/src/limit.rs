//! The exact sliding-window rate limit.
//!
//! At most `max_requests` are admitted in *any* window of the given length, and a burst of exactly
//! that many is admitted. Fixed windows and GCRA admit almost twice as many across a boundary, so
//! the times of admitted requests are kept: one by one up to [`EXACT`], above that in sub-buckets
//! that count a bucket until its youngest possible request has left the window.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hash};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Up to this many requests a window, every admitted request is kept.
const EXACT: u32 = 1024;

/// Sub-buckets a window above [`EXACT`].
const BUCKETS: u32 = 64;

/// How many clients are remembered each on their own. With all of them active, newcomers share the
/// counts of [`SHARED`]: memory is bounded, a flood of addresses washes out nobody's count, and no
/// newcomer gets more than the limit. What it may get is less, when it shares with an attacker.
const CLIENTS: usize = 100_000;

/// How many counts newcomers share, by hash, while the table is full.
const SHARED: usize = 4096;

/// A full table is searched for clients that have gone no more often than this.
const SWEEP: Duration = Duration::from_secs(1);

/// The rule: at most so many requests in any window of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub max_requests: u32,
    /// In which time.
    pub window: Duration,
}

/// What the limiter says of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may pass.
    Admitted {
        /// How many more may pass now.
        remaining: u32,
    },
    /// It may not.
    Refused {
        /// When the next one may pass.
        retry_after: Duration,
    },
}

/// Admitted requests by client.
#[derive(Debug)]
pub struct SlidingLog<K> {
    table: Mutex<Table<K>>,
    start: Instant,
}

#[derive(Debug)]
struct Table<K> {
    clients: HashMap<K, Client>,
    /// Empty until the table is full for the first time.
    shared: Vec<Client>,
    /// When it was last searched for clients that have gone.
    swept: Option<Duration>,
}

/// Admitted requests of one client: time since the limiter's start, and how many at that time.
#[derive(Debug, Default)]
struct Client {
    admitted: VecDeque<(Duration, u32)>,
    total: u32,
}

impl<K: Hash + Eq + Clone> Default for SlidingLog<K> {
    fn default() -> Self {
        Self {
            table: Mutex::new(Table {
                clients: HashMap::new(),
                shared: Vec::new(),
                swept: None,
            }),
            start: Instant::now(),
        }
    }
}

impl<K: Hash + Eq + Clone> SlidingLog<K> {
    /// Decides one request. The clock is monotonic: setting the wall clock changes nothing.
    pub fn admit(&self, client: &K, limit: Limit, now: Instant) -> Admission {
        let now = now.saturating_duration_since(self.start);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.count_of(client, limit.window, now).admit(limit, now)
    }

    /// How many clients are remembered each on their own.
    pub fn clients(&self) -> usize {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.clients.len()
    }
}

impl<K: Hash + Eq + Clone> Table<K> {
    /// Where a client is counted.
    #[allow(
        clippy::indexing_slicing,
        reason = "the index is a remainder of the length"
    )]
    fn count_of(&mut self, client: &K, window: Duration, now: Duration) -> &mut Client {
        if self.clients.len() >= CLIENTS && !self.clients.contains_key(client) {
            self.sweep(window, now);
        }
        if self.clients.len() < CLIENTS || self.clients.contains_key(client) {
            return self.clients.entry(client.clone()).or_default();
        }
        if self.shared.is_empty() {
            self.shared.resize_with(SHARED, Client::default);
        }
        // The table's own hasher is keyed by chance, so nobody can aim at another's count.
        let at = self.clients.hasher().hash_one(client) % SHARED as u64;
        let at = usize::try_from(at).unwrap_or_default();
        &mut self.shared[at]
    }

    fn sweep(&mut self, window: Duration, now: Duration) {
        if self
            .swept
            .is_some_and(|last| now.saturating_sub(last) < SWEEP)
        {
            return;
        }
        self.swept = Some(now);
        self.clients.retain(|_, known| known.is_active(window, now));
    }
}

impl Client {
    fn is_active(&self, window: Duration, now: Duration) -> bool {
        self.admitted
            .back()
            .is_some_and(|(at, _)| now.saturating_sub(*at) < window)
    }

    fn admit(&mut self, limit: Limit, now: Duration) -> Admission {
        let Limit {
            max_requests,
            window,
        } = limit;
        // In sub-buckets a request counts from the end of its bucket, so never too short.
        let bucket = if max_requests > EXACT {
            window / BUCKETS
        } else {
            Duration::ZERO
        };
        let at = if bucket.is_zero() {
            now
        } else {
            bucket_end(now, bucket)
        };
        while let Some((oldest, count)) = self.admitted.front().copied() {
            if now.saturating_sub(oldest) < window {
                break;
            }
            self.admitted.pop_front();
            self.total = self.total.saturating_sub(count);
        }
        if self.total >= max_requests {
            let oldest = self.admitted.front().map_or(now, |(at, _)| *at);
            let retry_after = (oldest + window).saturating_sub(now);
            return Admission::Refused { retry_after };
        }
        match self.admitted.back_mut() {
            Some((newest, count)) if *newest == at => *count += 1,
            Some(_) | None => self.admitted.push_back((at, 1)),
        }
        self.total += 1;
        Admission::Admitted {
            remaining: max_requests - self.total,
        }
    }
}

fn bucket_end(now: Duration, bucket: Duration) -> Duration {
    let bucket = bucket.as_nanos().max(1);
    let end = (now.as_nanos() / bucket + 1) * bucket;
    Duration::from_nanos(u64::try_from(end).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(max_requests: u32) -> Limit {
        Limit {
            max_requests,
            window: Duration::from_secs(60),
        }
    }

    /// Feeds arrivals (ms since start, increasing) and returns those admitted.
    fn admitted(max_requests: u32, arrivals: &[u64]) -> Vec<u64> {
        let log = SlidingLog::default();
        let start = log.start;
        let passes = |at: &&u64| {
            let now = start + Duration::from_millis(**at);
            matches!(
                log.admit(&"client", limit(max_requests), now),
                Admission::Admitted { .. }
            )
        };
        arrivals.iter().filter(passes).copied().collect()
    }

    fn most_in_any_window(times: &[u64]) -> usize {
        let end = |from: usize| times.partition_point(|t| *t < times[from] + 60_000);
        (0..times.len())
            .map(|from| end(from) - from)
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn a_burst_at_the_window_edge_does_not_pass_twice() {
        let burst = [59_900; 100]
            .into_iter()
            .chain([60_100; 100])
            .collect::<Vec<u64>>();
        assert_eq!(admitted(100, &burst).len(), 100);
    }

    #[test]
    fn a_burst_of_exactly_the_limit_is_admitted_in_both_algorithms() {
        for max in [1, 100, 1024, 1025, 5000] {
            let burst = vec![5; max as usize + 10];
            assert_eq!(admitted(max, &burst).len(), max as usize);
        }
    }

    #[test]
    fn refused_requests_do_not_count_and_are_told_when_to_come_back() {
        let log = SlidingLog::default();
        let at = |ms: u64| log.start + Duration::from_millis(ms);
        assert_eq!(
            log.admit(&1, limit(1), at(0)),
            Admission::Admitted { remaining: 0 }
        );
        for ms in [1, 30_000, 59_999] {
            let retry_after = Duration::from_millis(60_000 - ms);
            assert_eq!(
                log.admit(&1, limit(1), at(ms)),
                Admission::Refused { retry_after }
            );
        }
        assert_eq!(
            log.admit(&1, limit(1), at(60_000)),
            Admission::Admitted { remaining: 0 }
        );
    }

    #[test]
    fn one_client_does_not_use_up_anothers_share() {
        let log = SlidingLog::default();
        let now = log.start;
        for client in 0..50 {
            assert_eq!(
                log.admit(&client, limit(1), now),
                Admission::Admitted { remaining: 0 }
            );
        }
    }

    #[test]
    fn a_flood_of_clients_is_bounded_and_forgotten_when_its_window_has_passed() {
        let log = SlidingLog::default();
        let at = |ms: u64| log.start + Duration::from_millis(ms);
        for client in 0..CLIENTS + 50_000 {
            log.admit(&client, limit(1), at(0));
        }
        assert_eq!(log.clients(), CLIENTS);
        let known = log.admit(&7, limit(1), at(1));
        assert!(
            matches!(known, Admission::Refused { .. }),
            "no count is washed out"
        );
        // Newcomers share counts: nobody gets more than the limit, and few get less.
        let log = SlidingLog::default();
        let start = log.start;
        let full = |client: &usize| log.admit(client, limit(2), start);
        for client in 0..CLIENTS {
            full(&client);
        }
        let newcomer = CLIENTS + 1;
        let passed = (0..5)
            .filter(|_| matches!(full(&newcomer), Admission::Admitted { .. }))
            .count();
        assert_eq!(passed, 2);
        let later = start + Duration::from_secs(61);
        assert_eq!(
            log.admit(&newcomer, limit(2), later),
            Admission::Admitted { remaining: 1 }
        );
        assert_eq!(log.clients(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn never_more_than_the_limit_in_any_window(
            max in prop_oneof![1_u32..40, 1025_u32..1100],
            mut gaps in prop::collection::vec(0_u64..2_000, 1..3_000),
        ) {
            let mut now = 0;
            for gap in &mut gaps { now += *gap; *gap = now; }
            let passed = admitted(max, &gaps);
            prop_assert!(most_in_any_window(&passed) <= max as usize);
        }

        /// Many clients at once, each of them counted as if it were alone.
        #[test]
        fn clients_are_counted_apart(
            max in prop_oneof![1_u32..20, 1025_u32..1050],
            arrivals in prop::collection::vec((0_u64..500, 0_usize..7), 1..3_000),
        ) {
            let log = SlidingLog::default();
            let mut times: [(Vec<u64>, Vec<u64>); 7] = Default::default();
            let mut now = 0;
            for (gap, client) in arrivals {
                now += gap;
                times[client].0.push(now);
                let at = log.start + Duration::from_millis(now);
                if matches!(log.admit(&client, limit(max), at), Admission::Admitted { .. }) {
                    times[client].1.push(now);
                }
            }
            for (arrived, passed) in times {
                prop_assert!(most_in_any_window(&passed) <= max as usize);
                prop_assert_eq!(&passed, &admitted(max, &arrived));
            }
        }
    }
}
