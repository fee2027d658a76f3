//! What the recorder promises to those who call it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail loudly as the tests do"
)]

use clawdbot_audit::{AuditSettings, DEADLINE, NotRecorded, Recorder, Tail, Verdict, verify};
use clawdbot_domain::{
    Audited, Effect, Event, Level, Outcome, ProviderName, Secret, SessionId, TokenId, ToolName, Who,
};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A tool call that is about to happen.
#[derive(Debug)]
struct Call(String);

impl Audited for Call {
    fn event(&self) -> Event {
        Event::ToolBegin {
            tool: ToolName::parse("read_file").unwrap(),
            effect: Effect::Read,
            rules: vec!["tools.allowList".into()],
            approval: None,
            arguments: self.0.clone(),
            arguments_sha256: "ab".into(),
        }
    }

    fn who(&self) -> Who {
        Who {
            actor: Some(TokenId::new("cb-dev-a1b2c3d4")),
            session: Some(SessionId::new("s1")),
            ..Who::default()
        }
    }
}

fn ended(error: Option<&str>) -> Event {
    Event::ToolEnd {
        tool: ToolName::parse("read_file").unwrap(),
        exit: None,
        output_bytes: 1,
        output_sha256: String::new(),
        truncated: false,
        layers: Vec::new(),
        error: error.map(str::to_owned),
    }
}

fn stop(reason: &str) -> Event {
    let reason = reason.into();
    Event::GatewayStop { reason }
}

fn text(folder: &Path) -> String {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    names.sort();
    names
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

fn records(folder: &Path) -> Vec<Value> {
    let text = text(folder);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Event and outcome of each record.
fn story(folder: &Path) -> Vec<String> {
    let word = |v: &Value| v.as_str().unwrap().to_owned();
    let tell = |r: &Value| format!("{} {}", word(&r["event"]), word(&r["outcome"]));
    records(folder).iter().map(tell).collect()
}

#[tokio::test]
async fn a_begin_record_is_on_disk_before_the_act_and_its_end_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(dir.path(), AuditSettings::default()).unwrap();
    let noted = recorder.begin(Call("{}".into())).await.unwrap();
    assert_eq!(noted.index(), Some(0));
    assert_eq!(story(dir.path()), ["tool.begin begin"]);
    let (_, open) = noted.act();
    open.close(Outcome::Ok, ended(None));
    recorder.flush().await;
    let end = records(dir.path()).pop().unwrap();
    assert_eq!(
        (&end["event"], &end["begin"]),
        (&"tool.end".into(), &0.into())
    );
    assert_eq!(
        (&end["actor"], &end["session"]),
        (&"cb-dev-a1b2c3d4".into(), &"s1".into())
    );
    assert_eq!(recorder.newest(), Some(1));
}

#[tokio::test]
async fn an_action_nobody_saw_the_end_of_is_written_as_abandoned() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(dir.path(), AuditSettings::default()).unwrap();
    let (_, open) = recorder.begin(Call("{}".into())).await.unwrap().act();
    drop(open);
    // Never taken apart, and never even received.
    drop(recorder.begin(Call("{}".into())).await.unwrap());
    let late = recorder.begin(Call("{}".into()));
    let none = tokio::time::timeout(Duration::ZERO, late).await;
    drop(none);
    recorder.flush().await;
    recorder.flush().await;
    let all = records(dir.path());
    for begin in all.iter().filter(|r| r["outcome"] == "begin") {
        let ends = all.iter().filter(|r| r["begin"] == begin["index"]);
        let ends: Vec<_> = ends.map(|r| (&r["outcome"], &r["level"])).collect();
        assert_eq!(ends, [(&"abandoned".into(), &"warn".into())]);
    }
    assert!(all.iter().filter(|r| r["outcome"] == "begin").count() >= 2);
}

