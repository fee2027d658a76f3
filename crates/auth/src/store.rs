//! The store of tokens: keyed hashes in SQLite, checked from memory.
//!
//! The key to the hashes, the pepper, lies in another folder: a copy of the database alone opens
//! nothing. A hash covers the token's text and what it may do, so whoever can write the database but
//! not read the pepper cannot widen a token.

mod draft;
mod known;
mod pepper;
mod row;
mod setup;
mod usage;

pub use draft::{Draft, NewToken};
pub use row::{TokenInfo, TokenState};
pub use setup::SETUP_TTL;

use crate::database::{Database, Durability, Format};
use crate::error::{AuthError, Rejected};
use crate::files;
use crate::keyed::Keyed;
use crate::token::{self, Kind};
use clawdbot_domain::{Principal, Secret, TokenEnv, TokenId, UnixTime};
use known::{Known, Watch};
use row::Row;
use rusqlite::{Transaction, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use usage::Usage;

/// How long a token lasts when nobody says otherwise: the guide's 90 days.
pub const DEFAULT_TTL: Duration = Duration::from_secs(90 * 86_400);
/// No token lasts longer.
pub const MAX_TTL: Duration = Duration::from_secs(366 * 86_400);
/// How long a token that is over is still kept and listed.
const KEPT: Duration = Duration::from_secs(183 * 86_400);
/// So many tokens are kept, those that are over for less than half a year included.
pub const MAX_TOKENS: u32 = 10_000;

/// 2 kept the end of a token that was seen to be over; 3 limits tokens to some tools.
const FORMAT: Format = Format {
    schema: SCHEMA,
    version: 3,
    oldest: 2,
    upgrade: row::add_what_is_new,
};

const SCHEMA: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY,
        tag BLOB NOT NULL,
        name TEXT NOT NULL,
        scopes TEXT NOT NULL,
        env TEXT NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        operator INTEGER NOT NULL,
        last_used INTEGER,
        revoked INTEGER,
        replaced_by TEXT,
        grace_until INTEGER,
        ended INTEGER,
        tools TEXT
    ) STRICT;
    CREATE TABLE setups (
        id TEXT PRIMARY KEY,
        tag BLOB NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        seen INTEGER NOT NULL,
        spent INTEGER
    ) STRICT;";

/// Tokens on disk, shared by every process of one home: what one changes holds for all at once.
#[derive(Debug)]
pub struct TokenStore {
    keyed: Keyed,
    writer: Mutex<Database>,
    watch: Mutex<Watch>,
    usage: Usage,
}

impl TokenStore {
    /// Opens the store, or makes an empty one. A store whose key is gone stays locked: a new key
    /// would silently void every token.
    ///
    /// # Errors
    /// [`AuthError::Locked`] when the pepper is missing or belongs to another store;
    /// [`AuthError::Damaged`] when the database is not whole. Nothing is made anew then.
    pub fn open(state: &Path, secrets: &Path) -> Result<Self, AuthError> {
        files::private_folder(state)?;
        files::private_folder(secrets)?;
        let paths = Paths {
            store: state.join("tokens.db"),
            pepper: secrets.join("pepper"),
        };
        if !files::is_there(&paths.store)? {
            let keyed = pepper::read_or_make(&paths)?;
            Database::create_once(&paths.store, &FORMAT, |conn| pepper::mark(&keyed, conn))?;
        }
        let keyed = pepper::read(&paths)?;
        let writer = Database::open(&paths.store, &FORMAT, Durability::Full)?;
        pepper::check(&keyed, &writer, &paths)?;
        let watch = Watch::open(&paths.store)?;
        Ok(Self {
            keyed,
            writer: Mutex::new(writer),
            watch: Mutex::new(watch),
            usage: Usage::new(paths.store),
        })
    }

    /// Makes a token. The secret is in the answer and nowhere else.
    ///
    /// Whoever writes down what happens before it does uses [`draft`](Self::draft) and
    /// [`keep`](Self::keep) instead.
    pub fn create(
        &self,
        new: &NewToken<'_>,
        now: UnixTime,
    ) -> Result<(Secret, TokenInfo), AuthError> {
        self.keep(self.draft(new, now)?)
    }

    /// A new token in place of an old one, which counts for `grace` longer.
    pub fn rotate(
        &self,
        id: &TokenId,
        grace: Duration,
        now: UnixTime,
    ) -> Result<(Secret, TokenInfo), AuthError> {
        self.keep(self.draft_rotation(id, grace, now)?)
    }

    /// Every token, newest first, without those that are over for half a year.
    pub fn list(&self, now: UnixTime) -> Result<Vec<TokenInfo>, AuthError> {
        self.usage.write_down()?;
        let rows = row::all(&self.writer())?;
        let all = rows.iter().map(Row::info);
        Ok(all.filter(|t| now.since(t.ended()) < KEPT).collect())
    }

