//! A thief of the running key re-seals the past: journald's second failure.

use super::CHECKPOINT;
use crate::keys::{self, EPOCHS, Signer};
use crate::line::{Entry, LineWriter, Parts};
use crate::log::{Limits, Log};
use crate::redact::Redactor;
use crate::seal::Places;
use crate::segment::Segment;
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

/// Thirty records under three keys, ten each; the third is the one in the file.
fn sealed(folder: &Path) -> Signer {
    for epoch in 1..=3 {
        let mut log = Log::open(folder, &Places::within(folder)).unwrap();
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