#[tokio::test]
async fn what_is_queued_is_written_when_the_last_handle_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(dir.path(), AuditSettings::default()).unwrap();
    let (_, open) = recorder.begin(Call("{}".into())).await.unwrap().act();
    for at in 0..500 {
        recorder.note_later(Who::default(), Outcome::Ok, stop(&at.to_string()));
    }
    drop(recorder);
    open.close(Outcome::Ok, ended(None));
    assert_eq!(records(dir.path()).len(), 502);
}

#[tokio::test]
async fn a_class_that_is_off_leaves_its_records_out_and_no_denial() {
    let dir = tempfile::tempdir().unwrap();
    let settings = AuditSettings {
        log_tools: false,
        ..AuditSettings::default()
    };
    let recorder = Recorder::open(dir.path(), settings).unwrap();
    let noted = recorder.begin(Call("{}".into())).await.unwrap();
    assert_eq!(noted.index(), None);
    noted.act().1.close(Outcome::Failed, ended(Some("no")));
    let denied = Event::ToolDenied {
        tool: "run_command".into(),
        effect: Some(Effect::Execute),
        rules: Vec::new(),
        arguments_sha256: String::new(),
    };
    let index = recorder
        .note(Who::default(), Outcome::Denied, denied)
        .await
        .unwrap();
    assert_eq!(index, Some(0));
    recorder.flush().await;
    assert_eq!(story(dir.path()), ["security.tool.denied denied"]);
}

#[tokio::test]
async fn the_level_leaves_out_quiet_ends_but_no_begin_failure_or_denial() {
    let dir = tempfile::tempdir().unwrap();
    let settings = AuditSettings {
        level: Level::Error,
        ..AuditSettings::default()
    };
    let recorder = Recorder::open(dir.path(), settings).unwrap();
    let quiet = recorder
        .note(Who::default(), Outcome::Ok, stop("quiet"))
        .await
        .unwrap();
    assert_eq!(quiet, None);
    for (outcome, error) in [
        (Outcome::Ok, None),
        (Outcome::Failed, None),
        (Outcome::Ok, Some("x")),
    ] {
        let (_, open) = recorder.begin(Call("{}".into())).await.unwrap().act();
        open.close(outcome, ended(error));
    }
    recorder.flush().await;
    let mut told = story(dir.path());
    told.sort();
    let begin = "tool.begin begin";
    assert_eq!(
        told,
        [begin, begin, begin, "tool.end failed", "tool.end ok"]
    );
}

#[tokio::test]
async fn switching_the_log_off_and_on_is_itself_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let on = AuditSettings::default();
    let recorder = Recorder::open(dir.path(), on).unwrap();
    recorder.reconfigure(AuditSettings {
        enabled: false,
        ..on
    });
    recorder.flush().await;
    assert!(!recorder.settings().enabled);
    assert_eq!(
        recorder.begin(Call("{}".into())).await.unwrap().index(),
        None
    );
    recorder.reconfigure(on);
    recorder.flush().await;
    let told: Vec<Value> = records(dir.path())
        .iter()
        .map(|r| r["enabled"].clone())
        .collect();
    assert_eq!(told, [Value::Bool(false), Value::Bool(true)]);
    assert_eq!(story(dir.path()), ["security.audit.settings ok"; 2]);
}