    /// One token.
    pub fn find(&self, id: &TokenId) -> Result<TokenInfo, AuthError> {
        self.row(id).map(|row| row.info())
    }

    /// Live tokens that were not used for this long (or ever, since they were made).
    pub fn unused(&self, age: Duration, now: UnixTime) -> Result<Vec<TokenInfo>, AuthError> {
        let idle = |t: &TokenInfo| now.since(t.last_used.unwrap_or(t.created)) >= age;
        let all = self.list(now)?.into_iter();
        Ok(all.filter(|t| t.is_live(now) && idle(t)).collect())
    }

    /// Revokes a token; once this returns, that is durable and no process takes it any more.
    pub fn revoke(&self, id: &TokenId, now: UnixTime) -> Result<TokenInfo, AuthError> {
        self.write(now, |tx| {
            let sql = "UPDATE tokens SET revoked = ?2 WHERE id = ?1 AND revoked IS NULL";
            tx.execute(sql, params![id.as_str(), now.as_nanos()])
        })?;
        self.find(id)
    }

    /// Checks an access token. A text that is no token costs a checksum and nothing else; an
    /// unknown id costs the same as a wrong secret.
    pub(crate) fn check(&self, presented: &str, now: UnixTime) -> Result<Principal, Rejected> {
        let id = access_id(presented)?;
        let known = self.known().map_err(unreadable)?;
        let (entry, found) = known.get_or_decoy(&id);
        // First and always: nothing can be learnt about a token without its secret.
        let genuine = entry.row.is_genuine(&self.keyed, presented);
        if !found || !genuine {
            return Err(Rejected::Unknown);
        }
        if let Err(why) = entry.in_force(now) {
            if why == Rejected::Expired && entry.is_over_first_time() {
                self.usage.late(now);
            }
            return Err(why);
        }
        if entry.is_due(now) {
            self.usage.note(id, now);
        }
        Ok(entry.principal.clone())
    }

    /// True while the token counts for a gateway of this environment. A store that cannot be read
    /// vouches for nobody.
    pub(crate) fn still_valid(&self, id: &TokenId, env: TokenEnv, now: UnixTime) -> bool {
        self.known().is_ok_and(|known| {
            known
                .get(id)
                .is_some_and(|entry| entry.row.env == env && entry.in_force(now).is_ok())
        })
    }

    /// The token whose text this is, if it is genuine; whether it counts is another question.
    pub(crate) fn recognise(&self, presented: &str) -> Result<TokenInfo, Rejected> {
        let id = access_id(presented)?;
        let known = self.known().map_err(unreadable)?;
        let (entry, found) = known.get_or_decoy(&id);
        let genuine = entry.row.is_genuine(&self.keyed, presented);
        if found && genuine {
            Ok(entry.row.info())
        } else {
            Err(Rejected::Unknown)
        }
    }

    /// What is in force at this moment, changes by other processes included.
    fn known(&self) -> Result<Arc<Known>, AuthError> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.current()
    }

    fn row(&self, id: &TokenId) -> Result<Row, AuthError> {
        let found = row::one(&self.writer(), id.as_str())?;
        found.ok_or_else(|| AuthError::NoSuchToken(id.to_string()))
    }

    fn writer(&self) -> MutexGuard<'_, Database> {
        // A panic inside a transaction rolled it back: the connection is whole.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One durable transaction. Each one also tells how late it is to whatever has an end.
    fn write<T, E>(
        &self,
        now: UnixTime,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, AuthError>
    where
        Failed: From<E>,
    {
        let mut db = self.writer();
        db.still_in_place()?;
        let done = (|| {
            let tx = db
                .conn
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            setup::tell_time(&tx, now)?;
            let value = work(&tx)?;
            tx.commit()?;
            Ok(value)
        })();
        done.map_err(|failed| match failed {
            Failed::Refused(error) => error,
            Failed::Database(error) => db.failed()(error),
        })
    }
}

/// Why a transaction was not committed.
enum Failed {
    Refused(AuthError),
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<AuthError> for Failed {
    fn from(error: AuthError) -> Self {
        Self::Refused(error)
    }
}

/// The id in an access token's text.
fn access_id(presented: &str) -> Result<TokenId, Rejected> {
    match token::parse(presented) {
        Some(parts) if parts.kind != Kind::Setup => Ok(TokenId::new(parts.id)),
        Some(_) | None => Err(Rejected::Malformed),
    }
}

/// A missing answer is a no. By value, for `map_err`.
#[allow(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
fn unreadable(error: AuthError) -> Rejected {
    Rejected::StoreFailed(error.to_string())
}

/// Where the two halves are.
struct Paths {
    store: PathBuf,
    pepper: PathBuf,
}

impl Paths {
    fn locked(&self, why: &'static str) -> AuthError {
        AuthError::Locked {
            pepper: self.pepper.clone(),
            store: self.store.clone(),
            why,
        }
    }
}

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod tests;
