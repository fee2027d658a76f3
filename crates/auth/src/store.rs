//! The store of tokens: keyed hashes in SQLite, checked from memory.

use crate::error::{AuthError, Rejected};
use crate::files;
use crate::token::{self, Kind};
use clawdbot_domain::{Principal, ScopeSet, Secret, TokenEnv, TokenId, UnixTime};
use hmac::{Hmac, Mac as _};
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use sha2::Sha256;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use subtle::ConstantTimeEq as _;

/// How long a token lasts when nobody says otherwise: the guide's 90 days.
pub const DEFAULT_TTL: Duration = Duration::from_secs(90 * 86_400);

/// How long a setup token lasts.
pub const SETUP_TTL: Duration = Duration::from_secs(15 * 60);

/// How often the last use of a token is written at most.
const USE_WRITTEN_EVERY: Duration = Duration::from_secs(60);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS tokens (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, scopes TEXT NOT NULL, env TEXT NOT NULL,
  mac BLOB NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL,
  last_used INTEGER, revoked INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS setups (
  id TEXT PRIMARY KEY, mac BLOB NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL,
  spent INTEGER
) STRICT;";

/// A token to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewToken<'a> {
    /// What people call it.
    pub name: &'a str,
    /// What it may do.
    pub scopes: ScopeSet,
    /// Which gateways take it.
    pub env: TokenEnv,
    /// How long it lasts; [`DEFAULT_TTL`] when nobody says.
    pub ttl: Option<Duration>,
}

/// What is known of a token; never its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its public id.
    pub id: TokenId,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scopes: ScopeSet,
    /// Which gateways take it.
    pub env: TokenEnv,
    /// When it was made.
    pub created: UnixTime,
    /// From when on it no longer counts.
    pub expires: UnixTime,
    /// When it was last used, to the minute.
    pub last_used: Option<UnixTime>,
    /// Since when it is revoked.
    pub revoked: Option<UnixTime>,
}

impl TokenInfo {
    /// True when it counts.
    pub fn is_live(&self, now: UnixTime) -> bool {
        self.revoked.is_none() && now < self.expires
    }
}

/// Tokens on disk, shared by every process of one home.
#[derive(Debug)]
pub struct TokenStore {
    path: PathBuf,
    /// HMAC keyed with the pepper; cloned instead of keyed anew for each check.
    mac: Hmac<Sha256>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: Connection,
    /// SQLite's counter of changes by other connections, as of the last load.
    version: i64,
    known: HashMap<String, Known>,
    /// Uses not written yet.
    used: HashMap<String, UnixTime>,
}

#[derive(Debug)]
struct Known {
    mac: Vec<u8>,
    info: TokenInfo,
    principal: Principal,
}

impl TokenStore {
    /// Opens the store, or makes an empty one. A store whose key is gone stays locked: a new key
    /// would silently void every token.
    pub fn open(state: &Path, secrets: &Path) -> Result<Self, AuthError> {
        files::private_folder(state)?;
        files::private_folder(secrets)?;
        let (path, pepper_path) = (state.join("tokens.db"), secrets.join("pepper"));
        if !path.exists() && files::read_key(&pepper_path)?.is_none() {
            files::create_once(&pepper_path, files::new_key_text()?.as_bytes())?;
        }
        let locked = || AuthError::Locked {
            pepper: pepper_path.clone(),
            store: path.clone(),
        };
        let pepper = files::read_key(&pepper_path)?.ok_or_else(locked)?;
        let wrong = |source| AuthError::Store {
            path: path.clone(),
            source,
        };
        let db = open_database(&path, SCHEMA).map_err(wrong)?;
        let mac = Hmac::new_from_slice(pepper.as_ref())
            .map_err(|_| AuthError::BadKey(pepper_path.clone()))?;
        let inner = Inner {
            db,
            version: -1,
            known: HashMap::new(),
            used: HashMap::new(),
        };
        let store = Self {
            path: path.clone(),
            mac,
            inner: Mutex::new(inner),
        };
        store.lock().refresh().map_err(wrong)?;
        Ok(store)
    }

    /// Makes a token. The secret is in the answer and nowhere else.
    pub fn create(
        &self,
        new: &NewToken<'_>,
        now: UnixTime,
    ) -> Result<(Secret, TokenInfo), AuthError> {
        check_new(new)?;
        let (id, secret) = token::mint(Kind::Access(new.env))?;
        let info = info_of(&id, new, now);
        let mut inner = self.lock();
        let inserted = insert(&inner.db, &info, &self.mac_of(secret.expose()));
        inserted
            .and_then(|()| inner.reload())
            .map_err(|e| self.failed(e))?;
        Ok((secret, info))
    }

