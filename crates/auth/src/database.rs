//! One SQLite file: made whole or not at all, opened only when whole, noticed when replaced.

use crate::error::AuthError;
use crate::files;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a write waits for the write of another process.
pub(crate) const BUSY: Duration = Duration::from_secs(5);

/// What the file of a store looks like.
pub(crate) struct Format {
    /// The tables of a new file.
    pub(crate) schema: &'static str,
    /// Written to `PRAGMA user_version`, so that another program's or a later version's file is not taken for
    /// ours. Raised also for a mere new column: a program that does not know it would not keep to it.
    pub(crate) version: i64,
    /// The oldest version that `upgrade` takes up.
    pub(crate) oldest: i64,
    /// Brings a file of an older version to this one, inside the transaction that writes the new number.
    pub(crate) upgrade: fn(&Transaction<'_>) -> rusqlite::Result<()>,
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The disk. For everything that a decision rests on.
    Full,
    /// Nothing: a crash may lose it. For "last used" only.
    Lazy,
}

/// Which file this is, whatever its name comes to stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        let stat = rustix::fs::stat(path).ok()?;
        Some(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }
}

/// An open database and the file it stands in.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) conn: Connection,
    path: PathBuf,
    identity: Option<Identity>,
}

impl Database {
    /// Makes the file if there is none: it gets its name only when `fill` is done and on disk, and
    /// never takes the place of another. Of two processes that do this at once, one file stays.
    pub(crate) fn create_once(
        path: &Path,
        format: &Format,
        fill: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(), AuthError> {
        // SQLite itself would make it readable by others; its side files take over the mode.
        let temporary = files::temporary(path, &[])?;
        let made = (|| {
            let conn = connect(&temporary, Durability::Full)?;
            conn.execute_batch("PRAGMA journal_mode = WAL")
                .and_then(|()| conn.execute_batch(format.schema))
                .and_then(|()| conn.pragma_update(None, "user_version", format.version))
                .and_then(|()| fill(&conn))
                // Closing the last connection writes the log back, to disk, and removes it.
                .and_then(|()| conn.close().map_err(|(_, error)| error))
                .map_err(explain(path))
        })();
        if made.is_err() {
            let _ = std::fs::remove_file(&temporary);
            return made;
        }
        files::link_once(&temporary, path).map(|_| ())
    }

    /// Opens a file that must be there and whole, and brings one of an older version to this one.
    pub(crate) fn open(
        path: &Path,
        format: &Format,
        durability: Durability,
    ) -> Result<Self, AuthError> {
        let identity = Identity::of(path);
        let meta = std::fs::metadata(path).map_err(files::failed("open", path))?;
        if meta.len() == 0 {
            return Err(damaged(path, "it is empty"));
        }
        let mut conn = connect(path, durability)?;
        let checked: String = conn
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(explain(path))?;
        if checked != "ok" {
            return Err(damaged(path, checked));
        }
        match version(&conn).map_err(explain(path))? {
            found if found == format.version => {}
            found if (format.oldest..format.version).contains(&found) => {
                upgrade(&mut conn, format).map_err(explain(path))?;
            }
            found => {
                return Err(AuthError::OtherVersion {
                    path: path.to_owned(),
                    found,
                    known: format.version,
                });
            }
        }
        Ok(Self {
            conn,
            path: path.to_owned(),
            identity,
        })
    }

    /// An error when the name no longer leads to the file that is open: what another process revokes
    /// would go to the new file and never be seen here.
    pub(crate) fn still_in_place(&self) -> Result<(), AuthError> {
        if self.identity.is_some() && Identity::of(&self.path) == self.identity {
            Ok(())
        } else {
            Err(AuthError::Replaced(self.path.clone()))
        }
    }

    /// A number that changes whenever another connection has written: SQLite's `data_version`.
    pub(crate) fn changes_of_others(&self) -> Result<i64, AuthError> {
        let ask = || {
            let mut statement = self.conn.prepare_cached("PRAGMA data_version")?;
            statement.query_row([], |row| row.get(0))
        };
        ask().map_err(self.failed())
    }

    /// For `map_err`: says which store, and whether it is damaged.
    pub(crate) fn failed(&self) -> impl FnOnce(rusqlite::Error) -> AuthError + use<> {
        explain(&self.path)
    }

    /// The error for content that cannot be.
    pub(crate) fn damaged(&self, why: impl Into<String>) -> AuthError {
        damaged(&self.path, why)
    }
}

fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// The whole step or none of it.
fn upgrade(conn: &mut Connection, format: &Format) -> rusqlite::Result<()> {
    // At once, so that of two processes that find an older file one does it.
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if version(&tx)? < format.version {
        (format.upgrade)(&tx)?;
        tx.pragma_update(None, "user_version", format.version)?;
    }
    tx.commit()
}

fn connect(path: &Path, durability: Durability) -> Result<Connection, AuthError> {
    // Without CREATE: a store that vanished must not come back empty.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let conn = Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(BUSY)?;
        conn.execute_batch(match durability {
            Durability::Full => "PRAGMA synchronous = FULL",
            // A checkpoint would wait for the disk, so it is left to others.
            Durability::Lazy => "PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 0",
        })?;
        // What is deleted is overwritten; nothing in the file is trusted to call functions.
        conn.execute_batch("PRAGMA secure_delete = ON; PRAGMA trusted_schema = OFF")?;
        Ok(conn)
    };
    open().map_err(explain(path))
}

fn explain(path: &Path) -> impl FnOnce(rusqlite::Error) -> AuthError + use<> {
    let path = path.to_owned();
    move |source| match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            damaged(&path, source.to_string())
        }
        _ => AuthError::Store { path, source },
    }
}

fn damaged(path: &Path, why: impl Into<String>) -> AuthError {
    AuthError::Damaged {
        path: path.to_owned(),
        why: why.into(),
    }
}
