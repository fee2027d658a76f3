//! Several processes, and processes that die, on one log. The children are this very test binary.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail loudly as the tests do"
)]

use clawdbot_audit::{AuditSettings, Recorder, Verdict, verify};
use clawdbot_domain::{Event, Outcome, Who};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

const FOLDER: &str = "CLAWDBOT_TEST_LOG";

/// Four threads that write as fast as they can, each telling of a record only once it is durable.
#[test]
#[ignore = "the child of the other tests"]
fn child_writer() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let settings = AuditSettings {
        max_segment_bytes: 1,
        max_segments: 1000,
        ..AuditSettings::default()
    };
    let recorder = Recorder::open(Path::new(&folder), settings).unwrap();
    let out = Arc::new(Mutex::new(std::io::stdout()));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (recorder, out) = (recorder.clone(), Arc::clone(&out));
            scope.spawn(move || {
                for at in 0.. {
                    let said = format!("{}-{thread}-{at}-{}", std::process::id(), "x".repeat(500));
                    let reason = said.clone();
                    let event = Event::GatewayStop { reason };
                    let Ok(Some(index)) =
                        recorder.note_blocking(Who::default(), Outcome::Ok, event)
                    else {
                        return;
                    };
                    let mut out = out.lock().unwrap();
                    if writeln!(out, "ACK {index} {said}").is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writer", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Reads so many acknowledgements, kills the child, reads what else it told.
fn kill_after(mut child: Child, count: usize) -> Vec<(u64, String)> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = Vec::new();
    while let Some(Ok(line)) = lines.next() {
        if let Some((index, said)) = line.strip_prefix("ACK ").and_then(|l| l.split_once(' '))
            && said.ends_with("xx")
        {
            told.push((
                index.parse().unwrap(),
                said.trim_end_matches('x').to_owned(),
            ));
        }
        if told.len() == count {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    told
}

fn by_index(folder: &Path) -> BTreeMap<u64, String> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "jsonl") {
            for line in std::fs::read_to_string(path).unwrap().lines() {
                let record: serde_json::Value = serde_json::from_str(line).unwrap();
                let index = record["index"].as_u64().unwrap();
                let said = record["reason"].as_str().unwrap_or_default();
                assert!(
                    all.insert(index, said.to_owned()).is_none(),
                    "{index} twice"
                );
            }
        }
    }
    all
}

#[test]
fn killing_the_writer_in_the_middle_loses_no_acknowledged_record() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    for round in 0..30 {
        told.extend(kill_after(start(dir.path()), 1 + round * 7));
    }
    // Whatever the last one left torn is set aside by the next start.
    drop(Recorder::open(dir.path(), AuditSettings::default()).unwrap());
    assert_eq!(verify(dir.path()).unwrap().verdict, Verdict::Intact);
    let all = by_index(dir.path());
    assert!(told.len() > 3000, "{}", told.len());
    for (index, said) in told {
        assert!(
            all.get(&index).is_some_and(|kept| kept.starts_with(&said)),
            "{index} is lost"
        );
    }
}

#[test]
fn two_processes_at_once_write_one_chain_even_when_one_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (start(dir.path()), start(dir.path()));
    let told = std::thread::scope(|scope| {
        let one = scope.spawn(move || kill_after(one, 150));
        let mut told = kill_after(two, 400);
        told.append(&mut one.join().unwrap());
        told
    });
    drop(Recorder::open(dir.path(), AuditSettings::default()).unwrap());
    assert_eq!(verify(dir.path()).unwrap().verdict, Verdict::Intact);
    let all = by_index(dir.path());
    for (index, said) in told {
        assert!(
            all.get(&index).is_some_and(|kept| kept.starts_with(&said)),
            "{index} is lost"
        );
    }
}

/// Thirty records one after another, whatever becomes of them.
#[test]
#[ignore = "the child of the other tests"]
fn child_of_thirty() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let recorder = Recorder::open(Path::new(&folder), AuditSettings::default()).unwrap();
    let mut out = std::io::stdout();
    for at in 0..30 {
        let reason = format!("record {at}");
        let event = Event::GatewayStop { reason };
        let told = match recorder.note_blocking(Who::default(), Outcome::Ok, event) {
            Ok(_) => "ACK",
            Err(_) => "NO",
        };
        writeln!(out, "\n{told} record {at}").unwrap();
    }
}

/// What a kernel has done with pages it could not write is unknown: a second flush may say that all is well.
#[test]
fn a_descriptor_whose_flush_failed_is_never_flushed_again_and_the_log_goes_on() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("not run: there is no strace here");
        return;
    }
    // The first flushes make the keys; these are of the segment.
    for nth in [4, 5, 9, 20] {
        let dir = tempfile::tempdir().unwrap();
        let (logs, trace) = (dir.path().join("logs"), dir.path().join("trace"));
        let ran = Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=close,fdatasync,fsync"])
            .args(["-e", &format!("inject=fdatasync:error=EIO:when={nth}")])
            .arg("-o")
            .arg(&trace)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "child_of_thirty", "--ignored", "--nocapture"])
            .env(FOLDER, &logs)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        let told = |word: &str| -> Vec<&str> {
            said.lines()
                .filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
                .collect()
        };
        let (kept, refused) = (told("ACK"), told("NO"));
        assert_eq!((kept.len(), refused.len()), (29, 1), "flush {nth}: {said}");
        let all: Vec<String> = by_index(&logs).into_values().collect();
        assert!(
            kept.iter()
                .all(|record| all.iter().any(|one| one == record)),
            "flush {nth}"
        );
        assert!(!all.iter().any(|one| one == refused[0]), "flush {nth}");
        assert_eq!(
            verify(&logs).unwrap().verdict,
            Verdict::Intact,
            "flush {nth}"
        );
        assert_never_flushed_again(&std::fs::read_to_string(&trace).unwrap());
    }
}

fn assert_never_flushed_again(trace: &str) {
    let (mut failed, mut seen) = (None, 0);
    // A call may be told in two lines when threads take turns.
    let mut begun: BTreeMap<&str, u32> = BTreeMap::new();
    for line in trace.lines() {
        let thread = line.split(' ').next().unwrap();
        let number = |call: &str| {
            let rest = line.split_once(call)?.1;
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            rest[..end].parse::<u32>().ok()
        };
        if number("close(").is_some_and(|closed| failed == Some(closed)) {
            failed = None;
        }
        if let Some(flushed) = number("fdatasync(").or_else(|| number("fsync(")) {
            assert_ne!(failed, Some(flushed), "{line}");
            begun.insert(thread, flushed);
        }
        if line.contains("EIO") {
            failed = begun.get(thread).copied();
            seen += 1;
        }
    }
    assert_eq!(seen, 1, "the fault struck");
}
