//! Random damage to a log: both verifiers find the same, whatever it is.

use crate::audit_tamper::three_segments;
use clawdbot_audit::Against;
use std::path::PathBuf;
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
    let (len, what) = (bytes.len().max(1), dice.roll(8));
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
        _ => bytes.extend_from_slice(&vec![b'x'; 61_440]),
    }
    std::fs::write(path, bytes).unwrap();
    format!("{what} at {from}..{to} of {}", path.display())
}

fn spoil_at_random(rounds: usize) {
    let home = three_segments();
    let (logs, mut judges, mut dice) = (home.path().join("logs"), Judges::new(), Dice(0x5eed_1234));
    let intact = judges.agree("intact", &logs);
    let (mut files, mut seen) = (segments(&logs), [0; 5]);
    files.extend([logs.join("checkpoint"), logs.join("epochs")]);
    let good: Vec<_> = files
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    for round in 0..rounds {
        let times = 1 + dice.roll(3);
        let done: Vec<_> = (0..times).map(|_| spoil(&mut dice, &files)).collect();
        let what = format!("round {round}: {done:?}");
        let same = files
            .iter()
            .zip(&good)
            .all(|(path, good)| std::fs::read(path).unwrap() == *good);
        let copy = dice.roll(2) == 1;
        let against = Against {
            copy,
            ..Against::default()
        };
        let found = judges.agree_against(&what, &logs, &against);
        seen[usize::try_from(found.code).unwrap()] += 1;
        // Zeros around a checkpoint are what a power cut leaves there: nothing is changed by them.
        let padded = std::fs::read(&files[3]).unwrap();
        let padding =
            padded.starts_with(&good[3]) && done.iter().all(|d| d.ends_with("checkpoint"));
        assert!(found != intact || same || padding, "{what}");
        for (path, good) in files.iter().zip(&good) {
            std::fs::write(path, good).unwrap();
        }
    }
    assert!(
        seen[1..].iter().all(|count| *count > 0),
        "each verdict came up: {seen:?}"
    );
}

#[test]
fn the_verifiers_agree_on_whatever_is_done_at_random_and_miss_none_of_it() {
    spoil_at_random(400);
}

#[test]
#[ignore = "minutes"]
fn the_verifiers_agree_on_ten_thousand_random_changes() {
    spoil_at_random(10_000);
}