#[tokio::test]
async fn no_planted_secret_reaches_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(dir.path(), AuditSettings::default()).unwrap();
    let known = "p\"ass\\word\nwith odd bytes é";
    recorder.redact(&Secret::new(known));
    recorder.redact(&Secret::new("hunter2hunter2"));
    let nested = serde_json::to_string(&serde_json::json!({ "key": known })).unwrap();
    let long = format!("{}hunter2hunter2 tail", "x".repeat(16 * 1024 - 5));
    let planted = [
        known.to_owned(),
        nested,
        long,
        "hunter2hunter2".into(),
        "x=hunter2hunter2;".into(),
        "cb-dev-a1b2c3d4.SECRETsecretSECRETsecretSECRET".into(),
        "line\nst-prod-e5f6.SECRETsecretSECRETsecretSECRET".into(),
        r#"{"k":"a\nsk-ant-SECRETsecretSECRETsecret"}"#.into(),
        "Authorization: Bearer SECRETsecret".into(),
        "sk-proj-SECRETsecretSECRETsecret sk-SECRETsecretSECRETsecret".into(),
        "ghp_SECRETsecretSECRETsecret".into(),
    ];
    for text in planted {
        let _ = recorder.begin(Call(text)).await.unwrap();
    }
    drop(recorder);
    let text = text(dir.path());
    for secret in ["SECRET", "hunter2", "ass\\\\", "odd bytes"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    // The public id stays: it is what tells tokens apart.
    assert!(text.contains("cb-dev-a1b2c3d4.[redacted]") && text.contains("\"cb-dev-a1b2c3d4\""));
    assert_eq!(verify(dir.path()).unwrap().verdict, Verdict::Intact);
}

#[tokio::test]
async fn ordinary_words_are_not_masked() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(dir.path(), AuditSettings::default()).unwrap();
    let plain = "first-class task-0f8b3c2e-1111-2222-3333-444455556666 sk-short bearer";
    let _held = recorder.begin(Call(plain.into())).await.unwrap();
    assert_eq!(records(dir.path())[0]["arguments"], plain);
}

#[tokio::test]
async fn nobody_can_forge_break_or_reorder_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(dir.path(), AuditSettings::default()).unwrap();
    let evil = "a\n{\"index\":9}\r\x1b[2J\u{9b}2K\u{85}\u{2028}\u{2029}\u{202e}\u{2066}\u{7f}\u{0}\u{e0041}";
    let _held = recorder.begin(Call(evil.into())).await.unwrap();
    let text = text(dir.path());
    assert_eq!(text.lines().count(), 1);
    let bare = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(bare) && text.is_ascii(), "{text}");
    assert_eq!(records(dir.path())[0]["arguments"], evil);
}

#[tokio::test]
async fn a_record_is_never_longer_than_60_kib_and_says_what_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(dir.path(), AuditSettings::default()).unwrap();
    let _held = recorder
        .begin(Call("é\u{1}".repeat(500_000)))
        .await
        .unwrap();
    let denied = |rules| Event::ToolDenied {
        tool: "x".repeat(100_000),
        effect: None,
        rules,
        arguments_sha256: String::new(),
    };
    for rules in [
        vec!["\u{202e}".repeat(9000); 100],
        vec![String::new(); 100_000],
    ] {
        recorder
            .note(Who::default(), Outcome::Denied, denied(rules))
            .await
            .unwrap();
    }
    for line in text(dir.path()).lines() {
        assert!(line.len() < 60 * 1024, "{}", line.len());
    }
    let all = records(dir.path());
    assert!(all[0]["arguments"].as_str().unwrap().ends_with("…[cut]"));
    assert_eq!(
        (&all[2]["event"], &all[2]["cut"]),
        (&"security.tool.denied".into(), &true.into())
    );
    recorder.close().await;
    assert_eq!(verify(dir.path()).unwrap().verdict, Verdict::Intact);
}

#[test]
fn a_record_can_be_written_without_a_runtime_and_the_files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("home/logs");
    let recorder = Recorder::open(&logs, AuditSettings::default()).unwrap();
    let event = Event::CredentialRemoved {
        provider: ProviderName::OpenAi,
    };
    assert_eq!(
        recorder
            .note_blocking(Who::default(), Outcome::Ok, event)
            .unwrap(),
        Some(0)
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&logs), 0o700);
    for entry in fs::read_dir(&logs).unwrap() {
        let entry = entry.unwrap();
        let expected = if entry.path().is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&entry.path()), expected, "{entry:?}");
    }
}

