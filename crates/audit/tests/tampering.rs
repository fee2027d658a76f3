//! What whoever owns the folder can do to it, and what verification says: journald's three failures
//! first.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail loudly as the tests do"
)]

use clawdbot_audit::{
    Against, AuditError, AuditSettings, Places, Recorder, Verdict, consistency, fsck, prove,
    root_key, verify, verify_against,
};
use clawdbot_domain::{Event, Outcome, Who};
use std::fs;
use std::path::{Path, PathBuf};

struct Kept {
    _dir: tempfile::TempDir,
    logs: PathBuf,
    places: Places,
}

/// A log with its key elsewhere and a register.
fn kept() -> Kept {
    let dir = tempfile::tempdir().unwrap();
    let register = dir.path().join("register");
    fs::write(&register, "").unwrap();
    let places = Places {
        key: dir.path().join("secrets/audit.key"),
        register: Some(register),
    };
    Kept {
        logs: dir.path().join("logs"),
        places,
        _dir: dir,
    }
}

impl Kept {
    /// Runs the log for so many records, as one process would.
    fn run(&self, records: usize) -> Result<(), AuditError> {
        let recorder = Recorder::open_at(&self.logs, &self.places, AuditSettings::default())?;
        for at in 0..records {
            let reason = format!("record {at}");
            let event = Event::GatewayStop { reason };
            recorder
                .note_blocking(Who::default(), Outcome::Ok, event)
                .unwrap();
        }
        Ok(())
    }

    fn against(&self, copy: bool) -> Against {
        Against {
            register: self.places.register.clone(),
            copy,
            ..Against::default()
        }
    }

    fn verdict(&self) -> Verdict {
        verify_against(&self.logs, &self.against(false), &mut |_, _| ())
            .unwrap()
            .verdict
    }

    fn segment(&self) -> PathBuf {
        self.logs.join("audit-00000000000000000000.jsonl")
    }

    fn keep_lines(&self, count: usize) {
        let text = fs::read_to_string(self.segment()).unwrap();
        let lines: String = text.split_inclusive('\n').take(count).collect();
        fs::write(self.segment(), lines).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_log_over_many_starts_is_intact_and_rests_on_its_first_key() {
    let kept = kept();
    for records in [3, 300, 1, 700] {
        kept.run(records).unwrap();
    }
    assert_eq!(kept.verdict(), Verdict::Intact);
    let key = Some(root_key(&kept.logs).unwrap());
    let against = Against {
        key,
        ..kept.against(true)
    };
    let found = verify_against(&kept.logs, &against, &mut |_, _| ()).unwrap();
    assert_eq!((found.verdict, found.records), (Verdict::Intact, 1004));
    assert!(
        !kept.logs.join(".key").exists(),
        "no private key lies with the log"
    );
}

#[test]
fn a_truncated_log_is_found_and_not_resumed() {
    let kept = kept();
    kept.run(20).unwrap();
    kept.keep_lines(15);
    assert!(matches!(
        kept.verdict(),
        Verdict::RolledBack {
            index: 15,
            known: 20,
            ..
        }
    ));
    let before = fs::read(kept.segment()).unwrap();
    let refused = kept.run(10).unwrap_err();
    assert!(
        matches!(refused, AuditError::Corrupt { index: 15, .. }),
        "{refused}"
    );
    assert_eq!(
        fs::read(kept.segment()).unwrap(),
        before,
        "nothing was touched"
    );
}

#[test]
fn a_folder_put_back_as_it_was_is_found_by_the_register_alone() {
    let kept = kept();
    kept.run(20).unwrap();
    let old = kept.logs.with_extension("old");
    copy(&kept.logs, &old);
    kept.run(5).unwrap();
    fs::remove_dir_all(&kept.logs).unwrap();
    copy(&old, &kept.logs);
    assert_eq!(
        verify(&kept.logs).unwrap().verdict,
        Verdict::Intact,
        "it is whole by itself"
    );
    assert!(matches!(
        kept.verdict(),
        Verdict::RolledBack {
            index: 20,
            known: 25,
            ..
        }
    ));
    let refused = kept.run(1).unwrap_err();
    let told = matches!(
        refused,
        AuditError::RolledBack { .. } | AuditError::Older { .. }
    );
    assert!(told, "{refused}");
}

#[test]
fn a_missing_register_stops_the_start() {
    let kept = kept();
    fs::remove_file(kept.places.register.as_ref().unwrap()).unwrap();
    assert!(matches!(kept.run(1).unwrap_err(), AuditError::Io { .. }));
}

#[test]
fn another_key_and_a_log_without_keys_are_refused() {
    let (kept, other) = (kept(), kept());
    kept.run(3).unwrap();
    other.run(3).unwrap();
    let key = Some(root_key(&other.logs).unwrap());
    let against = Against {
        key,
        ..Against::default()
    };
    let found = verify_against(&kept.logs, &against, &mut |_, _| ()).unwrap();
    assert!(matches!(found.verdict, Verdict::Tampered { .. }));
    // A checkpoint of another log, and one with any byte changed.
    let (path, good) = (
        kept.logs.join("checkpoint"),
        fs::read(kept.logs.join("checkpoint")).unwrap(),
    );
    fs::copy(other.logs.join("checkpoint"), &path).unwrap();
    assert!(matches!(kept.verdict(), Verdict::Tampered { .. }));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        assert_ne!(kept.verdict(), Verdict::Intact, "byte {at}");
    }
    fs::write(&path, good).unwrap();
    fs::remove_file(kept.logs.join("epochs")).unwrap();
    assert!(matches!(
        verify(&kept.logs).unwrap_err(),
        AuditError::Unsigned { .. }
    ));
    assert!(matches!(
        kept.run(1).unwrap_err(),
        AuditError::Unsigned { .. }
    ));
}

#[test]
fn any_changed_byte_of_the_public_keys_is_found() {
    let kept = kept();
    kept.run(3).unwrap();
    let path = kept.logs.join("epochs");
    // Old enough that the next checkpoint begins another epoch.
    let file = fs::File::options().write(true).open(&path).unwrap();
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 60 * 60);
    file.set_modified(then).unwrap();
    kept.run(3).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        let found = verify_against(&kept.logs, &kept.against(false), &mut |_, _| ());
        let intact = found.is_ok_and(|found| found.verdict == Verdict::Intact);
        // Without its last newline the last line looks torn, and its key is known from the line before.
        assert!(!intact || at + 1 == good.len(), "byte {at}");
    }
}

