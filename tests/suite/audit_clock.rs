//! The wall clock, set back and forth under a gateway that writes its log: the records keep their order, one of
//! them tells of each jump, and none makes a file old enough to be removed.

use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use testkit::audit::segments;
use testkit::{Gateway, Home, Judges};

/// Debian's libfaketime: the wall clock as a file says, the monotonic one as it is. The one with a lock: the
/// other writes `+0` and then the file's text into one buffer for all threads, so that now and then a thread
/// reads the true time, which the log rightly tells as a jump back and one forth.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Sets that clock at once: half a file would be a jump of its own.
fn set(clock: &Path, now: &str) {
    let new = clock.with_extension("new");
    std::fs::write(&new, now).unwrap();
    std::fs::rename(&new, clock).unwrap();
}

/// A command whose wall clock is as that file says.
fn by_the_clock(mut command: Command, clock: &Path, now: &str) -> Command {
    assert!(
        Path::new(LIBRARY).exists(),
        "libfaketime is installed; ./test does it"
    );
    set(clock, now);
    command
        .env("LD_PRELOAD", LIBRARY)
        .env("FAKETIME_TIMESTAMP_FILE", clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command
}

/// The command on a machine that was booted that long ago, another time than the one before.
fn rebooted(command: &Command, hours_ago: u64, folder: &Path) -> Command {
    let boot = folder.join("boot");
    std::fs::write(&boot, "5c7a1f00-0000-4000-8000-000000000001\n").unwrap();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let runs: u64 = uptime.split('.').next().unwrap().parse().unwrap();
    let offset = i64::try_from(hours_ago * 3_600).unwrap() - i64::try_from(runs).unwrap();
    let mut other = Command::new("unshare");
    other.args(["--mount", "--time", "--boottime", &offset.to_string()]);
    if !rustix::process::geteuid().is_root() {
        other.arg("--map-root-user");
    }
    let boot_id = "/proc/sys/kernel/random/boot_id";
    let script = format!("mount --bind \"$0\" {boot_id} && exec \"$@\"");
    other.args(["sh", "-c", &script]).arg(boot);
    other.arg(command.get_program()).args(command.get_args());
    other
}

/// So many calls with long arguments, each more than two kilobytes of records.
fn fill(gateway: &Gateway, calls: usize) {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for at in 0..calls / 4 {
                    let path = format!("{thread}-{at}-{}", "p".repeat(4_000));
                    let answer = gateway.invoke("read_file", &json!({"path": path}));
                    assert!(![401, 503].contains(&answer.status), "{}", answer.text());
                }
            });
        }
    });
}

#[test]
fn no_clock_that_is_set_makes_a_file_old_and_a_machine_that_was_off_needs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let home = Home::new();
    for (key, value) in [
        ("gateway.tools.allowList", r#"["read_file"]"#),
        ("gateway.audit.maxLogSize", "1"),
        ("gateway.audit.maxLogFiles", "2"),
        ("gateway.security.rateLimit.enabled", "false"),
    ] {
        home.set_accepting_the_risk(key, value);
    }
    let command = home.command();
    let gateway = Gateway::start(home, by_the_clock(command, &clock, "+0"));
    fill(&gateway, 280);
    // Twenty days ahead, and again while it runs.
    for ahead in ["+20d", "+40d"] {
        set(&clock, ahead);
        fill(&gateway, 280);
    }
    let (_, home) = gateway.stop();
    let all = segments(&home.path().join("logs"));
    assert!(all.len() > 3, "{all:?}");
    assert!(home.audit().of("audit.pruned").is_empty());
    let jumps = home.audit().of("security.clock.jumped");
    let jumps = jumps.iter().map(|r| r.get("seconds").as_i64().unwrap());
    let jumps: Vec<i64> = jumps.collect();
    let as_set = |by: &i64| (by - 20 * 86_400).abs() <= 1;
    assert!(jumps.len() == 2 && jumps.iter().all(as_set), "{jumps:?}");
    // A month later by the clock, an hour after it was switched on: it works, and keeps all.
    let later = rebooted(&home.command(), 1, folder.path());
    let gateway = Gateway::start(home, by_the_clock(later, &clock, "+70d"));
    fill(&gateway, 280);
    let (_, home) = gateway.stop();
    assert!(home.audit().of("audit.pruned").is_empty());
    let more = segments(&home.path().join("logs"));
    assert!(more.len() > all.len(), "{more:?}");
    // When it ran for more than a day, what was there before goes by itself.
    let later = rebooted(&home.command(), 26, folder.path());
    let gateway = Gateway::start(home, by_the_clock(later, &clock, "+71d"));
    fill(&gateway, 280);
    let (code, home) = gateway.stop();
    assert_eq!(code, 0);
    assert!(home.audit().of("audit.pruned").len() >= all.len() - 1);
    let logs = home.path().join("logs");
    assert_eq!(Judges::new().agree("after pruning", &logs).code, 0);
}

#[test]
fn whatever_the_wall_clock_does_records_keep_their_order_and_each_jump_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let home = Home::new();
    home.set("gateway.tools.allowList", r#"["read_file"]"#);
    let command = home.command();
    let gateway = Gateway::start(home, by_the_clock(command, &clock, "+0"));
    // What `+0`, then each of these, is after the one before, in seconds.
    let (hour, day) = (3_600, 86_400);
    let jumps = [
        ("-1h", -hour),
        ("+2h", 3 * hour),
        ("-1d", -2 * hour - day),
        ("+10y", 3_651 * day),
    ];
    for (nth, (moved, by)) in jumps.iter().enumerate() {
        set(&clock, moved);
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
