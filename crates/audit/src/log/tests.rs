use super::{Limits, Log};
use crate::error::{AuditError, Fault};
use crate::line::Entry;
use crate::redact::Redactor;
use crate::seal::Places;
use crate::segment::Segment;
use crate::verify::{Verdict, verify};
use clawdbot_domain::Event;
use std::fs;
use std::path::Path;
use std::time::Duration;

pub(super) const SMALL: Limits = Limits {
    segment_bytes: 2048,
    segments: 100,
    min_age: Duration::ZERO,
};

pub(super) const TIGHT: Limits = Limits {
    min_age: Duration::ZERO,
    segment_bytes: 2048,
    segments: 2,
};

fn entry(reason: &str) -> Entry {
    let reason = reason.to_owned();
    Entry::own(Event::GatewayStop { reason })
}

pub(super) fn append(
    log: &mut Log,
    reasons: &[String],
    limits: Limits,
) -> Result<Vec<u64>, AuditError> {
    let mut entries: Vec<Entry> = reasons.iter().map(|reason| entry(reason)).collect();
    let mut done = 0;
    while done < entries.len() {
        done += log.append(&mut entries[done..], limits, &Redactor::new())?;
    }
    Ok(entries.iter().map(|entry| entry.index).collect())
}

/// A log of so many records, a few a segment.
fn filled(folder: &Path, records: u32) -> Log {
    let mut log = Log::open(folder, &Places::within(folder)).unwrap();
    for at in 0..records {
        append(&mut log, &[format!("record {at}")], SMALL).unwrap();
    }
    log
}

pub(super) fn lines(folder: &Path) -> Vec<String> {
    let segments = Segment::list(folder).unwrap();
    let text = |s: &Segment| String::from_utf8_lossy(&fs::read(&s.path).unwrap()).into_owned();
    let all: String = segments.iter().map(text).collect();
    all.lines().map(str::to_owned).collect()
}

/// That the first checkpoint was not made yet, and nothing else is wrong.
fn unsigned() -> Verdict {
    Verdict::Torn {
        segment: "checkpoint".into(),
        bytes: 0,
    }
}

fn verdict(folder: &Path) -> Verdict {
    verify(folder).unwrap().verdict
}

#[track_caller]
fn assert_tampered(folder: &Path, at: u64, what: &str) {
    match verdict(folder) {
        Verdict::Tampered { index, .. } => assert_eq!(index, at, "{what}"),
        other @ (Verdict::Intact | Verdict::Torn { .. } | Verdict::RolledBack { .. }) => {
            panic!("{what}: {other:?}")
        }
    }
}

#[test]
fn a_log_over_several_segments_is_one_chain_and_no_segment_is_too_long() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 40);
    let segments = Segment::list(dir.path()).unwrap();
    assert!(segments.len() > 5, "{segments:?}");
    for segment in &segments {
        assert!(fs::metadata(&segment.path).unwrap().len() <= SMALL.segment_bytes);
    }
    let found = verify(dir.path()).unwrap();
    assert_eq!(found.verdict, unsigned());
    assert_eq!(found.records, lines(dir.path()).len() as u64);
    assert_eq!(found.last, Some(found.records - 1));
}

#[test]
fn a_batch_larger_than_a_segment_is_spread_over_several() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), &Places::within(dir.path())).unwrap();
    let reasons: Vec<String> = (0..50).map(|at| format!("record {at}")).collect();
    let indices = append(&mut log, &reasons, SMALL).unwrap();
    assert!(indices.is_sorted() && indices.len() == 50);
    assert_eq!(verdict(dir.path()), unsigned());
    for (index, reason) in indices.iter().zip(&reasons) {
        let line = &lines(dir.path())[usize::try_from(*index).unwrap()];
        assert!(line.contains(&format!("\"reason\":\"{reason}\"")), "{line}");
    }
}

#[test]
fn every_changed_byte_is_found_and_its_record_named() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 9);
    let mut index = 0;
    for segment in Segment::list(dir.path()).unwrap() {
        let good = fs::read(&segment.path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x01;
            fs::write(&segment.path, &bad).unwrap();
            let newline = good[at] == b'\n';
            // Without its newline the last line looks as a crash would leave it.
            let end_of_log = newline && index + 1 == lines_total(dir.path(), &segment, &good);
            match verdict(dir.path()) {
                Verdict::Tampered { index: named, .. } => assert_eq!(named, index, "byte {at}"),
                Verdict::Torn { .. } => assert!(end_of_log, "byte {at} of record {index}"),
                other @ (Verdict::Intact | Verdict::RolledBack { .. }) => {
                    panic!("byte {at} of record {index}: {other:?}")
                }
            }
            index += u64::from(newline);
        }
        fs::write(&segment.path, &good).unwrap();
    }
    assert_eq!(verdict(dir.path()), unsigned());
}

