//! The SQLite file.

use crate::error::SessionError;
use crate::key::{failed, private};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a write waits for the write of another process.
const BUSY: Duration = Duration::from_secs(5);

/// Written to `PRAGMA user_version`.
const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY,
        token TEXT NOT NULL,
        created INTEGER NOT NULL,
        used INTEGER NOT NULL,
        turns INTEGER NOT NULL,
        taint INTEGER NOT NULL,
        tag BLOB NOT NULL
    ) STRICT;
    CREATE INDEX sessions_of_token ON sessions (token, used);
    CREATE TABLE answers (
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        digest BLOB NOT NULL,
        session TEXT NOT NULL
    ) STRICT;
    CREATE INDEX answers_by_digest ON answers (digest);
    CREATE INDEX answers_of_session ON answers (session);
    CREATE TABLE approvals (
        id TEXT PRIMARY KEY,
        token TEXT NOT NULL,
        session TEXT,
        turn TEXT,
        tool TEXT NOT NULL,
        effect TEXT NOT NULL,
        arguments TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        reasons TEXT NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        state TEXT NOT NULL,
        decided_by TEXT,
        tag BLOB
    ) STRICT;
    CREATE INDEX approvals_of_token ON approvals (token, state);
    CREATE INDEX approvals_by_time ON approvals (created);
    CREATE TABLE turns (
        id TEXT PRIMARY KEY,
        token TEXT NOT NULL,
        session TEXT NOT NULL,
        created INTEGER NOT NULL,
        state TEXT NOT NULL,
        approval TEXT NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX turns_of_token ON turns (token);";

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The disk: for whatever a refusal rests on.
    Full,
    /// The kernel: it outlives the process, not a power cut. For what is safe to forget.
    Process,
}

/// An open database.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) conn: Connection,
    path: PathBuf,
}

impl Database {
    /// Opens the file, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self, SessionError> {
        if let Some(folder) = path.parent() {
            let made = std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder);
            made.map_err(failed("create", folder))?;
        }
        // SQLite itself would make it readable by others; its side files take over the mode.
        match private(path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(failed("create", path)(error));
            }
            Ok(_) | Err(_) => {}
        }
        let mut db = Self {
            conn: connect(path).map_err(explain(path))?,
            path: path.to_owned(),
        };
        let found = db.write(Durability::Full, |tx| {
            let found: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            if found == 0 {
                tx.execute_batch(SCHEMA)?;
                tx.pragma_update(None, "user_version", VERSION)?;
                return Ok(VERSION);
            }
            Ok(found)
        })?;
        if found == VERSION {
            return Ok(db);
        }
        Err(SessionError::Version {
            path: path.to_owned(),
            found,
            known: VERSION,
        })
    }

    /// One transaction.
    pub(crate) fn write<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, SessionError> {
        let level = match durability {
            Durability::Full => "FULL",
            Durability::Process => "NORMAL",
        };
        let done = (|| {
            self.conn.pragma_update(None, "synchronous", level)?;
            let tx = self
                .conn
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&tx)?;
            tx.commit()?;
            Ok(value)
        })();
        done.map_err(explain(&self.path))
    }

    /// Reads.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SessionError> {
        work(&self.conn).map_err(explain(&self.path))
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY)?;
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA secure_delete = ON; PRAGMA trusted_schema = OFF",
    )?;
    Ok(conn)
}

fn explain(path: &Path) -> impl FnOnce(rusqlite::Error) -> SessionError + use<> {
    let path = path.to_owned();
    move |source| SessionError::Store { path, source }
}
