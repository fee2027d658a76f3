//! Every operation on the disk fails once, or is the last one of the process, or of the power: in opening,
//! recovering, appending, rotating, pruning, signing, changing keys and writing the register. Whatever
//! happens, what was acknowledged is there, nothing sound is called damaged, and damage is seen.

use super::tests::{SMALL, TIGHT, append, lines};
use super::{Limits, Log};
use crate::disk::fault::{self, Cut};
use crate::error::AuditError;
use crate::keys::EPOCHS;
use crate::redact::Redactor;
use crate::seal::Places;
use crate::segment::Segment;
use crate::verify::{Against, Verdict, verify_against};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A log with its key and its register elsewhere.
struct Place {
    logs: PathBuf,
    places: Places,
    _dir: tempfile::TempDir,
}

/// What was told to those who wrote.
#[derive(Default)]
struct Told {
    acknowledged: Vec<(u64, String)>,
    refused: Vec<String>,
}

impl Place {
    fn new() -> Self {
        // What a flush does is worked out by the test, so the disk need not be a slow one.
        let fast = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let dir = fast.unwrap();
        let register = dir.path().join("register");
        fs::write(&register, "").unwrap();
        Self {
            logs: dir.path().join("logs"),
            places: Places {
                key: dir.path().join("secrets/audit.key"),
                register: Some(register),
            },
            _dir: dir,
        }
    }

    /// As a recorder does.
    fn start(&self, limits: Limits) -> Result<Log, AuditError> {
        let mut log = Log::open(&self.logs, &self.places)?;
        if log.has_own_records() {
            log.append(&mut [], limits, &Redactor::new())?;
        }
        if log.register_is_behind() {
            log.publish(true)?;
        }
        Ok(log)
    }

    /// A log as a crash left it: some records signed, some not, and half of one.
    fn crashed(limits: Limits) -> (Self, Told) {
        let place = Self::new();
        let mut told = Told::default();
        let mut log = place.start(limits).unwrap();
        for at in 0..7 {
            note(&mut log, limits, &format!("before {at}"), &mut told);
            if at == 4 {
                log.publish(true).unwrap();
            }
        }
        drop(log);
        let newest = Segment::list(&place.logs).unwrap().pop().unwrap();
        let mut bytes = fs::read(&newest.path).unwrap();
        bytes.extend_from_slice(b"{\"index\":7,\"ti");
        fs::write(&newest.path, bytes).unwrap();
        (place, told)
    }

    /// A process from its start to its end, with two checkpoints of the second and two keys.
    fn live(&self, limits: Limits, told: &mut Told) {
        // Whoever runs it tries twice.
        let started = self.start(limits).or_else(|_| self.start(limits));
        let Ok(mut log) = started else { return };
        let mut unsigned = false;
        for at in 0..8 {
            let said = format!("record {at}");
            if unsigned && log.publish(false).is_err() {
                told.refused.push(said);
                continue;
            }
            unsigned = false;
            note(&mut log, limits, &said, told);
            if at % 4 == 3 {
                if let Ok(epochs) = fs::File::options().write(true).open(self.logs.join(EPOCHS)) {
                    let then = SystemTime::now() - Duration::from_secs(2 * 60 * 60);
                    epochs.set_modified(then).unwrap();
                }
                log.let_a_second_pass();
                unsigned = log.publish(false).is_err();
            }
        }
        let _ = log.publish(true);
    }

    fn verdict(&self) -> Verdict {
        let against = Against {
            register: self.places.register.clone(),
            ..Against::default()
        };
        verify_against(&self.logs, &against, &mut |_, _| ())
            .unwrap()
            .verdict
    }

    /// No verification calls it damaged, and what was acknowledged is there.
    fn assert_sound(&self, told: &Told, what: &str) {
        if self.logs.join(EPOCHS).exists() {
            let found = self.verdict();
            let sound = matches!(found, Verdict::Intact | Verdict::Torn { .. });
            assert!(sound, "{what}: {found:?}");
            self.assert_kept(told, what);
        }
    }

    fn assert_kept(&self, told: &Told, what: &str) {
        let segments = Segment::list(&self.logs).unwrap();
        let oldest = segments.first().map_or(0, |oldest| oldest.first);
        let kept = reasons(&self.logs);
        for record in told
            .acknowledged
            .iter()
            .filter(|(index, _)| *index >= oldest)
        {
            assert!(kept.contains(record), "{what}: {record:?} is lost");
        }
    }

    /// The newest record is cut off, as a thief would.
    fn assert_a_missing_record_is_seen(&self, what: &str) {
        let newest = Segment::list(&self.logs).unwrap().pop().unwrap();
        let text = fs::read_to_string(&newest.path).unwrap();
        let end = text.trim_end().rfind('\n').map_or(0, |at| at + 1);
        fs::write(&newest.path, &text[..end]).unwrap();
        assert!(
            matches!(self.verdict(), Verdict::RolledBack { .. }),
            "{what}: a missing record is not seen"
        );
        assert!(Log::open(&self.logs, &self.places).is_err(), "{what}");
    }
}