/// A file system of its own, so small that it gets full.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where mounting is not allowed; the in-process faults are tested everywhere.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=4m", "none"])
            .arg(dir.path());
        let done = mount.status().is_ok_and(|status| status.success());
        done.then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_stops_the_act_and_the_log_recovers_by_itself() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("not run: mounting a tmpfs is not allowed here");
        return;
    };
    let logs = disk.0.path().join("logs");
    let recorder = Recorder::open(&logs, AuditSettings::default()).unwrap();
    let (_, open) = recorder.begin(Call("first".into())).await.unwrap().act();
    let filler = disk.0.path().join("filler");
    // It may end early: the point is that nothing is left.
    let _ = fs::write(&filler, vec![1; 8 << 20]);
    let mut error = None;
    for _ in 0..50 {
        match recorder.begin(Call("x".repeat(3000))).await {
            Ok(begun) => drop(begun),
            Err(refused) => error = Some(refused),
        }
    }
    let error = error.unwrap();
    assert!(error.is_full(), "{error}");
    assert!(!recorder.writable());
    let full = records(&logs)
        .into_iter()
        .filter(|r| r["event"] == "audit.full");
    assert_eq!(full.count(), 1, "the reserve holds the record that says so");
    // The end of what was done before is not lost for it.
    open.close(Outcome::Ok, ended(None));
    recorder.flush().await;
    fs::remove_file(&filler).unwrap();
    // Nobody asks, and yet it recovers.
    while !recorder.writable() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let again = recorder.begin(Call("again".into())).await.unwrap();
    assert!(again.index().is_some());
    drop(again);
    recorder.close().await;
    assert_eq!(verify(&logs).unwrap().verdict, Verdict::Intact);
    let all = records(&logs);
    let outage = all.iter().find(|r| r["event"] == "audit.outage").unwrap();
    assert!(outage["refused"].as_u64().unwrap() > 0, "{outage}");
    assert!(
        all.iter()
            .any(|r| r["event"] == "tool.end" && r["begin"] == 0)
    );
}

#[tokio::test]
async fn many_callers_at_once_get_records_of_their_own_in_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let settings = AuditSettings {
        max_segment_bytes: 1,
        ..AuditSettings::default()
    };
    let recorder = Recorder::open(dir.path(), settings).unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..64 {
        let recorder = recorder.clone();
        callers.spawn(async move {
            let mut mine = Vec::new();
            for at in 0..20 {
                let call = Call(format!("{caller}/{at} {}", "x".repeat(400)));
                let (_, open) = recorder.begin(call).await.unwrap().act();
                mine.push(open.index().unwrap());
                open.close(Outcome::Ok, ended(None));
            }
            mine
        });
    }
    let mut indices: Vec<u64> = callers.join_all().await.concat();
    drop(recorder);
    let count = indices.len();
    indices.sort_unstable();
    indices.dedup();
    assert_eq!((count, indices.len()), (1280, 1280));
    let found = verify(dir.path()).unwrap();
    assert_eq!(found.verdict, Verdict::Intact);
    assert!(found.segments > 1);
}

#[tokio::test]
async fn a_log_damaged_under_a_running_gateway_stops_what_must_be_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(dir.path(), AuditSettings::default()).unwrap();
    let _ = recorder.begin(Call("{}".into())).await.unwrap();
    recorder.flush().await;
    let segment = dir.path().join("audit-00000000000000000000.jsonl");
    fs::write(&segment, "").unwrap();
    let refused = recorder.begin(Call("{}".into())).await.unwrap_err();
    assert!(matches!(refused, NotRecorded::Failed(_)), "{refused}");
    assert!(!recorder.writable());
    assert_eq!(fs::read(&segment).unwrap(), b"");
}

