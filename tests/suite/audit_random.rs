//! Random damage to a log: both verifiers find the same, whatever it is.

use crate::audit_pruned::pruned;
use crate::audit_tamper::three_segments;
use clawdbot_audit::Against;
use std::path::{Path, PathBuf};
use testkit::Judges;
use testkit::audit::segments;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

/// Does one random thing to one random file.
fn spoil(dice: &mut Dice, files: &[PathBuf]) -> String {
    let path = &files[dice.roll(files.len())];
    let Ok(mut bytes) = std::fs::read(path) else {
        return "nothing".into();
    };
    let (len, what) = (bytes.len().max(1), dice.roll(12));
    let (from, to) = (dice.roll(len), dice.roll(len));
    let (from, to) = (from.min(to), from.max(to).min(bytes.len()));
    match what {
        0 => bytes.truncate(from),
        1 => drop(bytes.drain(from..to)),
        2 => bytes.extend_from_within(from..to),
        3 => bytes[from..to].fill(0),
        4 => bytes.extend_from_slice(&vec![0; 1 + dice.roll(9000)]),
        5 => bytes.insert(from, b'\n'),
        6 => bytes.clear(),
        7 => bytes.extend_from_slice(&vec![b'x'; 61_440]),
        8 => drop(bytes.splice(from..from, vec![b'x'; 61_440])),
        // A piece of one file in another.
        9 => {
            let other = std::fs::read(&files[dice.roll(files.len())]).unwrap_or_default();
            let piece = dice.roll(other.len().max(1));
            let piece = piece..(piece + 32 * (1 + dice.roll(30))).min(other.len());
            drop(bytes.splice(from..from, other[piece].iter().copied()));
        }
        // A block that never reached the disk.
        10 => {
            let block = from / 32 * 32;
            let end = (block + 32).min(bytes.len());
            bytes[block..end].fill(0);
        }
        _ => {
            std::fs::remove_file(path).unwrap();
            return format!("{} removed", path.display());
        }
    }
    std::fs::write(path, bytes).unwrap();
    format!("{what} at {from}..{to} of {}", path.display())
}

/// What is derived from records that stand, and padding that a power cut leaves, is no damage.
fn harmless(done: &[String], files: &[PathBuf], good: &[Vec<u8>]) -> bool {
    let padded = files.iter().zip(good).all(|(path, good)| {
        let now = std::fs::read(path).unwrap_or_default();
        let padding = path.ends_with("checkpoint")
            && now
                .strip_prefix(good.as_slice())
                .is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
        now == *good || padding
    });
    padded || done.iter().all(|done| done.contains("/tile/"))
}

fn spoil_at_random(logs: &Path, rounds: usize, codes: &[usize]) {
    let (mut judges, mut dice) = (Judges::new(), Dice(0x5eed_1234));
    let intact = judges.agree("intact", logs);
    let (mut files, mut seen) = (segments(logs), [0; 5]);
    files.extend([logs.join("checkpoint"), logs.join("epochs")]);
    let tiles = std::fs::read_dir(logs.join("tile/0")).unwrap();
    let tiles = tiles.map(|tile| tile.unwrap().path());
    files.extend(tiles.filter(|tile| tile.is_file()));
    let good: Vec<_> = files
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    for round in 0..rounds {
        let harms = 1 + dice.roll(3);
        let done: Vec<_> = (0..harms).map(|_| spoil(&mut dice, &files)).collect();
        let what = format!("round {round}: {done:?}");
        let copy = dice.roll(2) == 1;
        let against = Against {
            copy,
            ..Against::default()
        };
        let found = judges.agree_against(&what, logs, &against);
        seen[usize::try_from(found.code).unwrap()] += 1;
        assert!(found != intact || harmless(&done, &files, &good), "{what}");
        for (path, good) in files.iter().zip(&good) {
            std::fs::write(path, good).unwrap();
        }
    }
    assert!(
        codes.iter().all(|code| seen[*code] > 0),
        "each verdict came up: {seen:?}"
    );
}

#[test]
fn the_verifiers_agree_on_whatever_is_done_at_random_and_miss_none_of_it() {
    let home = three_segments();
    spoil_at_random(&home.path().join("logs"), 400, &[1, 2, 3, 4]);
}

#[test]
fn they_agree_on_a_log_of_which_only_the_hashes_are_left_for_the_most_part() {
    let (_dir, logs) = pruned();
    spoil_at_random(&logs, 120, &[2, 3]);
}

#[test]
#[ignore = "minutes"]
fn the_verifiers_agree_on_ten_thousand_random_changes() {
    let home = three_segments();
    spoil_at_random(&home.path().join("logs"), 10_000, &[1, 2, 3, 4]);
    let (_dir, logs) = pruned();
    spoil_at_random(&logs, 2_000, &[1, 2, 3]);
}

#[test]
fn a_copy_with_a_link_or_a_pipe_in_the_place_of_records_is_unreadable_to_both() {
    let (_dir, logs) = pruned();
    let newest = segments(&logs).pop().unwrap();
    let moved = logs.join("moved");
    std::fs::rename(&newest, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &newest).unwrap();
    let mut judges = Judges::new();
    assert_eq!(judges.agree("a link", &logs).code, 2);
    std::fs::remove_file(&newest).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&newest).status();
    assert!(made.unwrap().success());
    assert_eq!(judges.agree("a pipe", &logs).code, 2);
}
