//! The tokens in memory, as fresh as the file.
//!
//! Every request asks SQLite's `data_version`, which changes when any other connection commits, so a
//! revocation by another process holds for the very next request. The connection here never writes:
//! what this process writes comes from another one, too, and is seen in the same way.

use super::row::{self, Row};
use super::usage;
use crate::database::{Database, Durability};
use crate::error::{AuthError, Rejected};
use clawdbot_domain::{Principal, ScopeSet, TokenEnv, TokenId, ToolLimit, UnixTime};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// A token, and when its use was last noted.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) row: Row,
    /// Who it is; made once, since every request needs it.
    pub(super) principal: Principal,
    noted: AtomicI64,
    /// Its end was seen here; not yet in the store, perhaps.
    over: AtomicBool,
}

impl Entry {
    fn new(row: Row) -> Self {
        let noted = row.last_used.map_or(i64::MIN, UnixTime::as_nanos);
        let principal = Principal {
            token: row.id.clone(),
            name: Arc::clone(&row.name),
            scopes: row.scopes,
            env: row.env,
            tools: row.tools.clone(),
        };
        Self {
            row,
            principal,
            noted: AtomicI64::new(noted),
            over: AtomicBool::new(false),
        }
    }

    /// Whether the token counts at this moment. What was over once stays over.
    pub(super) fn in_force(&self, now: UnixTime) -> Result<(), Rejected> {
        self.row.in_force(now)?;
        if self.over.load(Ordering::Relaxed) {
            return Err(Rejected::Expired);
        }
        Ok(())
    }

    /// Remembers that its end was seen; true when it was not known before.
    pub(super) fn is_over_first_time(&self) -> bool {
        !self.over.swap(true, Ordering::Relaxed) && self.row.ended.is_none()
    }

    /// True once in a while: when the use of this token is to be noted.
    pub(super) fn is_due(&self, now: UnixTime) -> bool {
        let noted = self.noted.load(Ordering::Relaxed);
        // One of several requests at once wins; a clock that went back notes nothing.
        now.as_nanos().saturating_sub(noted) >= usage::EVERY_NANOS
            && self
                .noted
                .compare_exchange(noted, now.as_nanos(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// All tokens at one moment.
#[derive(Debug)]
pub(super) struct Known {
    by_id: HashMap<TokenId, Entry>,
    decoy: Entry,
}

impl Known {
    fn new(rows: Vec<Row>) -> Self {
        let entry = |row: Row| (row.id.clone(), Entry::new(row));
        Self {
            by_id: rows.into_iter().map(entry).collect(),
            decoy: Entry::new(decoy()),
        }
    }

    /// Takes over which tokens were seen to be over: that may not be in the store yet.
    fn keep_ends_of(&self, earlier: &Self) {
        let over = earlier.by_id.iter();
        for (id, _) in over.filter(|(_, entry)| entry.over.load(Ordering::Relaxed)) {
            if let Some(entry) = self.by_id.get(id) {
                entry.over.store(true, Ordering::Relaxed);
            }
        }
    }

    /// The token with this id, or a stand-in that matches nothing and takes as long to compare.
    pub(super) fn get_or_decoy(&self, id: &TokenId) -> (&Entry, bool) {
        self.get(id)
            .map_or((&self.decoy, false), |entry| (entry, true))
    }

    /// The token with this id.
    pub(super) fn get(&self, id: &TokenId) -> Option<&Entry> {
        self.by_id.get(id)
    }
}

fn decoy() -> Row {
    Row {
        id: TokenId::new("aaaaaaaaaaaa"),
        tag: [0; 32],
        name: "".into(),
        scopes: ScopeSet::NONE,
        env: TokenEnv::Prod,
        created: UnixTime::from_nanos(0),
        expires: UnixTime::from_nanos(0),
        operator: false,
        last_used: None,
        revoked: None,
        replaced_by: None,
        grace_until: None,
        ended: None,
        tools: ToolLimit::Unlimited,
    }
}

/// Sees changes.
#[derive(Debug)]
pub(super) struct Watch {
    db: Database,
    version: i64,
    known: Arc<Known>,
}

impl Watch {
    pub(super) fn open(path: &Path) -> Result<Self, AuthError> {
        let db = Database::open(path, &super::FORMAT, Durability::Full)?;
        let version = db.changes_of_others()?;
        let known = Arc::new(Known::new(row::all(&db)?));
        Ok(Self { db, version, known })
    }

    /// What is in force now.
    pub(super) fn current(&mut self) -> Result<Arc<Known>, AuthError> {
        self.db.still_in_place()?;
        // First the version, then the rows: a change in between is taken in once more next time.
        let version = self.db.changes_of_others()?;
        if version != self.version {
            let known = Known::new(row::all(&self.db)?);
            known.keep_ends_of(&self.known);
            self.known = Arc::new(known);
            self.version = version;
        }
        Ok(Arc::clone(&self.known))
    }
}
