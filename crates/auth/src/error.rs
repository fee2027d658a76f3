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
    /// There are tokens, but the key that checks them is gone.
    #[error(
        "locked: {} is missing, and without it no token in {} can be checked; restore it from your backup, or move the store away to start anew",
        pepper.display(), store.display()
    )]
    Locked {
        /// The missing key.
        pepper: PathBuf,
        /// The store it belongs to.
        store: PathBuf,
    },
    /// A key file with something else in it.
    #[error("{} does not hold a key of 32 bytes", .0.display())]
    BadKey(PathBuf),
    /// No token of that id.
    #[error("there is no token with the id {0:?}")]
    NoSuchToken(String),
    /// A name or scope set that no token may have.
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
    /// The clock stands before the token was made.
    #[error("the token was made later than the clock says it is now")]
    NotYet,
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
