//! When tokens were last used: noted by a thread of its own, so that nobody waits for it.

use super::setup;
use crate::database::{Database, Durability};
use crate::error::AuthError;
use clawdbot_domain::{TokenId, UnixTime};
use rusqlite::{TransactionBehavior, params};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A token's use is noted at most so often.
pub(super) const EVERY_NANOS: i64 = 60 * 1_000_000_000;
/// How long notes gather before they are written together.
const GATHER: Duration = Duration::from_secs(1);

/// Notes the use of tokens. The thread starts with the first note and ends with the store.
#[derive(Debug)]
pub(super) struct Usage {
    path: PathBuf,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    notes: Mutex<Notes>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Notes {
    used: HashMap<TokenId, UnixTime>,
    /// How late it was when a token was found to be over.
    late: Option<UnixTime>,
    started: bool,
    stop: bool,
}

impl Notes {
    fn take(&mut self) -> (HashMap<TokenId, UnixTime>, Option<UnixTime>) {
        (std::mem::take(&mut self.used), self.late.take())
    }
}

impl Usage {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            shared: Arc::default(),
            thread: Mutex::default(),
        }
    }

    /// Notes that a token was used. Called at most once a minute for each.
    pub(super) fn note(&self, id: TokenId, now: UnixTime) {
        self.add(|notes| {
            notes.used.insert(id, now);
        });
    }

    /// Notes how late it is, since a token was found to be over.
    pub(super) fn late(&self, now: UnixTime) {
        self.add(|notes| notes.late = notes.late.max(Some(now)));
    }

    fn add(&self, add: impl FnOnce(&mut Notes)) {
        let mut notes = self.shared.notes();
        add(&mut notes);
        if !std::mem::replace(&mut notes.started, true) {
            self.start();
        }
        drop(notes);
        self.shared.changed.notify_one();
    }

    /// Writes what has gathered, for whoever wants to see it now.
    pub(super) fn write_down(&self) -> Result<(), AuthError> {
        let (used, late) = self.shared.notes().take();
        write(&self.path, &used, late)
    }

    fn start(&self) {
        let (path, shared) = (self.path.clone(), Arc::clone(&self.shared));
        let thread = std::thread::Builder::new().name("token-usage".into());
        // Without a thread nothing is noted and everything else works.
        let thread = thread.spawn(move || shared.run(&path)).ok();
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = thread;
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        self.shared.notes().stop = true;
        self.shared.changed.notify_one();
        let thread = self.thread.get_mut();
        if let Some(thread) = thread.unwrap_or_else(PoisonError::into_inner).take() {
            // A thread that panicked said so itself.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, path: &Path) {
        loop {
            let idle =
                |notes: &mut Notes| notes.used.is_empty() && notes.late.is_none() && !notes.stop;
            let notes = self.changed.wait_while(self.notes(), idle);
            drop(notes);
            let gather = |notes: &mut Notes| !notes.stop;
            let gathered = self
                .changed
                .wait_timeout_while(self.notes(), GATHER, gather);
            let (mut notes, _) = gathered.unwrap_or_else(PoisonError::into_inner);
            let ((used, late), stop) = (notes.take(), notes.stop);
            drop(notes);
            // What cannot be written is forgotten; the next minute has a note of its own.
            let _ = write(path, &used, late);
            if stop {
                return;
            }
        }
    }
}

fn write(
    path: &Path,
    used: &HashMap<TokenId, UnixTime>,
    late: Option<UnixTime>,
) -> Result<(), AuthError> {
    let Some(latest) = used.values().copied().max().max(late) else {
        return Ok(());
    };
    let mut db = Database::open(path, &super::FORMAT, Durability::Lazy)?;
    let noted = (|| {
        let tx = db
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        setup::tell_time(&tx, latest)?;
        for (id, at) in used {
            tx.execute(
                "UPDATE tokens SET last_used = max(ifnull(last_used, ?2), ?2) WHERE id = ?1",
                params![id.as_str(), at.as_nanos()],
            )?;
        }
        tx.commit()
    })();
    noted.map_err(db.failed())
}
