//! Pruned logs: what is gone stays provable, and nobody hides a loss behind it.

use clawdbot_audit::{AuditSettings, Places, Recorder};
use clawdbot_domain::{Event, Outcome, Who};
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::audit::segments;
use testkit::{Found, Judges};

fn found(code: i32, index: u64) -> Found {
    let index = Some(index);
    Found { code, index }
}

/// A log of two segments kept; those before them, with hundreds of records, were pruned.
pub(crate) fn pruned() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (logs, key) = (dir.path().join("logs"), dir.path().join("audit.key"));
    let settings = AuditSettings {
        max_segment_bytes: AuditSettings::MIN_SEGMENT_BYTES,
        max_segments: 2,
        min_age: Duration::ZERO,
        ..AuditSettings::default()
    };
    let register = None;
    let recorder = Recorder::open_at(&logs, &Places { key, register }, settings).unwrap();
    let reason = "long enough that a segment holds few of them; ".repeat(24);
    for _ in 0..1_100 {
        let reason = reason.clone();
        recorder.note_later(Who::default(), Outcome::Ok, Event::GatewayStop { reason });
    }
    drop(recorder);
    (dir, logs)
}

/// The first record kept.
fn first_kept(logs: &Path) -> u64 {
    let oldest = segments(logs).remove(0);
    let name = oldest.file_stem().unwrap().to_str().unwrap();
    name.strip_prefix("audit-").unwrap().parse().unwrap()
}

#[test]
fn a_pruned_log_is_whole_and_every_hash_of_what_was_pruned_counts() {
    let (_dir, logs) = pruned();
    let mut judges = Judges::new();
    let intact = judges.agree("pruned", &logs);
    assert_eq!(intact.code, 0);
    let first = usize::try_from(first_kept(&logs)).unwrap();
    assert!(first > 512, "{first} records were pruned");
    let tiles = std::fs::read_dir(logs.join("tile/0"))
        .unwrap()
        .map(|e| e.unwrap().path());
    let mut whole: Vec<_> = tiles.filter(|path| path.is_file()).collect();
    whole.sort();
    for (number, tile) in whole.iter().enumerate() {
        let good = std::fs::read(tile).unwrap();
        for at in (0..good.len()).step_by(167) {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(tile, bad).unwrap();
            let what = format!("byte {at} of tile {number}");
            let code = judges.agree(&what, &logs).code;
            let needed = number * 256 + at / 32 < first;
            assert_eq!(code, if needed { 3 } else { 0 }, "{what}");
        }
        let needed = number * 256 < first;
        let lost = if needed {
            found(3, number as u64 * 256)
        } else {
            intact.clone()
        };
        for how in ["gone", "short", "empty"] {
            match how {
                "gone" => std::fs::remove_file(tile).unwrap(),
                "short" => std::fs::write(tile, &good[..good.len() - 32]).unwrap(),
                _ => std::fs::write(tile, "").unwrap(),
            }
            assert_eq!(judges.agree(how, &logs), lost, "tile {number} {how}");
        }
        std::fs::write(tile, good).unwrap();
    }
    assert_eq!(judges.agree("put back", &logs), intact);
}

#[test]
fn nobody_hides_behind_pruning() {
    let (_dir, logs) = pruned();
    let mut judges = Judges::new();
    let (intact, first) = (judges.agree("pruned", &logs), first_kept(&logs));
    let kept = segments(&logs);
    assert_eq!(kept.len(), 2);
    // A tombstone without its pruning is what a crash leaves: the records are there, all is well.
    let (oldest, newest) = (
        std::fs::read_to_string(&kept[0]).unwrap(),
        std::fs::read_to_string(&kept[1]).unwrap(),
    );
    // One more segment gone than a record tells of.
    std::fs::remove_file(&kept[0]).unwrap();
    let second = newest.lines().next().unwrap();
    let second: serde_json::Value = serde_json::from_str(second).unwrap();
    let index = second["index"].as_u64().unwrap();
    let gone = judges.agree("one more gone", &logs);
    assert_eq!(gone, found(3, index - 1));
    std::fs::write(&kept[0], &oldest).unwrap();
    // The kept ones without what says so: the record that tells of the pruning is the tombstone.
    let without: String = oldest
        .split_inclusive('\n')
        .filter(|line| !line.contains("audit.pruned"))
        .collect();
    assert_ne!(without, oldest);
    std::fs::write(&kept[0], &without).unwrap();
    assert_eq!(judges.agree("no tombstone", &logs).code, 3);
    std::fs::write(&kept[0], &oldest).unwrap();
    // The first lines of the oldest one dropped, and its name changed to fit.
    let (_, later) = oldest.split_once('\n').unwrap();
    let renamed = logs.join(format!("audit-{:020}.jsonl", first + 1));
    std::fs::remove_file(&kept[0]).unwrap();
    std::fs::write(&renamed, later).unwrap();
    assert_eq!(judges.agree("one record shorter", &logs), found(3, first));
    std::fs::remove_file(&renamed).unwrap();
    std::fs::write(&kept[0], &oldest).unwrap();
    assert_eq!(judges.agree("put back", &logs), intact);
}
