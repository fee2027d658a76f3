//! What the guide does with a gateway that runs: its log, and an incident.

use super::{run, soon};
use serde_json::json;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};
use testkit::{Call, Deployment};

pub(super) fn logging(here: &Deployment, code: &str) {
    here.set("gateway.tools.allowList", r#"["read_file"]"#);
    for key in ["logRequests", "logTools", "enabled"] {
        here.set(&format!("gateway.audit.{key}"), "false");
    }
    let read = || here.invoke("read_file", &json!({"path": "notes.txt"}));
    let count = |event: &str| here.audit().of(event).len();
    std::thread::sleep(Duration::from_secs(3));
    let before = (count("request"), count("tool.begin"));
    assert_eq!(read().status, 200);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(
        (count("request"), count("tool.begin")),
        before,
        "nothing is logged before"
    );
    run(here, code);
    soon(
        "each request and each tool execution is written down",
        || {
            assert_eq!(read().status, 200);
            count("request") > before.0 && count("tool.begin") > before.1
        },
    );
    let level = here.cli("config get gateway.audit.logLevel").ok("get");
    assert_eq!(level.out.trim(), "info");
}

fn segments(here: &Deployment) -> Vec<u64> {
    let entries = std::fs::read_dir(here.data().join("logs"))
        .unwrap()
        .flatten();
    let segments = entries.filter(|e| e.path().extension().is_some_and(|x| x == "jsonl"));
    segments.map(|e| e.metadata().unwrap().len()).collect()
}

pub(super) fn retention(here: &Deployment, code: &str) {
    run(here, code);
    let limits = here.cli("config get gateway.audit --json").ok("get").json();
    let value = |key: &str| {
        let row = limits
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["key"] == key);
        row.unwrap()["value"].clone()
    };
    assert_eq!(value("gateway.audit.maxLogSize"), 100);
    assert_eq!(value("gateway.audit.maxLogFiles"), 10);
    assert_eq!(
        segments(here).len(),
        1,
        "a hundred megabytes are not full yet"
    );
    // The same keys with numbers that can be reached here.
    here.set("gateway.audit.maxLogSize", "1");
    here.set("gateway.audit.maxLogFiles", "2");
    here.set("gateway.audit.minAge", "0");
    here.set("gateway.security.rateLimit.enabled", "false");
    std::thread::sleep(Duration::from_secs(3));
    // No such file; but that it was looked for is written down, name and all.
    let path = format!("{}/x", "a".repeat(200)).repeat(15);
    let until = Instant::now() + Duration::from_secs(240);
    while here.audit().of("audit.pruned").is_empty() {
        assert!(
            Instant::now() < until,
            "no file was dropped: {:?}",
            segments(here)
        );
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        here.invoke("read_file", &json!({"path": path}));
                    }
                });
            }
        });
    }
    let sizes = segments(here);
    assert!(
        sizes.len() <= 3 && sizes.iter().all(|size| *size <= 1_000_000),
        "{sizes:?}"
    );
    let verified = here.cli("audit verify");
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    run(here, code);
    here.set("gateway.security.rateLimit.enabled", "true");
}

pub(super) fn monitoring(here: &Deployment, code: &str) {
    let lines: Vec<_> = code
        .lines()
        .filter(|line| line.starts_with("docker "))
        .collect();
    let [recent, follow, search] = lines[..] else {
        panic!("three commands, not {lines:?}");
    };
    let knock = || {
        Call::get("/v1/models")
            .bearer("cb-prod-nobody")
            .send(here.port)
            .status
    };
    assert_eq!(knock(), 401);
    let tail = run(here, recent);
    assert!(
        (1..=100).contains(&tail.out.lines().count()),
        "{}",
        tail.out
    );
    // Followed while it happens, and left as a person does.
    let mut following = here
        .command(&format!("exec {follow}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let seen = std::thread::spawn(move || {
        let mut lines = lines.map_while(Result::ok);
        lines.any(|line| line.contains("path=\"/followed\""))
    });
    soon("what happens is seen", || {
        Call::get("/followed")
            .bearer("cb-prod-nobody")
            .send(here.port);
        seen.is_finished()
    });
    assert!(seen.join().unwrap());
    following.kill().unwrap();
    following.wait().unwrap();
    let found = run(here, search);
    assert!(
        found.out.contains("security: request refused"),
        "{}",
        found.out
    );
    // The log of the container goes with it; the volume has the same.
    assert!(!here.audit().of("security.request.refused").is_empty());
}

pub(super) fn stop(here: &Deployment, code: &str) {
    let before = here.audit().records().len();
    run(here, code);
    assert!(
        std::net::TcpStream::connect(("127.0.0.1", here.port)).is_err(),
        "nobody listens"
    );
    let left = here.shell("docker compose ps -aq").ok("ps");
    assert_eq!(left.out.trim(), "");
    let records = here.audit().records();
    assert!(records.len() >= before, "the log outlives the container");
    assert_eq!(
        records.last().unwrap().event(),
        "gateway.stop",
        "it ended in peace"
    );
}

pub(super) fn preserve(here: &Deployment, code: &str) {
    run(here, code);
    let today = here.shell("date +%Y%m%d").ok("date");
    let copy = here
        .home()
        .join(format!("security-incident-{}", today.out.trim()));
    let verified = std::process::Command::new(testkit::binary::clawdbot())
        .args(["audit", "verify"])
        .arg(&copy)
        .output()
        .unwrap();
    assert!(verified.status.success(), "the copy verifies: {verified:?}");
    // The third step has no command of its own: this is one.
    let report = here.cli("audit report").ok("audit report");
    assert!(
        report.out.contains("security.config.changed"),
        "{}",
        report.out
    );
}

pub(super) fn rotate(here: &Deployment, code: &str) {
    let held = here.cli("models auth list --json").ok("list").json();
    assert_eq!(held.as_array().unwrap().len(), 1);
    run(here, code);
    let left = here.cli("models auth list --json").ok("list").json();
    assert_eq!(left, json!([]));
    // The fifth step: what differs from the defaults, key by key.
    let differs = here.cli("config diff").ok("config diff");
    assert!(
        differs.out.contains("gateway.tools.allowList"),
        "{}",
        differs.out
    );
}

pub(super) fn resume(here: &Deployment, code: &str) {
    run(here, code);
    here.wait_until_ready();
    assert_eq!(Call::get("/health").send(here.port).status, 200);
    let level = here.cli("config get gateway.audit.logLevel").ok("get");
    assert_eq!(level.out.trim(), "debug");
    // Everything is still there: the same log goes on.
    let events: Vec<_> = here
        .audit()
        .records()
        .iter()
        .map(|r| r.event().to_owned())
        .collect();
    let stopped = events
        .iter()
        .position(|event| event == "gateway.stop")
        .unwrap();
    assert!(
        events[stopped..]
            .iter()
            .any(|event| event == "gateway.start")
    );
    let verified = here.cli("audit verify");
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
}
