//! A process that dies, or is told of an error, at any one of its calls to the system: what it had done
//! is on record, and the next one goes on.
//!
//! strace names the point: the n-th call of that kind on that file. The workload is the worst there is: a
//! command that changes a setting, on a log whose newest segment is full and whose oldest must go.

use clawdbot_audit::{AuditSettings, Places, Recorder};
use clawdbot_domain::{Event, Outcome, Who};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use testkit::audit::segments;
use testkit::disk::tool;
use testkit::{Home, Judges};

/// Everything that changes a disk, and opening.
const CALLS: &str =
    "openat,write,pwrite64,ftruncate,fallocate,fdatasync,fsync,syncfs,rename,unlink,mkdir";

/// `gateway.audit.maxLogSize` of one megabyte.
const SEGMENT: u64 = 1_000_000;

/// A home to start from, again and again at the same place.
struct Template {
    home: Home,
    kept: tempfile::TempDir,
}

const PARTS: [&str; 3] = ["logs", "config", "secrets"];

impl Template {
    fn new() -> Self {
        let home = Home::new();
        home.set("gateway.audit.maxLogSize", "1");
        home.set("gateway.audit.maxLogFiles", "2");
        home.set("gateway.audit.minAge", "0");
        fill(home.path());
        let kept = tempfile::tempdir().unwrap();
        for part in PARTS {
            copy(&home.path().join(part), kept.path());
        }
        Self { home, kept }
    }

    fn put_back(&self) {
        for part in PARTS {
            std::fs::remove_dir_all(self.home.path().join(part)).unwrap();
            copy(&self.kept.path().join(part), self.home.path());
        }
    }

    fn logs(&self) -> PathBuf {
        self.home.path().join("logs")
    }

    /// The text of the settings file.
    fn settings(&self) -> String {
        std::fs::read_to_string(self.home.path().join("config/gateway.json")).unwrap()
    }

    /// The change, under strace with these arguments; its exit code, -1 when it was killed.
    fn change(&self, strace: &[&str]) -> i32 {
        let direct = self.home.command();
        let mut command = Command::new("strace");
        command.args(["-f", "-qqq"]).args(strace);
        command.arg(direct.get_program()).args(direct.get_args());
        command.args(["config", "set", "gateway.port", "18802"]);
        let ran = command
            .output()
            .expect("strace is installed; ./test does it");
        ran.status.code().unwrap_or(-1)
    }

    /// Whether a begin record of the change is in the log.
    fn is_on_record(&self) -> bool {
        let records = self.home.audit().of("security.config.changed");
        records.iter().any(|record| record.text("to") == "18802")
    }
}

fn copy(from: &Path, to: &Path) {
    tool("coreutils", Command::new("cp").arg("-a").arg(from).arg(to));
}

/// Fills the log of a home up to where the next record does not fit any more.
fn fill(home: &Path) {
    let settings = AuditSettings {
        max_segment_bytes: SEGMENT,
        max_segments: 2,
        min_age: Duration::ZERO,
        ..AuditSettings::default()
    };
    let (logs, key) = (home.join("logs"), home.join("secrets/audit.key"));
    let register = None;
    let recorder = Recorder::open_at(&logs, &Places { key, register }, settings).unwrap();
    // What a record has besides its text, and less than any record has.
    let (around, least) = (420, 300);
    loop {
        let segments = segments(&logs);
        let newest = std::fs::metadata(segments.last().unwrap()).unwrap().len();
        let room = SEGMENT - newest;
        let first_gone = !segments[0].ends_with("audit-00000000000000000000.jsonl");
        if room < least && first_gone && segments.len() == 2 {
            return;
        }
        let length = room.saturating_sub(around).clamp(1, 40_000);
        let reason = "x".repeat(usize::try_from(length).unwrap());
        let event = Event::GatewayStop { reason };
        let noted = recorder.note_blocking(Who::default(), Outcome::Ok, event);
        noted.unwrap();
    }
}

/// The calls that the change makes on files of its home: what kind, on which file.
fn points(template: &Template) -> BTreeSet<(String, String)> {
    let trace = template.kept.path().join("trace");
    let only = format!("trace={CALLS}");
    let code = template.change(&["-y", "-o", trace.to_str().unwrap(), "-e", &only]);
    assert_eq!(code, 0, "the control: nothing is done to it");
    assert!(template.is_on_record());
    let home = template.home.path().to_str().unwrap();
    let text = std::fs::read_to_string(&trace).unwrap();
    let calls = text.lines().filter_map(|line| {
        // `PID call(3</home/…>, …` or `PID call(AT_FDCWD</…>, "/home/…", …`
        let (_, call) = line.split_once(' ')?;
        let (name, arguments) = call.trim().split_once('(')?;
        let at = arguments.find(home)?;
        let path: String = arguments[at..]
            .chars()
            .take_while(|c| !"\">".contains(*c))
            .collect();
        Some((name.to_owned(), path))
    });
    calls.collect()
}

/// Does this to every single call, and holds the home to what it promises after each. Returns how many
/// calls there were, and how many changes went through all the same.
fn at_every_point(inject: &str) -> (usize, usize) {
    let template = Template::new();
    let (mut judges, mut done, mut through) = (Judges::new(), 0, 0);
    let whole = judges.agree("the template", &template.logs());
    assert_eq!(whole.code, 0);
    let before = template.settings();
    let points = points(&template);
    assert!(points.len() > 25, "{points:?}");
    for (call, path) in points {
        for nth in 1.. {
            template.put_back();
            let what = format!("{inject} at {call} {nth} of {path}");
            let inject = format!("inject={call}:{inject}:when={nth}");
            let trace = template.kept.path().join("trace");
            let trace = trace.to_str().unwrap();
            let code = template.change(&[
                "-o",
                trace,
                "-P",
                &path,
                "-e",
                &format!("trace={call}"),
                "-e",
                &inject,
            ]);
            let traced = std::fs::read_to_string(trace).unwrap();
            let struck = traced.contains("INJECTED") || traced.contains("killed by SIGKILL");
            let left = judges.agree(&what, &template.logs());
            assert!([0, 1].contains(&left.code), "{what}: {left:?}");
            assert!(
                left.index >= whole.index,
                "{what}: records are gone: {left:?}"
            );
            let changed = template.settings() != before;
            assert!(
                !changed || template.is_on_record(),
                "{what}: changed without a record"
            );
            if code == 0 {
                assert!(changed, "{what}: it said that it did it");
                through += usize::from(struck);
            }
            template.home.set("gateway.port", "18803");
            let after = judges.agree(&what, &template.logs());
            assert_eq!(after.code, 0, "{what}: the next command goes on");
            assert!(segments(&template.logs()).len() <= 3, "{what}");
            if !struck {
                break;
            }
            done += 1;
        }
    }
    (done, through)
}

#[test]
fn killed_at_any_call_a_command_leaves_a_log_that_goes_on_and_no_act_without_a_record() {
    let (points, _) = at_every_point("signal=SIGKILL");
    println!("killed at {points} calls");
    assert!(points > 40, "{points}");
}

#[test]
#[ignore = "minutes: each error at each call"]
fn told_of_any_error_at_any_call_a_command_does_nothing_unwritten() {
    for error in ["EIO", "ENOSPC", "EROFS", "EACCES", "EDQUOT"] {
        let (points, through) = at_every_point(&format!("error={error}"));
        println!("{error} at {points} calls; {through} changes went through all the same");
        assert!(points > 40 && through < points, "{points} {through}");
    }
}
