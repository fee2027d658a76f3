//! A thief of the running key re-seals the past: journald's second failure.

use super::CHECKPOINT;
use crate::error::{AuditError, Fault};
use crate::keys::{self, EPOCHS, Signer};
use crate::line::{Entry, LineWriter, Parts};
use crate::log::{Limits, Log};
use crate::redact::Redactor;
use crate::seal::Places;
use crate::segment::Segment;
use crate::tiles;
use crate::tree::{Hash, Tree};
use crate::verify::{Verdict, verify};
use clawdbot_domain::Event;
use std::fs;
use std::path::Path;
use std::time::Duration;

const LIMITS: Limits = Limits {
    segment_bytes: 1 << 20,
    segments: 10,
    min_age: Duration::ZERO,
};

fn entry(reason: String) -> Entry {
    Entry::own(Event::GatewayStop { reason })
}

/// Lets the running epoch be so old that the next checkpoint begins another.
fn grow_old(folder: &Path) {
    let file = fs::File::options()
        .write(true)
        .open(folder.join(EPOCHS))
        .unwrap();
    let then = std::time::SystemTime::now() - Duration::from_secs(2 * 60 * 60);
    file.set_modified(then).unwrap();
}

/// Thirty records under three keys, ten each; the third is the one in the file.
fn sealed(folder: &Path) -> Signer {
    for epoch in 1..=3 {
        let mut log = Log::open(folder, &Places::within(folder)).unwrap();
        grow_old(folder);
        for at in 0..10 {
            let mut entries = [entry(format!("record {at}"))];
            log.append(&mut entries, LIMITS, &Redactor::new()).unwrap();
        }
        log.publish(true).unwrap();
        let signer = Signer::load(&Places::within(folder).key).unwrap();
        assert_eq!(signer.epoch, epoch);
    }
    assert_eq!(verify(folder).unwrap().verdict, Verdict::Intact);
    Signer::load(&Places::within(folder).key).unwrap()
}

/// Writes the log anew from that record on, each line linked to the one before; returns the root.
fn rewrite(folder: &Path, from: usize) -> Hash {
    let path = Segment::at(folder, 0).path;
    let text = fs::read_to_string(&path).unwrap();
    let (mut buffer, mut tree, mut tip) = (Vec::new(), Tree::default(), None);
    let mut lines = LineWriter::new();
    for (at, line) in text.lines().enumerate() {
        if at < from {
            buffer.extend_from_slice(line.as_bytes());
            buffer.push(b'\n');
            tip = Parts::of(line.as_bytes()).unwrap().tip_after().ok();
        } else {
            let mut forged = entry("nothing happened".to_owned());
            let tip = tip.as_mut().unwrap();
            lines.write(&mut forged, tip, &Redactor::new(), &mut buffer);
        }
        tree.push(tip.as_ref().unwrap().leaf());
    }
    assert_eq!(tree.size(), 30);
    fs::write(path, buffer).unwrap();
    tree.root()
}

fn seal(folder: &Path, signer: &Signer, size: u64, root: Hash) {
    fs::write(folder.join(CHECKPOINT), signer.sign(size, root).text).unwrap();
}

#[track_caller]
fn tampered(folder: &Path) -> (u64, String) {
    match verify(folder).unwrap().verdict {
        Verdict::Tampered { index, why, .. } => (index, why),
        other @ (Verdict::Intact | Verdict::Torn { .. } | Verdict::RolledBack { .. }) => {
            panic!("{other:?}")
        }
    }
}

#[test]
fn records_of_an_older_key_sealed_again_with_the_newest_are_found() {
    for (from, proven) in [(3, 0), (12, 10), (25, 20)] {
        let dir = tempfile::tempdir().unwrap();
        let signer = sealed(dir.path());
        let root = rewrite(dir.path(), from);
        seal(dir.path(), &signer, 30, root);
        let (index, why) = tampered(dir.path());
        assert_eq!(index, proven, "record {from}: {why}");
    }
}

