//! What was signed of a log, and the judgement of its records by it.

use super::{Against, Held, Seen, Verdict, file_name};
use crate::error::{AuditError, Fault};
use crate::keys::{EPOCHS, Epochs};
use crate::note::Signed;
use crate::register;
use crate::seal::CHECKPOINT;
use crate::tree::Hash;
use std::path::Path;

/// Public keys, checkpoint and register.
pub(super) struct Statements {
    epochs: Epochs,
    checkpoint: Option<Signed>,
    register: Option<Signed>,
    /// What is wrong with them by themselves.
    wrong: Option<Verdict>,
}

impl Statements {
    pub(super) fn read(folder: &Path, against: &Against, empty: bool) -> Result<Self, AuditError> {
        let mut wrong = None;
        let epochs = Epochs::parse(&bytes(folder, EPOCHS)?).unwrap_or_else(|epoch| {
            let why = format!("epoch {epoch} does not follow from the one before it");
            wrong = Some(tampered(0, EPOCHS, &why));
            Epochs::default()
        });
        if wrong.is_none() && epochs.all.is_empty() && !empty {
            let folder = folder.to_owned();
            return Err(AuditError::Unsigned { folder });
        }
        let bytes = bytes(folder, CHECKPOINT)?;
        let text = std::str::from_utf8(&bytes).unwrap_or("\u{fffd}");
        let text = text.trim_matches('\0');
        let checkpoint = Signed::parse(text);
        if checkpoint.is_none() && !text.is_empty() {
            wrong = wrong.or(Some(tampered(0, CHECKPOINT, "it is not a checkpoint")));
        }
        let register = match &against.register {
            Some(path) => register::read(path)?,
            None => None,
        };
        let found = Self {
            epochs,
            checkpoint,
            register,
            wrong,
        };
        Ok(Self {
            wrong: found.wrong.clone().or_else(|| found.wrong_key(against)),
            ..found
        })
    }

    /// A statement that is signed by nobody who was to sign it.
    fn wrong_key(&self, against: &Against) -> Option<Verdict> {
        let first = self.epochs.all.first();
        if let (Some(key), Some(first)) = (&against.key, first)
            && first.key != *key
        {
            return Some(tampered(
                0,
                EPOCHS,
                "the log is not signed by the key you gave",
            ));
        }
        let both = [(&self.checkpoint, CHECKPOINT), (&self.register, "register")];
        for (signed, name) in both {
            let Some(signed) = signed else { continue };
            let origin = first.map(|first| first.key.name());
            // In a restored log the register may be of an epoch the log no longer knows.
            let later = name == "register"
                && origin == Some(signed.checkpoint.origin.as_str())
                && !self.epochs.knows(signed);
            if !later && !self.epochs.vouch(signed) {
                let index = self.epochs.all.last().map_or(0, |last| last.size);
                let why = if self.epochs.knows(signed) {
                    "it is signed by the key of another epoch"
                } else {
                    "it is signed by no key of this log"
                };
                return Some(tampered(index.min(signed.checkpoint.size), name, why));
            }
        }
        None
    }

    /// The size of the newest checkpoint.
    pub(super) fn size(&self) -> u64 {
        let size = |signed: &Option<Signed>| signed.as_ref().map_or(0, |s| s.checkpoint.size);
        size(&self.checkpoint).max(self.epochs.all.last().map_or(0, |last| last.size))
    }

    /// Every root that was signed, by size.
    fn all(&self) -> Vec<(u64, Hash, &'static str)> {
        let epochs = self.epochs.all.iter();
        let mut all: Vec<_> = epochs.map(|e| (e.size, e.root, "epoch")).collect();
        for (signed, name) in [(&self.checkpoint, CHECKPOINT), (&self.register, "register")] {
            let signed = signed.as_ref().map(|s| &s.checkpoint);
            all.extend(signed.map(|c| (c.size, c.root, name)));
        }
        all.sort_unstable();
        all
    }

    pub(super) fn sizes(&self) -> Vec<u64> {
        self.all().into_iter().map(|(size, ..)| size).collect()
    }

    /// Holds the records against what was signed.
    pub(super) fn judge(
        &self,
        seen: &Seen,
        verdict: Verdict,
        held: &[Held],
        against: &Against,
    ) -> Verdict {
        if let Some(wrong) = &self.wrong {
            return wrong.clone();
        }
        if let Some(lost) = seen.lost {
            return tampered(lost, "tile", "hashes of pruned records are missing");
        }
        let all = self.all();
        for (size, root, by) in &all {
            match seen.roots.get(size) {
                Some(found) if found == root => {}
                Some(_) => {
                    // Two statements of one size may differ, so only those of smaller sizes prove anything.
                    let smaller = all.iter().map(|(size, ..)| *size);
                    let proven = smaller.filter(|one| one < size).max().unwrap_or(0);
                    return tampered(proven, &segment_of(held, proven), &rewritten(*size));
                }
                None => return Self::short(seen, (*size, by), verdict, held, against),
            }
        }
        match verdict {
            Verdict::Intact => self.whole(seen.next() > 0),
            Verdict::Torn { .. } | Verdict::RolledBack { .. } | Verdict::Tampered { .. } => verdict,
        }
    }

    /// What a crash leaves of the statements themselves, or somebody who hopes to be taken for one. It
    /// proves nothing against the records, but a log that was closed has all of them.
    fn whole(&self, has_records: bool) -> Verdict {
        let torn = |name: &str, bytes| Verdict::Torn {
            segment: name.to_owned(),
            bytes,
        };
        if self.epochs.torn > 0 {
            return torn(EPOCHS, self.epochs.torn);
        }
        // Within a second of the first record there is one, and from then on always.
        if self.checkpoint.is_none() && has_records {
            return torn(CHECKPOINT, 0);
        }
        Verdict::Intact
    }

    /// The records end before `size`, which `by` vouches for.
    fn short(
        seen: &Seen,
        (known, by): (u64, &str),
        verdict: Verdict,
        held: &[Held],
        against: &Against,
    ) -> Verdict {
        let index = seen.next();
        if by == "register" || !against.copy {
            let by = by.to_owned();
            return Verdict::RolledBack { index, known, by };
        }
        match verdict {
            Verdict::Torn { .. } => verdict,
            Verdict::Intact | Verdict::RolledBack { .. } | Verdict::Tampered { .. } => {
                Verdict::Torn {
                    segment: segment_of(held, index),
                    bytes: 0,
                }
            }
        }
    }
}

fn rewritten(size: u64) -> String {
    format!("{}, of {size} records", Fault::Unsigned)
}

/// The name of the segment a record stands in.
fn segment_of(held: &[Held], index: u64) -> String {
    let holding = held.iter().rev().find(|one| one.segment.first <= index);
    let one = holding.or_else(|| held.first());
    one.map_or_else(String::new, |one| file_name(&one.segment.path))
}

fn tampered(index: u64, file: &str, why: &str) -> Verdict {
    Verdict::Tampered {
        index,
        segment: file.to_owned(),
        why: why.to_owned(),
    }
}

/// A file of the log; empty when it is missing.
fn bytes(folder: &Path, name: &str) -> Result<Vec<u8>, AuditError> {
    let path = folder.join(name);
    match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(AuditError::io("read", &path)),
    }
}
