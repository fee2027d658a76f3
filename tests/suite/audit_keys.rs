//! Each setting of `gateway.audit` changes what a user sees: in the files of the log, through HTTP and on the
//! command line. What must be written whatever the settings say is beside it.

use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use testkit::audit::segments;
use testkit::{Call, Gateway, Home, Judges, Upstream};

/// A home whose gateway asks this upstream, reads files, and is not limited.
fn home(upstream: &Upstream) -> Home {
    let home = Home::with_upstream(upstream);
    home.set_accepting_the_risk("gateway.tools.policy", "whitelist");
    home.set("gateway.tools.allowList", r#"["read_file"]"#);
    home.set("gateway.security.rateLimit.maxRequests", "1000000");
    home
}

/// One of everything: an answer, a tool that runs, a tool that may not, a request without a token.
fn use_everything(gateway: &Gateway) {
    assert_eq!(gateway.turn("hello").status, 200);
    let ran = gateway.invoke("read_file", &json!({"path": "notes.txt"}));
    assert_eq!(ran.status, 200, "{}", ran.text());
    let denied = gateway.invoke("write_file", &json!({"path": "x", "content": "y"}));
    assert_eq!(denied.status, 403, "{}", denied.text());
    assert_eq!(Call::get("/status").send(gateway.port).status, 401);
}

/// The events that were written when everything was used under these settings, and the verdict.
fn written(settings: &[(&str, &str)]) -> BTreeSet<String> {
    let upstream = Upstream::saying("hi");
    let home = home(&upstream);
    for (key, value) in settings {
        home.set_accepting_the_risk(key, value);
    }
    let before = home.audit().records().len();
    let gateway = home.start();
    use_everything(&gateway);
    let (code, home) = gateway.stop();
    assert_eq!(code, 0);
    let logs = home.path().join("logs");
    assert_eq!(Judges::new().agree("as it is written", &logs).code, 0);
    let records = home.audit().records().into_iter().skip(before);
    let named = |record: &testkit::Record| format!("{} {}", record.event(), record.text("outcome"));
    records.map(|record| named(&record)).collect()
}

const REQUESTS: [&str; 3] = ["request ok", "model.begin begin", "model.end ok"];
const TOOLS: [&str; 2] = ["tool.begin begin", "tool.end ok"];
const ALWAYS: [&str; 2] = [
    "security.tool.denied denied",
    "security.request.refused denied",
];

#[track_caller]
fn has(events: &BTreeSet<String>, these: &[&str], written: bool) {
    for event in these {
        assert_eq!(events.contains(*event), written, "{event}: {events:?}");
    }
}

#[test]
fn by_default_requests_tools_and_refusals_are_all_written() {
    let events = written(&[]);
    has(&events, &REQUESTS, true);
    has(&events, &TOOLS, true);
    has(&events, &ALWAYS, true);
    has(&events, &["gateway.start ok", "gateway.stop ok"], true);
}

#[test]
fn log_requests_leaves_out_requests_and_model_calls_and_nothing_else() {
    let events = written(&[("gateway.audit.logRequests", "false")]);
    has(&events, &REQUESTS, false);
    has(&events, &TOOLS, true);
    has(&events, &ALWAYS, true);
}

#[test]
fn log_tools_leaves_out_tools_that_ran_and_never_one_that_was_refused() {
    let events = written(&[("gateway.audit.logTools", "false")]);
    has(&events, &TOOLS, false);
    has(&events, &REQUESTS, true);
    has(&events, &ALWAYS, true);
}

#[test]
fn log_level_leaves_out_what_is_quieter_and_never_a_beginning_or_a_refusal() {
    let loud = [&ALWAYS[..], &["model.begin begin", "tool.begin begin"]].concat();
    let quiet = [
        "request ok",
        "model.end ok",
        "tool.end ok",
        "gateway.start ok",
    ];
    for (level, there) in [
        ("debug", true),
        ("info", true),
        ("warn", false),
        ("error", false),
    ] {
        let events = written(&[("gateway.audit.logLevel", level)]);
        has(&events, &loud, true);
        has(&events, &quiet, there);
    }
}

#[test]
fn switching_the_log_off_is_warned_of_is_itself_written_and_stops_what_follows() {
    let upstream = Upstream::saying("hi");
    let home = home(&upstream);
    let ran = home.run(&["config", "set", "gateway.audit.enabled", "false"]);
    assert!(ran.err.contains("weakens"), "{}", ran.err);
    home.set("gateway.audit.enabled", "true");
    let gateway = home.start();
    use_everything(&gateway);
    let count = |event: &str| gateway.audit().of(event).len();
    let asked = count("model.begin");
    assert!(asked > 0);
    let set = |value: &str| {
        gateway
            .home
            .set_accepting_the_risk("gateway.audit.enabled", value);
        let applied = |record: &testkit::Record| {
            record.event() == "security.audit.settings"
                && *record.get("enabled") == (value == "true")
        };
        gateway.audit().wait_for("the change", applied)
    };
    let off = set("false");
    assert_eq!(
        off.text("level"),
        "warn",
        "a reader of warnings sees that it was switched off"
    );
    // What was asked before may still be told of; from here on nothing is.
    std::thread::sleep(Duration::from_millis(200));
    let silent = gateway.audit().records().len();
    use_everything(&gateway);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        gateway.audit().records().len(),
        silent,
        "nothing is written while it is off"
    );
    let on = set("true");
    assert!(on.get("index").as_u64() > off.get("index").as_u64());
    use_everything(&gateway);
    assert_eq!(count("model.begin"), asked + 1);
    let report = gateway.home.run(&["audit", "report"]).ok("the report");
    let gaps = report.out.split_once("Gaps").map(|(_, gaps)| gaps);
    assert!(
        gaps.is_some_and(|gaps| gaps.contains("security.audit.settings")),
        "{}",
        report.out
    );
    let (_, home) = gateway.stop();
    let logs = home.path().join("logs");
    assert_eq!(
        Judges::new().agree("across the gap", &logs).code,
        0,
        "one chain"
    );
}