#[test]
fn a_copy_made_while_the_log_is_written_is_at_worst_torn() {
    let kept = kept();
    let logs = kept.logs.clone();
    let recorder = Recorder::open_at(&kept.logs, &kept.places, AuditSettings::default()).unwrap();
    for round in 0..20 {
        for at in 0..100 {
            let reason = format!("{round} {at}");
            recorder.note_later(Who::default(), Outcome::Ok, Event::GatewayStop { reason });
        }
        let to = logs.with_extension(format!("copy{round}"));
        copy(&logs, &to);
        let against = Against {
            copy: true,
            ..Against::default()
        };
        let found = verify_against(&to, &against, &mut |_, _| ()).unwrap();
        let fine = matches!(found.verdict, Verdict::Intact | Verdict::Torn { .. });
        assert!(fine, "{found:?}");
    }
}

#[test]
fn every_record_can_be_proven_and_lost_hashes_are_made_again() {
    let kept = kept();
    kept.run(300).unwrap();
    for index in [0, 1, 255, 256, 299] {
        let proof = prove(&kept.logs, index).unwrap();
        assert!(proof.starts_with(&format!("c2sp.org/tlog-proof@v1\nindex {index}\n")));
    }
    assert!(prove(&kept.logs, 300).is_err());
    assert_eq!(consistency(&kept.logs, 256, 256).unwrap().len(), 0);
    assert!(!consistency(&kept.logs, 7, 300).unwrap().is_empty());
    assert_eq!(fsck(&kept.logs, false).unwrap().wrong.len(), 0);
    fs::remove_file(kept.logs.join("tile/0/000")).unwrap();
    assert_eq!(fsck(&kept.logs, false).unwrap().wrong, ["tile/0/000"]);
    // The records it stands for are there, and give the same proof.
    let proof = prove(&kept.logs, 3).unwrap();
    assert!(fsck(&kept.logs, true).unwrap().repaired);
    assert_eq!(prove(&kept.logs, 3).unwrap(), proof);
    fs::remove_dir_all(kept.logs.join("tile")).unwrap();
    assert_eq!(prove(&kept.logs, 3).unwrap(), proof);
}

#[test]
fn a_log_cut_in_its_first_hour_does_not_look_whole_without_its_checkpoint() {
    let kept = kept();
    kept.run(20).unwrap();
    let verdict = || verify(&kept.logs).unwrap().verdict;
    assert_eq!(verdict(), Verdict::Intact);
    let all = fs::read_to_string(kept.segment()).unwrap();
    let ten: String = all.split_inclusive('\n').take(10).collect();
    for left in [all, ten] {
        fs::write(kept.segment(), left).unwrap();
        let _ = fs::remove_file(kept.logs.join("checkpoint"));
        let (segment, bytes) = ("checkpoint".into(), 0);
        assert_eq!(verdict(), Verdict::Torn { segment, bytes });
    }
}

#[test]
fn a_link_in_the_folder_leads_no_write_elsewhere_and_a_pipe_is_not_waited_for() {
    let kept = kept();
    kept.run(5).unwrap();
    let precious = kept.logs.with_file_name("precious");
    fs::write(&precious, "of the same owner").unwrap();
    // What a checkpoint is written to before it takes the place of the one before.
    std::os::unix::fs::symlink(&precious, kept.logs.join("checkpoint.new")).unwrap();
    let _ = kept.run(1);
    assert_eq!(fs::read_to_string(&precious).unwrap(), "of the same owner");
    fs::remove_file(kept.logs.join("checkpoint.new")).unwrap();
    // The segment itself, elsewhere: to go on would be to write there.
    let moved = kept.logs.with_file_name("moved");
    fs::rename(kept.segment(), &moved).unwrap();
    std::os::unix::fs::symlink(&moved, kept.segment()).unwrap();
    let before = fs::read(&moved).unwrap();
    assert!(kept.run(1).is_err());
    assert!(verify(&kept.logs).is_err());
    assert_eq!(fs::read(&moved).unwrap(), before);
    fs::remove_file(kept.segment()).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(kept.segment())
        .status();
    assert!(made.unwrap().success());
    assert!(verify(&kept.logs).is_err());
    assert!(kept.run(1).is_err());
}