    /// Every token, newest first.
    pub fn list(&self, now: UnixTime) -> Result<Vec<TokenInfo>, AuthError> {
        self.write_uses(now)?;
        let mut inner = self.lock();
        inner.refresh().map_err(|e| self.failed(e))?;
        let mut all: Vec<_> = inner
            .known
            .values()
            .map(|known| known.info.clone())
            .collect();
        all.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(all)
    }

    /// Revokes a token; once this returns, no process takes it any more.
    pub fn revoke(&self, id: &TokenId, now: UnixTime) -> Result<TokenInfo, AuthError> {
        let mut inner = self.lock();
        let sql = "UPDATE tokens SET revoked = coalesce(revoked, ?2) WHERE id = ?1";
        let done = inner.db.execute(sql, params![id.as_str(), now.as_nanos()]);
        done.and_then(|_| inner.reload())
            .map_err(|e| self.failed(e))?;
        let known = inner.known.get(id.as_str()).map(|known| known.info.clone());
        known.ok_or_else(|| AuthError::NoSuchToken(id.to_string()))
    }

    /// Live tokens that were not used for this long (or ever, since they were made).
    pub fn unused(&self, age: Duration, now: UnixTime) -> Result<Vec<TokenInfo>, AuthError> {
        let idle = |t: &TokenInfo| now.since(t.last_used.unwrap_or(t.created)) >= age;
        Ok(self
            .list(now)?
            .into_iter()
            .filter(|t| t.is_live(now) && idle(t))
            .collect())
    }