#[test]
fn the_thief_of_a_key_cannot_write_its_own_beginning_anew() {
    let dir = tempfile::tempdir().unwrap();
    let signer = sealed(dir.path());
    let root = rewrite(dir.path(), 25);
    seal(dir.path(), &signer, 30, root);
    // The line of epoch 3 says what was there before; only the key of epoch 2 can sign another.
    let text = fs::read_to_string(dir.path().join(EPOCHS)).unwrap();
    let older: usize = text.split_inclusive('\n').take(3).map(str::len).sum();
    let forged = signer.begin(&signer, 30, root).unwrap();
    keys::append(dir.path(), older as u64, &forged).unwrap();
    let (_, why) = tampered(dir.path());
    assert!(why.contains("epoch 3"), "{why}");
}

#[test]
fn a_checkpoint_of_an_older_size_by_the_newest_key_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let signer = sealed(dir.path());
    // Even of records nobody touched: each size has its own key.
    let text = fs::read_to_string(Segment::at(dir.path(), 0).path).unwrap();
    let mut tree = Tree::default();
    for line in text.lines().take(15) {
        tree.push(
            Parts::of(line.as_bytes())
                .unwrap()
                .tip_after()
                .unwrap()
                .leaf(),
        );
    }
    seal(dir.path(), &signer, 15, tree.root());
    let (index, why) = tampered(dir.path());
    assert_eq!(
        (index, why.as_str()),
        (15, "it is signed by the key of another epoch")
    );
}

#[test]
fn an_opening_goes_on_with_the_key_that_runs_and_begins_another_after_an_hour() {
    let dir = tempfile::tempdir().unwrap();
    let places = Places::within(dir.path());
    let key = || fs::read(&places.key).unwrap();
    let run = |from: usize| {
        let mut log = Log::open(dir.path(), &places).unwrap();
        for at in from..from + 3 {
            let mut entries = [entry(format!("record {at}"))];
            log.append(&mut entries, LIMITS, &Redactor::new()).unwrap();
        }
        log.publish(true).unwrap();
    };
    run(0);
    let first = key();
    for opening in 1..5 {
        run(3 * opening);
    }
    assert_eq!(key(), first, "five openings, one key");
    grow_old(dir.path());
    run(15);
    let second = key();
    assert_ne!(second, first, "the older key is erased");
    run(18);
    assert_eq!(key(), second);
    // A file from the future tells nothing: that counts as an hour.
    let file = fs::File::options()
        .write(true)
        .open(dir.path().join(EPOCHS))
        .unwrap();
    file.set_modified(std::time::SystemTime::now() + Duration::from_secs(999))
        .unwrap();
    run(21);
    assert_ne!(key(), second);
    assert_eq!(verify(dir.path()).unwrap().verdict, Verdict::Intact);
}

#[test]
fn two_processes_take_over_the_key_from_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let places = Places::within(dir.path());
    let mut logs = [
        Log::open(dir.path(), &places).unwrap(),
        Log::open(dir.path(), &places).unwrap(),
    ];
    for turn in 0..12_usize {
        let log = &mut logs[turn / 2 % 2];
        let mut entries = [entry(format!("turn {turn}"))];
        log.append(&mut entries, LIMITS, &Redactor::new()).unwrap();
        if turn % 3 == 0 {
            grow_old(dir.path());
        }
        log.publish(true).unwrap();
        assert_eq!(
            verify(dir.path()).unwrap().verdict,
            Verdict::Intact,
            "{turn}"
        );
    }
    assert_eq!(Signer::load(&places.key).unwrap().epoch, 4);
}

