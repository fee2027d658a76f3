//! The mark by which a store knows its key, and where that key is kept.

use super::seal::{seal, unseal};
use crate::database::Database;
use crate::error::{AuthError, VaultError};
use crate::files::{self, Key};
use rusqlite::{OptionalExtension as _, params};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

const BOUND: &[u8] = b"clawdbot vault 2";

/// What a vault remembers of its key.
#[derive(Debug)]
pub(super) struct Mark {
    /// The fingerprint key, sealed with the master key: only the right one opens it.
    sealed: Vec<u8>,
    /// How the key is made from a passphrase, if it is.
    pub(super) kdf: Option<String>,
    /// The file that the operator moved the key to, if one was named.
    pub(super) kept: Option<PathBuf>,
}

/// The right master key of a store.
#[derive(Debug)]
pub(super) struct Master {
    pub(super) key: Key,
    /// Fingerprints outlive the master key, so that the audit log can still be compared with them.
    pub(super) fingerprints: Key,
}

impl Mark {
    pub(super) fn read(db: &Database) -> Result<Option<Self>, AuthError> {
        let sql = "SELECT sealed, kdf, kept FROM key_check WHERE one = 1";
        let read = || {
            let mut query = db.conn.prepare_cached(sql)?;
            let row = query.query_row([], |row| {
                let kept: Option<Vec<u8>> = row.get(2)?;
                Ok(Self {
                    sealed: row.get(0)?,
                    kdf: row.get(1)?,
                    kept: kept.map(|bytes| OsStr::from_bytes(&bytes).into()),
                })
            });
            row.optional()
        };
        read().map_err(db.failed())
    }

    /// The master, when this is the right key.
    pub(super) fn opens(&self, key: &Key) -> Option<Master> {
        let fingerprints = unseal(key, &self.sealed, BOUND)?;
        Some(Master {
            key: key.clone(),
            fingerprints: Key::new(fingerprints.as_slice().try_into().ok()?),
        })
    }

    /// Marks a store that has no key yet. Another process may do so at the same time: one mark stays.
    pub(super) fn begin(db: &Database, key: &Key, kdf: Option<&str>) -> Result<(), VaultError> {
        let sealed = seal(key, files::random::<32>()?.as_ref(), BOUND)?;
        let sql = "INSERT OR IGNORE INTO key_check (one, sealed, kdf) VALUES (1, ?1, ?2)";
        let made = db.conn.execute(sql, params![sealed, kdf]);
        Ok(made.map(|_| ()).map_err(db.failed())?)
    }

    /// Puts another key's mark in the place of this one.
    pub(super) fn replace(
        db: &Database,
        master: &Master,
        kdf: Option<&str>,
        kept: Option<&Path>,
    ) -> Result<(), VaultError> {
        let sealed = seal(&master.key, master.fingerprints.as_ref(), BOUND)?;
        let kept = kept.map(|path| path.as_os_str().as_bytes());
        let sql = "UPDATE key_check SET sealed = ?1, kdf = ?2, kept = ?3 WHERE one = 1";
        let made = db.conn.execute(sql, params![sealed, kdf, kept]);
        Ok(made.map(|_| ()).map_err(db.failed())?)
    }
}