    /// A new token in place of an old one, which counts for `grace` longer.
    pub fn rotate(
        &self,
        id: &TokenId,
        grace: Duration,
        now: UnixTime,
    ) -> Result<(Secret, TokenInfo), AuthError> {
        let old = self
            .list(now)?
            .into_iter()
            .find(|t| t.id == *id && t.is_live(now));
        let old = old.ok_or_else(|| AuthError::NoSuchToken(id.to_string()))?;
        let ttl = Some(old.expires.since(old.created));
        let new = NewToken {
            name: &old.name,
            scopes: old.scopes,
            env: old.env,
            ttl,
        };
        let (new_id, secret) = token::mint(Kind::Access(new.env))?;
        let info = info_of(&new_id, &new, now);
        let mac = self.mac_of(secret.expose());
        let mut inner = self.lock();
        let swapped = inner.db.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|t| {
            let sql = "UPDATE tokens SET expires = min(expires, ?2) WHERE id = ?1 AND revoked IS NULL";
            t.execute(sql, params![id.as_str(), now.plus(grace).as_nanos()])?;
            insert(&t, &info, &mac)?;
            t.commit()
        });
        swapped
            .and_then(|()| inner.reload())
            .map_err(|e| self.failed(e))?;
        Ok((secret, info))
    }

    /// Makes a setup token: [`SETUP_TTL`], one use.
    pub fn create_setup(&self, now: UnixTime) -> Result<(Secret, UnixTime), AuthError> {
        let (id, secret) = token::mint(Kind::Setup)?;
        let expires = now.plus(SETUP_TTL);
        let sql = "INSERT INTO setups (id, mac, created, expires) VALUES (?1, ?2, ?3, ?4)";
        let mac = self.mac_of(secret.expose());
        let values = params![id, mac, now.as_nanos(), expires.as_nanos()];
        self.lock()
            .db
            .execute(sql, values)
            .map_err(|e| self.failed(e))?;
        Ok((secret, expires))
    }

    /// Trades a setup token for an admin token. That it is spent and that the new token exists
    /// become durable in one transaction, before anyone sees the new token.
    pub fn redeem_setup(
        &self,
        presented: &str,
        name: &str,
        env: TokenEnv,
        now: UnixTime,
    ) -> Result<(Secret, TokenInfo), Rejected> {
        let parts = token::parse(presented).filter(|p| p.kind == Kind::Setup);
        let id = parts.ok_or(Rejected::Malformed)?.id;
        let new = NewToken {
            name,
            scopes: ScopeSet::ALL,
            env,
            ttl: None,
        };
        check_new(&new).map_err(|e| Rejected::StoreFailed(e.to_string()))?;
        let minted = token::mint(Kind::Access(env));
        let (new_id, secret) = minted.map_err(|e| Rejected::StoreFailed(e.to_string()))?;
        let info = info_of(&new_id, &new, now);
        let macs = (self.mac_of(presented), self.mac_of(secret.expose()));
        let mut inner = self.lock();
        let spent = spend(&mut inner.db, id, &macs.0, now, &info, &macs.1);
        spent.map_err(|e| Rejected::StoreFailed(e.to_string()))??;
        inner
            .reload()
            .map_err(|e| Rejected::StoreFailed(e.to_string()))?;
        Ok((secret, info))
    }

    /// Writes when tokens were last used: called now and then by whoever runs for long, so that
    /// authentication never waits for a disk.
    pub fn write_uses(&self, now: UnixTime) -> Result<(), AuthError> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let known = &inner.known;
        let due = |id: &String, at: &UnixTime| {
            let written = known.get(id).and_then(|k| k.info.last_used);
            written.is_none_or(|w| at.since(w) >= USE_WRITTEN_EVERY)
        };
        let uses: Vec<_> = inner.used.iter().filter(|(id, at)| due(id, at)).collect();
        if uses.is_empty() {
            return Ok(());
        }
        let transaction = inner
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate);
        let written = transaction.and_then(|t| {
            for (id, at) in uses {
                let sql =
                    "UPDATE tokens SET last_used = max(coalesce(last_used, 0), ?2) WHERE id = ?1";
                t.execute(sql, params![id, (*at).min(now).as_nanos()])?;
            }
            t.commit()
        });
        written
            .and_then(|()| inner.reload())
            .map_err(|e| self.failed(e))?;
        inner.used.clear();
        Ok(())
    }

    /// Checks an access token. A text that is no token costs a checksum and nothing else; an
    /// unknown id costs the same as a wrong secret.
    pub(crate) fn check(&self, presented: &str, now: UnixTime) -> Result<Principal, Rejected> {
        let parts = token::parse(presented).ok_or(Rejected::Malformed)?;
        let Kind::Access(_) = parts.kind else {
            return Err(Rejected::Malformed);
        };
        let mac = self.mac_of(presented);
        let mut inner = self.lock();
        inner
            .refresh()
            .map_err(|e| Rejected::StoreFailed(e.to_string()))?;
        let known = inner.known.get(parts.id);
        let expected = known.map_or(&[0; 32][..], |known| known.mac.as_slice());
        let same: bool = expected.ct_eq(&mac).into();
        let known = known.filter(|_| same).ok_or(Rejected::Unknown)?;
        if known.info.revoked.is_some() {
            return Err(Rejected::Revoked);
        }
        if now >= known.info.expires {
            return Err(Rejected::Expired);
        }
        let principal = known.principal.clone();
        match inner.used.get_mut(parts.id) {
            Some(at) => *at = now,
            None => {
                inner.used.insert(parts.id.to_owned(), now);
            }
        }
        Ok(principal)
    }

    pub(crate) fn still_valid(&self, id: &TokenId, now: UnixTime) -> bool {
        let mut inner = self.lock();
        // A store that cannot be read vouches for nobody.
        inner.refresh().is_ok()
            && inner
                .known
                .get(id.as_str())
                .is_some_and(|known| known.info.is_live(now))
    }

    fn mac_of(&self, token: &str) -> [u8; 32] {
        let mut mac = self.mac.clone();
        mac.update(token.as_bytes());
        mac.finalize().into_bytes().into()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What a panicking thread left is re-read from disk by the next refresh at worst.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, source: rusqlite::Error) -> AuthError {
        AuthError::Store {
            path: self.path.clone(),
            source,
        }
    }
}

impl Inner {
    /// Loads again when another process has changed the store. `data_version` reads a counter in
    /// shared memory: about a microsecond, so it is asked on every check.
    fn refresh(&mut self) -> rusqlite::Result<()> {
        let version = data_version(&self.db)?;
        if version != self.version {
            self.reload()?;
            self.version = version;
        }
        Ok(())
    }

    fn reload(&mut self) -> rusqlite::Result<()> {
        let sql =
            "SELECT id, name, scopes, env, mac, created, expires, last_used, revoked FROM tokens";
        let mut query = self.db.prepare_cached(sql)?;
        let rows = query.query_map([], known_of)?;
        self.known = rows
            .map(|row| row.map(|k| (k.info.id.to_string(), k)))
            .collect::<Result<_, _>>()?;
        Ok(())
    }
}

pub(crate) fn data_version(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))
}