/// Lets the gateway write some megabytes of records; the files of the log then, oldest first.
fn megabytes(settings: &[(&str, &str)]) -> (Home, Vec<PathBuf>) {
    let upstream = Upstream::saying("hi");
    let home = home(&upstream);
    for (key, value) in settings {
        home.set_accepting_the_risk(key, value);
    }
    let gateway = home.start();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let gateway = &gateway;
            scope.spawn(move || {
                for at in 0..140 {
                    // Arguments are written up to four kibibytes.
                    let path = format!("{thread}-{at}-{}", "p".repeat(4_000));
                    let answer = gateway.invoke("read_file", &json!({"path": path}));
                    assert_ne!(answer.status, 503, "{}", answer.text());
                }
            });
        }
    });
    let (code, home) = gateway.stop();
    assert_eq!(code, 0);
    let logs = home.path().join("logs");
    let all = segments(&logs);
    assert_eq!(Judges::new().agree("afterwards", &logs).code, 0);
    (home, all)
}

fn size(path: &PathBuf) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[test]
fn max_log_size_ends_a_file_before_it_is_passed() {
    let (home, files) = megabytes(&[("gateway.audit.maxLogSize", "1")]);
    assert!(files.len() >= 3, "{files:?}");
    for file in &files {
        assert!(
            size(file) <= 1_000_000,
            "{} has {}",
            file.display(),
            size(file)
        );
    }
    assert!(
        files[..files.len() - 1]
            .iter()
            .all(|file| size(file) > 900_000),
        "nor long before it is"
    );
    assert_eq!(
        home.audit().of("audit.rotated").len(),
        files.len() - 1,
        "each change of file is written"
    );
    let (_home, whole) = megabytes(&[("gateway.audit.maxLogSize", "10")]);
    assert_eq!(whole.len(), 1);
    assert!(size(&whole[0]) > 1_000_000);
}

#[test]
fn max_log_files_keeps_so_many_and_writes_which_went_but_none_before_its_age() {
    let small = ("gateway.audit.maxLogSize", "1");
    let few = ("gateway.audit.maxLogFiles", "2");
    let (home, files) = megabytes(&[small, few, ("gateway.audit.minAge", "0")]);
    assert_eq!(files.len(), 2, "{files:?}");
    let gone = home.audit().of("audit.pruned");
    assert!(!gone.is_empty());
    let first = files[0].file_name().unwrap().to_str().unwrap();
    let last = gone.last().unwrap();
    let next = last.get("last").as_u64().unwrap() + 1;
    assert_eq!(
        first,
        format!("audit-{next:020}.jsonl"),
        "the record names what is missing"
    );
    // A flood within a day pushes nothing out.
    let (home, files) = megabytes(&[small, few]);
    assert!(files.len() > 2, "{files:?}");
    assert!(home.audit().of("audit.pruned").is_empty());
}

#[test]
fn what_is_refused_is_told_in_the_operational_log_as_well_and_a_search_finds_it() {
    let upstream = Upstream::saying("hi");
    let gateway = home(&upstream).start();
    use_everything(&gateway);
    let listed = |home: &Home| {
        let always = |r: &testkit::Record| {
            let name = r.event();
            name.starts_with("security.")
                || name.starts_with("audit.")
                || name.starts_with("gateway.")
        };
        home.audit()
            .records()
            .into_iter()
            .filter(always)
            .collect::<Vec<_>>()
    };
    let before = gateway.home.audit().of("gateway.start")[0]
        .get("index")
        .as_u64();
    gateway
        .audit()
        .wait_for("the refusal", |r| r.event() == "security.request.refused");
    let (code, home) = gateway.stop();
    assert_eq!(code, 0);
    let kept = std::fs::read_to_string(home.path().join("logs/gateway.log")).unwrap();
    let mut told = 0;
    for record in listed(&home) {
        if record.get("index").as_u64() < before {
            // Of the commands before, which speak to whoever typed them.
            continue;
        }
        let event = format!("\"event\":\"{}\"", record.event());
        let line = kept.lines().find(|line| line.contains(&event));
        let line = line.unwrap_or_else(|| panic!("{} is not told in:\n{kept}", record.event()));
        assert!(line.contains("security"), "{line}");
        told += 1;
    }
    assert!(told >= 4, "{told}");
    assert!(
        !kept.contains(testkit::gateway::UPSTREAM_KEY),
        "no secret is told"
    );
}