fn note(log: &mut Log, limits: Limits, said: &str, told: &mut Told) {
    match append(log, &[said.to_owned()], limits) {
        Ok(indices) => told.acknowledged.push((indices[0], said.to_owned())),
        Err(_) => told.refused.push(said.to_owned()),
    }
}

/// The records of a log by what they say.
fn reasons(folder: &std::path::Path) -> Vec<(u64, String)> {
    // The end may be torn.
    let parse = |line: &String| serde_json::from_str::<serde_json::Value>(line).ok();
    let reason = |v: serde_json::Value| {
        let index = v["index"].as_u64().unwrap();
        v["reason"]
            .as_str()
            .map(|reason| (index, reason.to_owned()))
    };
    lines(folder)
        .iter()
        .filter_map(parse)
        .filter_map(reason)
        .collect()
}

/// Both ways to keep a log: everything, and two segments only, each from nothing and after a crash.
fn beginnings() -> impl Iterator<Item = (Limits, bool)> {
    [SMALL, TIGHT]
        .into_iter()
        .flat_map(|limits| [(limits, false), (limits, true)])
}

fn begin(limits: Limits, crashed: bool) -> (Place, Told) {
    if crashed {
        Place::crashed(limits)
    } else {
        (Place::new(), Told::default())
    }
}

#[test]
fn whichever_operation_fails_once_nothing_refused_stands_and_nothing_acknowledged_is_lost() {
    let mut struck = 0;
    for (limits, crashed) in beginnings() {
        for nth in 0.. {
            let what = format!("operation {nth}, crashed before: {crashed}");
            let (place, mut told) = begin(limits, crashed);
            fault::plan(nth, false);
            place.live(limits, &mut told);
            let hit = fault::clear();
            // The last checkpoint or key is all that may be missing or cut short.
            place.assert_sound(&told, &what);
            let kept = reasons(&place.logs);
            for said in &told.refused {
                assert!(!kept.iter().any(|(_, kept)| kept == said), "{what}: {said}");
            }
            // At most the step that met the fault was refused: the log recovered by itself.
            assert!(told.refused.len() <= 1, "{what}: {:?}", told.refused);
            let mut log = place.start(limits).unwrap();
            note(&mut log, limits, "after", &mut told);
            log.publish(true).unwrap();
            assert_eq!(place.verdict(), Verdict::Intact, "{what}");
            place.assert_kept(&told, &what);
            if !hit {
                break;
            }
            struck += 1;
        }
    }
    assert!(struck > 250, "{struck}");
}

/// Every operation fails, once or from then on, and at the end of it the power may go; then the same again
/// without a fault, for damage that shows only later.
fn die_everywhere(how: Cut, stays: bool) {
    let mut struck = 0;
    for (limits, crashed) in beginnings() {
        for nth in 0.. {
            let what = format!("{how:?} at operation {nth} ({stays}), crashed before: {crashed}");
            let (place, mut told) = begin(limits, crashed);
            fault::plan(nth, stays);
            place.live(limits, &mut told);
            let hit = fault::clear();
            fault::cut(how);
            place.assert_sound(&told, &what);
            fault::plan(u32::MAX, false);
            place.live(limits, &mut told);
            fault::clear();
            fault::cut(how);
            place.assert_sound(&told, &what);
            let mut log = place
                .start(limits)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            note(&mut log, limits, "after", &mut told);
            log.publish(true).unwrap();
            assert_eq!(place.verdict(), Verdict::Intact, "{what}");
            place.assert_kept(&told, &what);
            drop(log);
            place.assert_a_missing_record_is_seen(&what);
            if !hit {
                break;
            }
            struck += 1;
        }
    }
    assert!(struck > 250, "{struck}");
}

#[test]
fn wherever_the_process_dies_no_acknowledged_record_is_lost() {
    die_everywhere(Cut::Nothing, true);
}

#[test]
fn wherever_the_power_goes_and_takes_all_that_was_not_flushed_no_acknowledged_record_is_lost() {
    die_everywhere(Cut::All, true);
}

#[test]
fn wherever_the_power_goes_and_leaves_names_without_bytes_no_acknowledged_record_is_lost() {
    die_everywhere(Cut::Bytes, true);
}

#[test]
fn a_power_cut_after_a_fault_takes_nothing_that_was_acknowledged() {
    die_everywhere(Cut::All, false);
}

#[test]
fn a_power_cut_after_a_fault_brings_nothing_back_that_was_cut_off() {
    die_everywhere(Cut::Bytes, false);
}