/// A database of ours: write-ahead log, every commit durable, other processes waited for.
pub(crate) fn open_database(path: &Path, schema: &str) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(5))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.execute_batch(schema)?;
    // Created under the umask; the folder is 0700, and this makes the file itself say so too.
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    let _ = std::fs::set_permissions(path, mode);
    Ok(db)
}

fn known_of(row: &Row<'_>) -> rusqlite::Result<Known> {
    let time = |at: usize| row.get::<_, i64>(at).map(UnixTime::from_nanos);
    let maybe = |at: usize| {
        row.get::<_, Option<i64>>(at)
            .map(|t| t.map(UnixTime::from_nanos))
    };
    let (id, name): (String, String) = (row.get(0)?, row.get(1)?);
    // A scope that this version does not know is worth nothing, and so is the whole set.
    let scopes: ScopeSet = row.get::<_, String>(2)?.parse().unwrap_or_default();
    let env = if row.get_ref(3)?.as_str()? == "dev" {
        TokenEnv::Dev
    } else {
        TokenEnv::Prod
    };
    let principal = Principal {
        token: TokenId::new(id.as_str()),
        name: name.as_str().into(),
        scopes,
        env,
    };
    let info = TokenInfo {
        id: principal.token.clone(),
        name,
        scopes,
        env,
        created: time(5)?,
        expires: time(6)?,
        last_used: maybe(7)?,
        revoked: maybe(8)?,
    };
    Ok(Known {
        mac: row.get(4)?,
        info,
        principal,
    })
}

fn insert(db: &Connection, info: &TokenInfo, mac: &[u8; 32]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO tokens (id, name, scopes, env, mac, created, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    db.execute(
        sql,
        params![
            info.id.as_str(),
            info.name,
            info.scopes.to_string(),
            info.env.as_str(),
            mac,
            info.created.as_nanos(),
            info.expires.as_nanos(),
        ],
    )
    .map(|_| ())
}

/// Hash, created, expires and spent of a setup token.
type Found = (Vec<u8>, i64, i64, Option<i64>);

/// The one transaction of a setup token's life.
fn spend(
    db: &mut Connection,
    id: &str,
    mac: &[u8; 32],
    now: UnixTime,
    new: &TokenInfo,
    new_mac: &[u8; 32],
) -> rusqlite::Result<Result<(), Rejected>> {
    let t = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = "SELECT mac, created, expires, spent FROM setups WHERE id = ?1";
    let found = t.query_row(sql, [id], |r| {
        Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))
    });
    let found: Option<Found> = found.optional()?;
    let expected = found.as_ref().map_or(&[0; 32][..], |f| f.0.as_slice());
    let same: bool = expected.ct_eq(mac).into();
    let Some((_, created, expires, spent)) = found.filter(|_| same) else {
        return Ok(Err(Rejected::Unknown));
    };
    if spent.is_some() {
        return Ok(Err(Rejected::Spent));
    }
    if now.as_nanos() < created {
        return Ok(Err(Rejected::NotYet));
    }
    if now.as_nanos() >= expires {
        return Ok(Err(Rejected::Expired));
    }
    t.execute(
        "UPDATE setups SET spent = ?2 WHERE id = ?1",
        params![id, now.as_nanos()],
    )?;
    insert(&t, new, new_mac)?;
    t.commit()?;
    Ok(Ok(()))
}

fn info_of(id: &str, new: &NewToken<'_>, now: UnixTime) -> TokenInfo {
    TokenInfo {
        id: TokenId::new(id),
        name: new.name.to_owned(),
        scopes: new.scopes,
        env: new.env,
        created: now,
        expires: now.plus(new.ttl.unwrap_or(DEFAULT_TTL)),
        last_used: None,
        revoked: None,
    }
}

fn check_new(new: &NewToken<'_>) -> Result<(), AuthError> {
    let name_is_fit = (1..=64).contains(&new.name.chars().count())
        && !new.name.chars().any(char::is_control)
        && new.name.trim() == new.name;
    if !name_is_fit {
        return Err(AuthError::BadToken(
            "a token's name has 1 to 64 characters, no control characters, no spaces around it",
        ));
    }
    if new.scopes == ScopeSet::NONE {
        return Err(AuthError::BadToken(
            "a token needs at least one scope: chat, tools, read, audit, admin",
        ));
    }
    if new.ttl.is_some_and(|ttl| ttl.is_zero()) {
        return Err(AuthError::BadToken(
            "a token must last longer than no time at all",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
