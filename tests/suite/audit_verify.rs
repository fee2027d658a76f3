//! The log cannot lie: two verifiers that share no code agree, and the keys of the audit log do what
//! they say.

use std::process::Command;
use testkit::Home;

/// Exit codes of the gateway's verifier and of the independent one.
fn both(home: &Home) -> (i32, i32) {
    let ours = home.run(&["audit", "verify"]).code;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/verify_audit.py");
    let mut python = Command::new("python3");
    python.arg(script).arg(home.path().join("logs"));
    let theirs = python.output().expect("python3 runs");
    (ours, theirs.status.code().unwrap())
}

/// A home whose log has some records and two epochs.
fn written() -> Home {
    let home = Home::new();
    drop(home.run(&["config", "set", "gateway.port", "18888"]));
    // An epoch lasts an hour.
    let epochs = std::fs::File::options()
        .write(true)
        .open(home.path().join("logs/epochs"))
        .unwrap();
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 60 * 60);
    epochs.set_modified(then).unwrap();
    drop(home.run(&["config", "set", "gateway.port", "18889"]));
    home
}

#[track_caller]
fn agree(home: &Home, what: &str, code: i32) {
    assert_eq!(both(home), (code, code), "{what}");
}

/// What both find in every change of a log is in `audit_tamper`; here that both say it with the same
/// exit code.
#[test]
fn both_verifiers_end_with_the_code_of_what_they_found() {
    let home = written();
    agree(&home, "intact", 0);
    let logs = home.path().join("logs");
    let segment = logs.join("audit-00000000000000000000.jsonl");
    let good = std::fs::read_to_string(&segment).unwrap();
    let (short, _) = good.trim_end().rsplit_once('\n').unwrap();
    std::fs::write(&segment, format!("{good}{{\"index\":")).unwrap();
    agree(&home, "torn", 1);
    std::fs::write(&segment, good.replacen("18888", "18887", 1)).unwrap();
    agree(&home, "tampered", 3);
    std::fs::write(&segment, format!("{short}\n")).unwrap();
    agree(&home, "cut off", 4);
    std::fs::write(&segment, &good).unwrap();
    std::fs::remove_file(logs.join("epochs")).unwrap();
    agree(&home, "no keys", 2);
}

#[test]
fn the_register_must_be_there_and_shows_a_rollback() {
    let home = written();
    let register = home.path().join("register");
    home.set("gateway.audit.register", register.to_str().unwrap());
    let ran = home.run(&["gateway", "--port", "0"]);
    assert_ne!(ran.code, 0, "it must not start without its register");
    assert!(ran.err.contains("register"), "{}", ran.err);
    std::fs::write(&register, "").unwrap();
    let old = std::fs::read(home.path().join("logs/audit-00000000000000000000.jsonl")).unwrap();
    drop(home.run(&["config", "set", "gateway.port", "18890"]));
    let held = std::fs::read_to_string(&register).unwrap();
    assert!(held.starts_with("clawdbot.local/"), "{held}");
    assert_eq!(home.run(&["audit", "verify"]).code, 0);
    std::fs::write(
        home.path().join("logs/audit-00000000000000000000.jsonl"),
        old,
    )
    .unwrap();
    assert_eq!(home.run(&["audit", "verify"]).code, 4);
}

#[test]
fn a_query_finds_by_event_outcome_and_time() {
    let home = written();
    let count = |args: &[&str]| {
        let ran = home.run(&[&["audit", "query", "--json"], args].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out.lines().count()
    };
    let all = count(&[]);
    assert_eq!(all, home.audit().records().len());
    assert_eq!(
        count(&["--event", "security.config", "--outcome", "begin"]),
        2
    );
    assert_eq!(count(&["--actor", "nobody"]), 0);
    assert_eq!(count(&["--since", "2999-01-01"]), 0);
    assert_eq!(count(&["--until", "2999-01-01"]), all);
}

#[test]
fn a_report_tells_the_day_and_an_export_has_every_record() {
    let home = written();
    let done = |args: &[&str]| {
        let ran = home.run(&[&["audit"], args].concat());
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
        ran.out
    };
    let records = home.audit().records().len();
    let page = done(&["report"]);
    assert!(
        page.starts_with(&format!("{records} records since ")),
        "{page}"
    );
    assert!(
        page.contains("       2  security.config.changed begin"),
        "{page}"
    );
    assert!(page.contains("No gaps."), "{page}");
    let report: serde_json::Value =
        serde_json::from_str(&done(&["report", "--week", "--json"])).unwrap();
    assert_eq!(report["records"], records);
    assert_eq!(report["events"]["security.config.changed"]["begin"], 2);
    let segment = home.path().join("logs/audit-00000000000000000000.jsonl");
    let kept = std::fs::read_to_string(&segment).unwrap();
    assert_eq!(done(&["export"]), kept, "as it stands in the log");
    let cef = done(&["export", "--format", "cef", "--event", "security.config"]);
    assert!(cef.lines().count() >= 2, "{cef}");
    assert!(
        cef.lines().all(|line| line.starts_with("CEF:0|Clawdbot|")),
        "{cef}"
    );
    let csv = done(&["query", "--csv"]);
    assert_eq!(csv.lines().count(), kept.lines().count() + 1);
    // A record that was taken out is a gap of the report, too.
    let lines: Vec<&str> = kept.split_inclusive('\n').collect();
    std::fs::write(&segment, [&lines[..1], &lines[2..]].concat().concat()).unwrap();
    let page = done(&["report"]);
    assert!(
        page.contains("record 1 should follow, but 2 does"),
        "{page}"
    );
}
