//! The wall clock, set back and forth under a gateway that writes its log: the records keep their order, and
//! one of them tells of each jump.

use serde_json::json;
use std::path::Path;
use std::time::Duration;
use testkit::{Gateway, Home, Judges};

/// Debian's libfaketime: the wall clock as a file says, the monotonic one as it is.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

#[test]
fn whatever_the_wall_clock_does_records_keep_their_order_and_each_jump_is_written() {
    assert!(
        Path::new(LIBRARY).exists(),
        "libfaketime is installed; ./test does it"
    );
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let home = Home::new();
    home.set("gateway.tools.allowList", r#"["read_file"]"#);
    let mut command = home.command();
    command
        .env("LD_PRELOAD", LIBRARY)
        .env("FAKETIME_TIMESTAMP_FILE", &clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let gateway = Gateway::start(home, command);
    // What `+0`, then each of these, is after the one before, in seconds.
    let (hour, day) = (3_600, 86_400);
    let jumps = [
        ("-1h", -hour),
        ("+2h", 3 * hour),
        ("-1d", -2 * hour - day),
        ("+10y", 3_651 * day),
    ];
    for (nth, (moved, by)) in jumps.iter().enumerate() {
        std::fs::write(&clock, moved).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let answer = gateway.invoke("read_file", &json!({"path": format!("{nth}")}));
        assert_ne!(answer.status, 503, "{moved}: {}", answer.text());
        let told = |r: &testkit::Record| {
            let seconds = r.get("seconds").as_i64().unwrap_or_default();
            r.event() == "security.clock.jumped" && (seconds - by).abs() < 5 * day.min(by.abs() / 2)
        };
        gateway
            .audit()
            .wait_for(&format!("a jump by {by} seconds"), told);
    }
    let (code, home) = gateway.stop();
    assert_eq!(code, 0);
    let records = home.audit().records();
    let field = |name: &str| {
        records
            .iter()
            .map(|r| r.get(name).as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert!(field("index").is_sorted(), "the number tells the order");
    let times: Vec<_> = records.iter().map(|record| record.text("time")).collect();
    assert!(!times.is_sorted(), "the control: the wall clock went back");
    let last = times.last().unwrap();
    assert!(
        last.starts_with("203"),
        "the control: and ten years forward: {last}"
    );
    assert_eq!(home.audit().of("security.clock.jumped").len(), jumps.len());
    // Each record is stamped when it is asked for, so neighbours may differ by what a batch takes.
    let mono = field("mono");
    let back = mono
        .windows(2)
        .filter_map(|pair| pair[0].checked_sub(pair[1]));
    assert!(back.max().unwrap_or(0) < 10_000_000_000, "{mono:?}");
    let logs = home.path().join("logs");
    assert_eq!(Judges::new().agree("after the jumps", &logs).code, 0);
    home.set("gateway.port", "18999");
    assert_eq!(
        Judges::new()
            .agree("and on with a clock ten years younger", &logs)
            .code,
        0
    );
}
