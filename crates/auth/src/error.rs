//! What can go wrong, for the log. A caller hears only that a valid token is needed.

use clawdbot_domain::{Origin, ProviderName, TokenEnv};
use std::path::PathBuf;

/// Why the store of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
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
    /// The database is not whole. It is left as it is.
    #[error(
        "{} is damaged ({why}) and is left as it is; restore it from your backup, or move it away to start anew",
        path.display()
    )]
    Damaged {
        /// Which database.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The database was made by another version of this program. It is left as it is.
    #[error(
        "{} was written by {} version of clawdbot (format {found}; this program's is {known}) and is left as it is; open it with the version that wrote it, or move it away to start anew",
        path.display(), if found > known { "a newer" } else { "an older" }
    )]
    OtherVersion {
        /// Which database.
        path: PathBuf,
        /// The version of its format.
        found: i64,
        /// The version that this program writes.
        known: i64,
    },
    /// The database was moved away or replaced while it was in use.
    #[error("{} was moved or replaced while in use; restart to use what is there now", .0.display())]
    Replaced(PathBuf),
    /// There are tokens, but the key that checks them is gone or is another one.
    #[error(
        "locked: {} {why}, and without the right key no token in {} can be checked; restore it from your backup, or move the store away to start anew",
        pepper.display(), store.display()
    )]
    Locked {
        /// The key.
        pepper: PathBuf,
        /// The store it should belong to.
        store: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A key file with something else in it.
    #[error("{} does not hold a key of 32 bytes", .0.display())]
    BadKey(PathBuf),
    /// No token of that id.
    #[error("there is no token with the id {0:?}")]
    NoSuchToken(String),
    /// A token that is over cannot be given a successor.
    #[error(
        "token {0} is revoked, expired or replaced already; make a new one: clawdbot tokens create"
    )]
    NotLive(String),
    /// The cap on tokens is reached.
    #[error(
        "there are {0} tokens already, and no more are kept; those over for half a year go by themselves"
    )]
    TooMany(u32),
    /// A name, scope set or life that no token may have.
    #[error("{0}")]
    BadToken(&'static str),
    /// The system gave no randomness.
    #[error("the system gave no randomness")]
    NoRandomness,
}

/// Why a presented token does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It is no token of ours, or its checksum is wrong: mistyped, cut, or made up.
    #[error("it is not a token of this program")]
    Malformed,
    /// Well formed, but unknown or with a wrong secret.
    #[error("no token with this id and secret")]
    Unknown,
    /// Taken back.
    #[error("the token was revoked")]
    Revoked,
    /// Over.
    #[error("the token has expired")]
    Expired,
    /// Used before.
    #[error("the setup token was used before")]
    Spent,
    /// The clock stands before a time that was seen since the setup token was made.
    #[error("the clock was set back; make a new setup token: clawdbot tokens setup")]
    ClockSetBack,
    /// The new token cannot have that name. The setup token is not spent.
    #[error("{0}")]
    BadName(&'static str),
    /// A token of the other environment.
    #[error("it is a {0} token and this gateway is not")]
    WrongEnvironment(TokenEnv),
    /// The store could not be asked; a missing answer is a no.
    #[error("the store cannot be read: {0}")]
    StoreFailed(String),
}

/// Why a credential cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key is missing or is not the one the store was sealed with.
    #[error("the vault is locked: {0}")]
    Locked(String),
    /// The credential belongs to another host.
    #[error(
        "the credential of {provider} is for {bound} and is not sent to {asked}; paste one for the new host: clawdbot models auth paste-token --provider {provider}"
    )]
    WrongHost {
        /// Whose credential.
        provider: ProviderName,
        /// Where it may go.
        bound: String,
        /// Where it was asked for.
        asked: Origin,
    },
    /// The sealed record does not open: it was changed, or moved from another place.
    #[error("the sealed credential of {0} was changed or moved; paste it again")]
    Tampered(ProviderName),
    /// A record stands in the way of a new key, since it does not open with the old one.
    #[error(
        "the sealed credential of {0} does not open, so the key was not changed; paste it again, or remove it: clawdbot models auth reset --provider {0}"
    )]
    WillNotOpen(String),
    /// The key is not in a file of ours, so another one cannot be put there.
    #[error(
        "the key comes from {0}, where this program cannot put another; give the file that holds the new key with --key-file FILE (it is made when it is not there), or seal with --passphrase"
    )]
    NotOurs(String),
    /// Not everything could be removed.
    #[error("these credentials remain: {0}")]
    Remains(String),
    /// A text no credential can be.
    #[error("{0}")]
    BadSecret(&'static str),
    /// A file or the database.
    #[error(transparent)]
    Store(#[from] AuthError),
}
