//! What can go wrong.

use std::path::PathBuf;

/// Why something could not be done with a session, an approval or a turn.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A file could not be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What we were doing.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database could not be read or written.
    #[error("the store {}: {source}", path.display())]
    Store {
        /// Which database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// Another program's file, or a later version's.
    #[error(
        "{} has version {found}, this program knows {known}; move it away to start anew (sessions and \
         approvals are forgotten, nothing is permitted by that)",
        path.display()
    )]
    Version {
        /// Which database.
        path: PathBuf,
        /// What stands in it.
        found: i64,
        /// What this program writes.
        known: i64,
    },
    /// The key file holds something else.
    #[error("{} does not hold a key of 32 bytes; remove it to have one made (sessions are forgotten)", .0.display())]
    BadKey(PathBuf),
    /// The system gave no randomness.
    #[error("the system gives no randomness")]
    NoRandomness,
    /// There is none, it is over, or it is another token's: one answer for all.
    #[error("there is no session {0:?} of this token, or it is over")]
    NoSuchSession(String),
}