/// Records up to the end of this segment, if it is the newest.
fn lines_total(folder: &Path, segment: &Segment, good: &[u8]) -> u64 {
    let newest = Segment::list(folder).unwrap().pop().unwrap();
    let count = memchr::memchr_iter(b'\n', good).count() as u64;
    if newest == *segment {
        segment.first + count
    } else {
        u64::MAX
    }
}

#[test]
fn a_dropped_doubled_or_swapped_record_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 12);
    let newest = Segment::list(dir.path()).unwrap().pop().unwrap();
    for segment in Segment::list(dir.path()).unwrap() {
        let good = fs::read_to_string(&segment.path).unwrap();
        let all: Vec<&str> = good.lines().collect();
        let write = |lines: &[&str]| fs::write(&segment.path, lines.join("\n") + "\n").unwrap();
        for at in 0..all.len() {
            let index = segment.first + at as u64;
            let last = at + 1 == all.len();
            // The very last record of all can be cut off unseen: the chain alone cannot tell.
            if !(last && segment == newest) {
                let mut bad = all.clone();
                bad.remove(at);
                write(&bad);
                assert_tampered(dir.path(), index, "dropped");
            }
            let mut bad = all.clone();
            bad.insert(at, all[at]);
            write(&bad);
            assert_tampered(dir.path(), index + 1, "doubled");
            if !last {
                let mut bad = all.clone();
                bad.swap(at, at + 1);
                write(&bad);
                assert_tampered(dir.path(), index, "swapped");
            }
        }
        fs::write(&segment.path, &good).unwrap();
    }
    assert_eq!(verdict(dir.path()), unsigned());
}

#[test]
fn a_removed_segment_is_found_whichever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 30);
    let segments = Segment::list(dir.path()).unwrap();
    // The newest one is the end of the log, which the chain alone cannot defend.
    for pair in segments.windows(2) {
        let (gone, after) = (&pair[0], &pair[1]);
        let bytes = fs::read(&gone.path).unwrap();
        fs::remove_file(&gone.path).unwrap();
        let named = if gone.first == 0 {
            after.first - 1
        } else {
            gone.first
        };
        assert_tampered(dir.path(), named, "removed");
        fs::write(&gone.path, bytes).unwrap();
    }
}

#[test]
fn pruning_is_written_down_and_what_is_left_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        segments: 3,
        ..SMALL
    };
    let mut log = Log::open(dir.path(), &Places::within(dir.path())).unwrap();
    for at in 0..60 {
        append(&mut log, &[format!("record {at}")], limits).unwrap();
    }
    let segments = Segment::list(dir.path()).unwrap();
    assert_eq!(segments.len(), 3);
    let found = verify(dir.path()).unwrap();
    assert_eq!(found.verdict, Verdict::Intact);
    assert_eq!(found.first, Some(segments[0].first));
    assert!(segments[0].first > 10);
    // One more segment gone, and nobody wrote it down.
    fs::remove_file(&segments[0].path).unwrap();
    assert_tampered(dir.path(), segments[1].first - 1, "removed");
}

#[test]
fn a_segment_younger_than_the_least_age_is_kept_however_many_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), &Places::within(dir.path())).unwrap();
    let limits = Limits {
        min_age: Duration::from_secs(60 * 60),
        ..TIGHT
    };
    let more: Vec<String> = (0..24).map(|at| format!("record {at}")).collect();
    append(&mut log, &more, limits).unwrap();
    let all = Segment::list(dir.path()).unwrap();
    assert!(all.len() > 3, "{}", all.len());
    assert!(!lines(dir.path()).concat().contains("audit.pruned"));
    // Whoever owns the files says that they are old: nobody believes that.
    for segment in &all {
        let file = fs::File::options().write(true).open(&segment.path).unwrap();
        let then = std::time::SystemTime::now() - 2 * limits.min_age;
        file.set_modified(then).unwrap();
    }
    append(&mut log, &more, limits).unwrap();
    assert_eq!(Segment::list(dir.path()).unwrap()[..all.len()], all);
    assert!(!lines(dir.path()).concat().contains("audit.pruned"));
    // They get as old as they must be.
    let limits = Limits {
        min_age: Duration::from_millis(20),
        ..TIGHT
    };
    std::thread::sleep(limits.min_age);
    append(&mut log, &more, limits).unwrap();
    let kept = Segment::list(dir.path()).unwrap();
    assert!(kept[0].first > all[2].first, "{kept:?}");
    assert!(lines(dir.path()).concat().contains("audit.pruned"));
    assert_eq!(verdict(dir.path()), Verdict::Intact);
}

