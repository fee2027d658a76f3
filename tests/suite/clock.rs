//! The wall clock, moved under a running gateway.

use std::path::Path;
use testkit::{Call, Gateway, Home};

/// Debian's libfaketime: the wall clock as a file says, the monotonic one as it is; with a lock, for
/// without one a thread reads the true time now and then.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

fn under_a_clock(home: Home, file: &Path) -> Gateway {
    assert!(
        Path::new(LIBRARY).exists(),
        "libfaketime is installed; ./test does it"
    );
    let mut command = home.command();
    command
        .env("LD_PRELOAD", LIBRARY)
        .env("FAKETIME_TIMESTAMP_FILE", file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Gateway::start(home, command)
}

/// EDGE-15. Neither an hour back nor two hours forward opens the window early or keeps it shut.
#[test]
fn setting_the_wall_clock_does_not_move_the_rate_limit() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let home = Home::new();
    home.set("gateway.security.rateLimit.maxRequests", "20");
    let gateway = under_a_clock(home, &clock);
    let ask = || Call::get("/health").send(gateway.port);
    while ask().status == 200 {}
    for moved in ["-1h", "+2h", "-1d", "+10y"] {
        std::fs::write(&clock, moved).unwrap();
        let answer = ask();
        assert_eq!(answer.status, 429, "{moved}");
        let wait = answer
            .header("retry-after")
            .unwrap()
            .parse::<u64>()
            .unwrap();
        assert!((1..=61).contains(&wait), "{moved}: {wait}");
    }
    let date = ask().header("date").map(str::to_owned);
    assert!(
        date.is_some_and(|d| d.contains("2036") || d.contains("2037")),
        "the control: the clock was moved"
    );
}
