//! What one decision of the rate limit costs, and what a client costs in memory.
//!
//! `cargo bench -p clawdbot-gateway --bench limit`

#![allow(clippy::print_stdout, reason = "a bench prints what it measures")]

use clawdbot_gateway::{Limit, SlidingLog};
use std::time::{Duration, Instant};

const DECISIONS: u32 = 2_000_000;

fn main() {
    println!("limit        clients  ns/decision  own counts  bytes/client");
    for (name, max_requests) in [("100/60s", 100), ("5000/60s", 5_000)] {
        let limit = Limit {
            max_requests,
            window: Duration::from_secs(60),
        };
        for clients in [1_u32, 10_000, 1_000_000] {
            let before = resident();
            let log = SlidingLog::default();
            let start = Instant::now();
            // A millisecond between requests on the limiter's own clock, so that windows slide.
            for n in 0..DECISIONS {
                let client = n.wrapping_mul(2_654_435_761) % clients;
                let _ = log.admit(&client, limit, start + Duration::from_millis(n.into()));
            }
            let nanos = start.elapsed().as_nanos() / u128::from(DECISIONS);
            let counted = log.clients();
            let bytes =
                resident().saturating_sub(before) / u64::try_from(counted).unwrap_or(1).max(1);
            println!("{name:<10} {clients:>9} {nanos:>12} {counted:>11} {bytes:>13}");
        }
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kb.unwrap_or_default() * 1024
}