#[test]
fn a_torn_last_line_is_set_aside_and_written_down() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 3));
    let newest = Segment::list(dir.path()).unwrap().pop().unwrap();
    let good = fs::read(&newest.path).unwrap();
    let records = verify(dir.path()).unwrap().records;
    let torn = b"{\"index\":3,\"time\":\"2026";
    fs::write(&newest.path, [good.as_slice(), torn].concat()).unwrap();
    assert!(matches!(
        verdict(dir.path()),
        Verdict::Torn { bytes: 23, .. }
    ));

    let mut log = Log::open(dir.path(), &Places::within(dir.path())).unwrap();
    assert!(log.has_own_records());
    append(&mut log, &["after".to_owned()], SMALL).unwrap();
    assert_eq!(verify(dir.path()).unwrap().records, records + 2);
    assert_eq!(verdict(dir.path()), unsigned());
    let recovered = lines(dir.path())[usize::try_from(records).unwrap()].clone();
    assert!(
        recovered.contains("\"event\":\"audit.recovered\",\"bytes\":23"),
        "{recovered}"
    );
    let kept = fs::read_dir(dir.path().join("torn"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(fs::read(kept.path()).unwrap(), torn);
    assert!(recovered.contains(kept.file_name().to_str().unwrap()));
}

#[test]
fn blocks_that_never_reached_the_disk_are_torn_unless_a_record_follows() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 4));
    let newest = Segment::list(dir.path()).unwrap().pop().unwrap();
    let good = fs::read(&newest.path).unwrap();
    let hole = vec![0_u8; 200_000];
    fs::write(&newest.path, [good.as_slice(), &hole].concat()).unwrap();
    assert!(matches!(
        verdict(dir.path()),
        Verdict::Torn { bytes: 200_000, .. }
    ));
    let last = good
        .trim_ascii_end()
        .rsplit(|b| *b == b'\n')
        .next()
        .unwrap();
    fs::write(
        &newest.path,
        [good.as_slice(), &hole, b"\n", last, b"\n"].concat(),
    )
    .unwrap();
    assert!(matches!(verdict(dir.path()), Verdict::Tampered { .. }));
}

#[test]
fn a_damaged_log_is_not_opened_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 3));
    let newest = Segment::list(dir.path()).unwrap().pop().unwrap();
    let text = fs::read_to_string(&newest.path).unwrap();
    let bad = text.replace("record 1", "record 9");
    assert_ne!(bad, text);
    fs::write(&newest.path, &bad).unwrap();
    let error = Log::open(dir.path(), &Places::within(dir.path()))
        .err()
        .unwrap();
    let AuditError::Corrupt { index, fault, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((*index, fault), (1, &Fault::Changed));
    assert_eq!(fs::read_to_string(&newest.path).unwrap(), bad);
    assert!(!dir.path().join("torn").exists());
}

#[test]
fn a_log_cut_short_under_a_running_writer_stops_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path(), 3);
    let newest = Segment::list(dir.path()).unwrap().pop().unwrap();
    let text = fs::read_to_string(&newest.path).unwrap();
    let first = text.lines().next().unwrap();
    fs::write(&newest.path, format!("{first}\n")).unwrap();
    let error = append(&mut log, &["more".to_owned()], SMALL).unwrap_err();
    let AuditError::Corrupt { fault, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(fault, Fault::Shrunk);
}

#[test]
fn a_log_removed_under_a_running_writer_shows_the_gap() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path(), 8);
    let next = log.newest().unwrap() + 1;
    for segment in Segment::list(dir.path()).unwrap() {
        fs::remove_file(segment.path).unwrap();
    }
    assert_eq!(
        append(&mut log, &["more".to_owned()], SMALL).unwrap(),
        [next]
    );
    assert_tampered(dir.path(), next - 1, "removed");
}

#[test]
fn two_writers_in_turn_write_one_chain_across_rotation_and_pruning() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        segments: 3,
        ..SMALL
    };
    let mut logs = [
        Log::open(dir.path(), &Places::within(dir.path())).unwrap(),
        Log::open(dir.path(), &Places::within(dir.path())).unwrap(),
    ];
    // Uneven turns, so that one finds many segments of the other, and even its own one pruned.
    for turn in 0..120_usize {
        let which = usize::from(turn % 40 < 3);
        append(&mut logs[which], &[format!("turn {turn}")], limits).unwrap();
    }
    assert_eq!(verdict(dir.path()), Verdict::Intact);
}
