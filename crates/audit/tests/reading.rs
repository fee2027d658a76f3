//! Reading a log by time: what is left out is left out for a reason.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may fail loudly as the tests do"
)]

use clawdbot_audit::{AuditSettings, Between, Recorder, Records};
use clawdbot_domain::{Event, Outcome, Who};
use std::path::Path;

fn read(folder: &Path, since: Option<&str>, until: Option<&str>) -> Vec<String> {
    let (since, until) = (since.map(str::to_owned), until.map(str::to_owned));
    let mut records = Records::between(folder, Between { since, until }).unwrap();
    let mut all = Vec::new();
    while let Some(line) = records.read().unwrap() {
        all.push(line.to_owned());
    }
    all
}

fn field(line: &str, name: &str) -> String {
    let record: serde_json::Value = serde_json::from_str(line).unwrap();
    let value = record.get(name).and_then(serde_json::Value::as_str);
    value.unwrap_or_default().to_owned()
}

fn segments(folder: &Path) -> Vec<std::path::PathBuf> {
    let all = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = all
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    all.sort();
    all
}

/// A log of several segments.
fn written(folder: &Path) {
    let settings = AuditSettings {
        max_segment_bytes: AuditSettings::MIN_SEGMENT_BYTES,
        ..AuditSettings::default()
    };
    // Two processes' worth, so that what a start reads back counts as well.
    for _ in 0..2 {
        let recorder = Recorder::open(folder, settings).unwrap();
        for n in 0..120 {
            let reason = format!("{n} {}", "x".repeat(5_000));
            let stop = Event::GatewayStop { reason };
            recorder
                .note_blocking(Who::default(), Outcome::Ok, stop)
                .unwrap();
        }
    }
}

#[test]
fn a_search_by_time_finds_what_a_search_through_everything_finds() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    assert!(segments(dir.path()).len() >= 4);
    let all = read(dir.path(), None, None);
    let times: Vec<String> = all.iter().map(|line| field(line, "time")).collect();
    for step in (0..times.len()).step_by(17) {
        let (since, until) = (&times[step], &times[(step + 40).min(times.len() - 1)]);
        let wanted = all
            .iter()
            .zip(&times)
            .filter(|(_, time)| *time >= since && *time < until);
        let wanted: Vec<&String> = wanted.map(|(line, _)| line).collect();
        let found = read(dir.path(), Some(since), Some(until));
        assert_eq!(found.iter().collect::<Vec<_>>(), wanted);
    }
}

#[test]
fn a_segment_without_any_of_it_is_not_read_and_the_record_that_says_so_is_true() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let all = segments(dir.path());
    let closed = read(dir.path(), None, None);
    let closed: Vec<&String> = closed
        .iter()
        .filter(|line| field(line, "event") == "audit.rotated")
        .collect();
    assert_eq!(closed.len(), all.len() - 1);
    for (segment, rotated) in all.iter().zip(&closed) {
        let text = std::fs::read_to_string(segment).unwrap();
        let mut times: Vec<String> = text.lines().map(|line| field(line, "time")).collect();
        times.sort();
        assert_eq!(field(rotated, "earliest"), times[0]);
        assert_eq!(field(rotated, "latest"), times[times.len() - 1]);
    }
    // Whoever reads this segment shows this line.
    std::fs::write(&all[1], "no record\n").unwrap();
    let after = field(closed[1], "latest") + "x";
    assert!(!read(dir.path(), Some(&after), None).contains(&"no record".to_owned()));
    let before = field(closed[1], "earliest");
    assert!(!read(dir.path(), None, Some(&before)).contains(&"no record".to_owned()));
    let within = field(closed[1], "latest");
    assert!(read(dir.path(), Some(&within), None).contains(&"no record".to_owned()));
}

#[test]
fn a_clock_that_was_set_back_hides_no_record() {
    let line = |index: u64, second: u32, rest: &str| {
        format!(
            "{{\"index\":{index},\"time\":\"2026-11-25T00:00:{second:02}.000000000Z\",{rest}}}\n"
        )
    };
    let stop = r#""event":"gateway.stop""#;
    let old = line(0, 30, stop) + &line(1, 5, stop) + &line(2, 31, stop);
    let rotated = r#""event":"audit.rotated","closed":"audit-00000000000000000000.jsonl""#;
    let times =
        r#""earliest":"2026-11-25T00:00:05.000000000Z","latest":"2026-11-25T00:00:31.000000000Z""#;
    let written = |closing: &str| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("audit-00000000000000000000.jsonl"), &old).unwrap();
        let new = line(3, 2, closing) + &line(4, 40, stop);
        std::fs::write(dir.path().join("audit-00000000000000000003.jsonl"), new).unwrap();
        let found = read(
            dir.path(),
            Some("2026-11-25T00:00:04"),
            Some("2026-11-25T00:00:10"),
        );
        found.len()
    };
    // Whatever the record of the rotation says of times, or if it says nothing: record 1 is found.
    assert_eq!(written(&format!("{rotated},{times}")), 1);
    assert_eq!(written(rotated), 1, "an older log tells no times");
    let other = rotated.replace("00.jsonl", "07.jsonl");
    let wrong = times.replace(":05.", ":20.");
    assert_eq!(
        written(&format!("{other},{wrong}")),
        1,
        "what is said of another segment"
    );
}