/// The log goes on, whatever is missing of what was derived from it.
#[test]
fn an_opening_finds_the_same_tree_whichever_hashes_are_left() {
    let whole = tempfile::tempdir().unwrap();
    let mut log = Log::open(whole.path(), &Places::within(whole.path())).unwrap();
    for batch in 0..9 {
        let mut entries: Vec<_> = (0..333).map(|at| entry(format!("{batch} {at}"))).collect();
        let mut done = 0;
        while done < entries.len() {
            let small = Limits {
                segment_bytes: 1 << 18,
                ..LIMITS
            };
            done += log
                .append(&mut entries[done..], small, &Redactor::new())
                .unwrap();
        }
        if batch == 7 {
            log.publish(true).unwrap();
        }
    }
    // Records after the newest checkpoint, more than a tile of them, and no tile of those.
    drop(log);
    let all = ["tile/0/010.p", "tile/0", "tile/1", "tile"];
    for lost in [&all[..0], &all[..1], &all[1..2], &all[2..3], &all[3..]] {
        let dir = tempfile::tempdir().unwrap();
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .arg(format!("{}/.", whole.path().display()))
            .arg(dir.path())
            .status();
        assert!(copied.unwrap().success());
        for name in lost {
            fs::remove_dir_all(dir.path().join(name)).unwrap();
        }
        let mut log = Log::open(dir.path(), &Places::within(dir.path())).unwrap();
        log.append(&mut [entry("on".into())], LIMITS, &Redactor::new())
            .unwrap();
        log.publish(true).unwrap();
        // The root that is signed now is the one over all records, or this would say so.
        assert_eq!(
            verify(dir.path()).unwrap().verdict,
            Verdict::Intact,
            "{lost:?}"
        );
    }
}

#[test]
fn a_log_whose_last_signed_record_was_written_anew_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let signer = sealed(dir.path());
    assert_eq!(signer.epoch, 3);
    // Its hashes are all right; the root that was signed is of another record.
    rewrite(dir.path(), 29);
    let refused = Log::open(dir.path(), &Places::within(dir.path()))
        .err()
        .unwrap();
    let AuditError::Corrupt { index, fault, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!((*index, fault), (29, &Fault::Unsigned));
}

#[test]
fn hashes_that_a_power_cut_took_are_made_again_before_their_records_go() {
    let dir = tempfile::tempdir().unwrap();
    let small = Limits {
        segment_bytes: 1 << 16,
        segments: 100,
        ..LIMITS
    };
    let mut log = Log::open(dir.path(), &Places::within(dir.path())).unwrap();
    let more = |log: &mut Log, limits| {
        let mut entries: Vec<_> = (0..300).map(|at| entry(format!("{at}"))).collect();
        let mut done = 0;
        while done < entries.len() {
            done += log
                .append(&mut entries[done..], limits, &Redactor::new())
                .unwrap();
        }
        log.publish(true).unwrap();
    };
    for _ in 0..4 {
        more(&mut log, small);
    }
    // One is gone, one has a block that never arrived, one has other bytes.
    let tile = |number: u64| dir.path().join(format!("tile/0/{number:03}"));
    let good = fs::read(tile(1)).unwrap();
    fs::remove_file(tile(0)).unwrap();
    fs::write(tile(1), [&good[..4096], &[0; 4096]].concat()).unwrap();
    fs::write(tile(2), &good).unwrap();
    more(
        &mut log,
        Limits {
            segments: 2,
            ..small
        },
    );
    let first = Segment::list(dir.path()).unwrap()[0].first;
    assert!(first > 3 * 256, "{first}");
    assert!(tiles::vouched(dir.path(), &log.seal().tree, 0, first));
    for number in [0, 2] {
        let (good, zeros) = (fs::read(tile(number)).unwrap(), [0; 8192]);
        fs::write(tile(number), zeros).unwrap();
        assert!(!tiles::vouched(dir.path(), &log.seal().tree, 0, first));
        fs::write(tile(number), good).unwrap();
    }
    // Without those hashes no root comes out.
    assert_eq!(verify(dir.path()).unwrap().verdict, Verdict::Intact);
    assert_eq!(fs::read(tile(1)).unwrap(), good);
}
