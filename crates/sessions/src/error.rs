//! What can go wrong.

use crate::approval::ApprovalState;
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
    /// There is none, or it is another token's or session's: one answer for all.
    #[error("there is no approval {0:?} for this token in this session")]
    NoSuchApproval(String),
    /// It was asked about another call.
    #[error("approval {0} is for another call: tool and arguments must be the very same")]
    OtherCall(String),
    /// It cannot be used or decided in this state.
    #[error("approval {id} {}", state.words())]
    NotSo {
        /// Which.
        id: String,
        /// What it is in.
        state: ApprovalState,
    },
    /// As many calls of the token wait as may.
    #[error(
        "{0} calls of this token wait for a person already; no more is asked until some are decided"
    )]
    TooManyWaiting(u32),
    /// There is none, or it is another token's.
    #[error("there is no turn {0:?} of this token that waits")]
    NoSuchTurn(String),
    /// Nobody has decided yet.
    #[error("turn {turn} still waits for approval {approval}")]
    StillWaiting {
        /// Which turn.
        turn: String,
        /// For which approval.
        approval: String,
    },
    /// The conversation is too large to be kept, or too much is kept already.
    #[error("the conversation is too large to wait for a person, or too many wait")]
    NoRoomToWait,
}
