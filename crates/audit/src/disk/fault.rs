//! Lets operations fail in tests, on this thread, and takes the power away.
//!
//! What a power cut leaves is worked out from what was flushed: bytes by the flush of their file, names by
//! that of their folder.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

thread_local! {
    /// Operations until the fault; whether the fault stays; whether it struck.
    static PLAN: Cell<Option<(u32, bool)>> = const { Cell::new(None) };
    static STRUCK: Cell<bool> = const { Cell::new(false) };
    static UNFLUSHED: RefCell<Option<Unflushed>> = const { RefCell::new(None) };
}

/// Lets operation `nth` from now (from 0) fail: once, or from then on as after a crash.
pub(crate) fn plan(nth: u32, stays: bool) {
    PLAN.set(Some((nth, stays)));
    STRUCK.set(false);
    UNFLUSHED.set(Some(Unflushed::default()));
}

/// Ends the plan; true when its fault struck.
pub(crate) fn clear() -> bool {
    PLAN.set(None);
    STRUCK.replace(false)
}

pub(crate) fn point() -> io::Result<()> {
    match PLAN.get() {
        None => Ok(()),
        Some((0, stays)) => {
            PLAN.set(stays.then_some((0, true)));
            STRUCK.set(true);
            Err(io::Error::from_raw_os_error(5))
        }
        Some((nth, stays)) => {
            PLAN.set(Some((nth - 1, stays)));
            Ok(())
        }
    }
}

/// What would not survive a power cut.
#[derive(Debug, Default)]
struct Unflushed {
    bytes: BTreeMap<PathBuf, Bytes>,
    /// Names that changed, oldest first, and what they stood for before.
    names: Vec<(PathBuf, Option<Vec<u8>>)>,
}

#[derive(Debug, Default)]
struct Bytes {
    /// What was flushed.
    durable: Vec<u8>,
    /// What stood there before it was cut shorter.
    longer: Option<Vec<u8>>,
}

/// What a power cut does with what was not flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It takes nothing: only the process died.
    Nothing,
    /// It takes all of it, names and bytes.
    All,
    /// Names and lengths arrived and bytes did not: zeros stand there. What was cut off is back.
    Bytes,
}

fn with(then: impl FnOnce(&mut Unflushed)) {
    UNFLUSHED.with_borrow_mut(|unflushed| {
        if let Some(unflushed) = unflushed {
            then(unflushed);
        }
    });
}

/// The power is cut; tracking ends.
pub(crate) fn cut(how: Cut) {
    let Some(unflushed) = UNFLUSHED.take() else {
        return;
    };
    let put = |path: &Path, bytes: &[u8]| {
        if path.exists() {
            fs::write(path, bytes).expect("a file of the test");
        }
    };
    match how {
        Cut::Nothing => {}
        Cut::All => {
            for (path, bytes) in &unflushed.bytes {
                put(path, &bytes.durable);
            }
            for (path, before) in unflushed.names.iter().rev() {
                match before {
                    Some(before) => fs::write(path, before).expect("a file of the test"),
                    None => drop(fs::remove_file(path)),
                }
            }
        }
        Cut::Bytes => {
            for (path, bytes) in unflushed.bytes {
                let len = fs::metadata(&path).map_or(0, |meta| meta.len());
                let zeros = || {
                    let mut left = bytes.durable.clone();
                    left.resize(usize::try_from(len).expect("a small file"), 0);
                    left
                };
                put(&path, &bytes.longer.unwrap_or_else(zeros));
            }
        }
    }
}

impl Unflushed {
    fn durable(&self, path: &Path) -> Option<Vec<u8>> {
        let known = self.bytes.get(path).map(|bytes| bytes.durable.clone());
        known.or_else(|| fs::read(path).ok())
    }
}

pub(super) fn will_change(path: &Path) {
    with(|all| {
        let durable = all.durable(path).unwrap_or_default();
        let bytes = all.bytes.entry(path.to_owned()).or_default();
        bytes.durable = durable;
    });
}

pub(super) fn will_cut(path: &Path) {
    will_change(path);
    with(|all| {
        let bytes = all.bytes.entry(path.to_owned()).or_default();
        bytes.longer = fs::read(path).ok();
    });
}

/// A name is about to be made or removed.
pub(super) fn will_name(path: &Path) {
    with(|all| {
        let before = all.durable(path);
        all.names.push((path.to_owned(), before));
    });
}

/// A file of its own for what is about to be renamed.
pub(super) fn will_empty(path: &Path) {
    with(|all| drop(all.bytes.insert(path.to_owned(), Bytes::default())));
}

pub(super) fn will_rename(from: &Path, to: &Path) {
    will_name(to);
    with(|all| {
        all.bytes.remove(to);
        if let Some(bytes) = all.bytes.remove(from) {
            all.bytes.insert(to.to_owned(), bytes);
        }
    });
}

pub(super) fn synced(path: &Path) {
    with(|all| drop(all.bytes.remove(path)));
}

pub(super) fn folder_synced(folder: &Path) {
    with(|all| all.names.retain(|(path, _)| path.parent() != Some(folder)));
}

pub(super) fn all_synced() {
    with(|all| *all = Unflushed::default());
}