#[tokio::test]
async fn a_log_that_hangs_is_given_up_and_what_it_still_wrote_is_closed_as_abandoned() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(dir.path(), AuditSettings::default()).unwrap();
    // As a process would that hangs in the middle of a write.
    let lock = fs::File::open(dir.path().join(".lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (in_flight, queued) = tokio::join!(
        recorder.begin(Call("in flight".into())),
        recorder.begin(Call("queued".into())),
    );
    assert!(
        matches!(in_flight, Err(NotRecorded::TimedOut)),
        "{in_flight:?}"
    );
    assert!(matches!(queued, Err(NotRecorded::TimedOut)), "{queued:?}");
    // The writer began a moment after its callers, so it is seen to hang a moment after them.
    let patience = std::time::Instant::now() + DEADLINE;
    while recorder.writable() {
        assert!(
            std::time::Instant::now() < patience,
            "a hanging log counts as writable"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(text(dir.path()), "");
    drop(lock);
    recorder.flush().await;
    recorder.flush().await;
    assert!(recorder.writable());
    let told = story(dir.path());
    let begins = told.iter().filter(|t| *t == "tool.begin begin").count();
    let ends = told.iter().filter(|t| *t == "tool.begin abandoned").count();
    assert_eq!((begins, told.len()), (ends, begins + ends), "{told:?}");
}

#[test]
fn a_tail_shows_every_record_once_while_segments_change() {
    let dir = tempfile::tempdir().unwrap();
    let settings = AuditSettings {
        max_segment_bytes: 1,
        ..AuditSettings::default()
    };
    let recorder = Recorder::open(dir.path(), settings).unwrap();
    let write = |count: u32| {
        for at in 0..count {
            let event = stop(&format!("{at} {}", "x".repeat(8000)));
            recorder.note_later(Who::default(), Outcome::Ok, event);
        }
        recorder
            .note_blocking(Who::default(), Outcome::Ok, stop("last"))
            .unwrap();
    };
    write(100);
    let before = text(dir.path()).lines().count();
    let (_, newest) = Tail::open(dir.path(), 40).unwrap();
    let kept = text(dir.path());
    let lines: Vec<&str> = kept.lines().collect();
    assert_eq!(newest, lines[before - 40..]);

    let (mut tail, none) = Tail::open(dir.path(), 0).unwrap();
    assert_eq!(none, Vec::<String>::new());
    let seen = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(150));
        let mut seen = Vec::new();
        while !writer.is_finished() {
            seen.append(&mut tail.more().unwrap());
        }
        seen.append(&mut tail.more().unwrap());
        seen
    });
    let kept = text(dir.path());
    let lines: Vec<&str> = kept.lines().collect();
    assert_eq!(seen.len(), lines.len() - before);
    assert_eq!(seen, lines[before..]);
}

/// An opening reads the end of the log only; a gateway lets the rest be read while it runs.
#[test]
fn a_signed_record_that_was_changed_locks_a_log_that_is_checked_and_only_that() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Recorder::open(dir.path(), AuditSettings::default()).unwrap();
    let note = |recorder: &Recorder| recorder.note_blocking(Who::default(), Outcome::Ok, stop("x"));
    let first = open();
    for _ in 0..700 {
        note(&first).unwrap();
    }
    drop(first);

    let sound = open();
    sound.check_what_stands().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    note(&sound).unwrap();
    assert!(sound.writable());
    drop(sound);

    let segment = dir.path().join("audit-00000000000000000000.jsonl");
    let mut bytes = fs::read(&segment).unwrap();
    let at = memchr::memmem::find(&bytes, b"\"index\":200,").unwrap() + 40;
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    // A short command goes on: it takes no time to read it all, and changes nothing that is signed.
    note(&open()).unwrap();
    let damaged = open();
    damaged.check_what_stands().unwrap();
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    while damaged.writable() && std::time::Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(10));
    }
    let refused = note(&damaged).unwrap_err();
    assert!(refused.to_string().contains("record 200"), "{refused}");
    assert!(!damaged.writable());
    drop(damaged);
    let found = verify(dir.path()).unwrap().verdict;
    assert!(
        matches!(found, Verdict::Tampered { index: 200, .. }),
        "{found:?}"
    );
}
