//! The audit log for people and for the systems that collect it.

use serde_json::Value;
use testkit::Home;

/// A home whose log has some records.
fn written() -> Home {
    let home = Home::new();
    home.set("gateway.port", "18888");
    home.set("gateway.port", "18889");
    home
}

fn done(home: &Home, args: &[&str]) -> String {
    home.run(&[&["audit"], args].concat())
        .ok(&format!("{args:?}"))
        .out
}

#[test]
fn a_time_is_what_people_say_and_what_is_none_is_refused() {
    let home = written();
    let all = home.audit().records().len();
    for said in ["1h", "2 hours ago", "yesterday", "last night", "2020-01-01"] {
        assert_eq!(
            done(&home, &["query", "--json", "--since", said])
                .lines()
                .count(),
            all,
            "{said}"
        );
        assert_eq!(
            done(&home, &["query", "--json", "--until", said]),
            "",
            "{said}"
        );
    }
    for command in ["query", "export"] {
        let refused = home.run(&["audit", command, "--since", "soon"]);
        assert_eq!(refused.code, 64, "{}", refused.err);
        assert!(
            refused.err.contains("yesterday"),
            "it says what a time is: {}",
            refused.err
        );
    }
}

#[test]
fn a_table_is_plain_in_a_pipe_and_its_newest_lines_can_be_asked_for() {
    let home = written();
    let shown = done(&home, &["query"]);
    assert!(
        !shown.contains('\u{1b}') && shown.contains("security.config.changed"),
        "{shown}"
    );
    let newest: Vec<&str> = shown.lines().rev().take(2).collect();
    let asked = done(&home, &["query", "-n", "2"]);
    assert_eq!(asked.lines().rev().collect::<Vec<_>>(), newest);
    let tail = done(&home, &["tail", "-n", "2"]);
    assert_eq!(tail, asked, "tail and query show records alike");
}

#[test]
fn a_record_is_shown_whole_with_the_one_that_ends_it() {
    let home = Home::new();
    let _ = home.run(&["up", "--once", "list the files"]).ok("up");
    let begun = home.audit().of("model.begin").remove(0);
    let index = begun.get("index").to_string();
    let both = done(&home, &["show", "--json", &index]);
    let both: Vec<Value> = both
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(both.len(), 2);
    assert_eq!((&both[0], &both[1]["begin"]), (&begun.0, &both[0]["index"]));
    let end = both[1]["index"].to_string();
    let back = done(&home, &["show", &end]);
    assert!(
        back.contains(begun.text("prompt_sha256")),
        "all of it: {back}"
    );
    assert_eq!(home.run(&["audit", "show", "999999"]).code, 69);
}

#[test]
fn an_export_for_opentelemetry_has_every_record_once_with_its_proof() {
    let home = written();
    let records = home.audit().records();
    let exported = done(&home, &["export", "--format", "otlp"]);
    let mut bodies = Vec::new();
    for request in exported.lines() {
        let request: Value = serde_json::from_str(request).unwrap();
        let of = &request["resourceLogs"][0];
        assert_eq!(
            of["resource"]["attributes"][0]["value"]["stringValue"],
            "clawdbot"
        );
        for log in of["scopeLogs"][0]["logRecords"].as_array().unwrap() {
            let body: Value =
                serde_json::from_str(log["body"]["stringValue"].as_str().unwrap()).unwrap();
            assert_eq!(log["eventName"], body["event"]);
            assert!(log["timeUnixNano"].as_str().unwrap().parse::<u64>().is_ok());
            bodies.push(body);
        }
    }
    assert_eq!(
        bodies,
        records
            .into_iter()
            .map(|record| record.0)
            .collect::<Vec<_>>()
    );
    let some = done(&home, &["export", "--format", "otlp", "--outcome", "begin"]);
    assert!(some.len() < exported.len() && !some.is_empty());
    assert_eq!(
        done(&home, &["export", "--format", "otlp", "--event", "no.such"]),
        ""
    );
}

#[test]
fn verify_ends_with_a_code_for_each_verdict() {
    let home = written();
    let logs = home.path().join("logs");
    let segment = logs.join("audit-00000000000000000000.jsonl");
    let good = std::fs::read_to_string(&segment).unwrap();
    let code = || home.run(&["audit", "verify", "--json"]).code;
    assert_eq!(code(), 0);
    std::fs::write(&segment, format!("{good}{{\"index\"")).unwrap();
    assert_eq!(code(), 1, "torn");
    std::fs::write(&segment, good.replacen("gateway.port", "gateway.bind", 1)).unwrap();
    assert_eq!(code(), 3, "tampered with");
    let cut: Vec<&str> = good.split_inclusive('\n').take(2).collect();
    std::fs::write(&segment, cut.concat()).unwrap();
    assert_eq!(code(), 4, "rolled back");
    std::fs::write(&segment, &good).unwrap();
    assert_eq!(
        home.run(&["audit", "verify", "/nowhere"]).code,
        2,
        "unreadable"
    );
}
