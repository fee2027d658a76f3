//! Provider credentials, sealed.
//!
//! Each record has a data key of its own, sealed with the master key; the credential is sealed with
//! the data key. Both seals (XChaCha20-Poly1305, 192-bit random nonces) bind the record's id,
//! provider, kind and origin, so that a record moved onto another provider's row, or given another
//! origin, does not open.

mod command;
mod copy;
mod keys;
mod mark;
mod passphrase;
mod rekey;
mod row;
mod seal;
mod source;
mod warm;

pub use rekey::{NewKey, Rekeyed};
pub use source::KeySource;

use crate::database::{self, Database, Durability, Format};
use crate::error::{AuthError, VaultError};
use crate::files::{self, Key};
use clawdbot_domain::{Origin, ProviderName, Secret, UnixTime, hex};
use keys::Memory;
use passphrase::Cost;
use row::{Sealed, info_of};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use seal::{bound_to, check_secret, fingerprint, seal, unseal};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use warm::{Opened, Warm};

/// After this long a credential is due for rotation: the guide's 90 days.
pub const DUE: Duration = Duration::from_secs(90 * 86_400);

/// 1 had no room for where a key comes from.
const FORMAT: Format = Format {
    schema: SCHEMA,
    version: 2,
    oldest: 2,
    upgrade: |_| Ok(()),
};

const SCHEMA: &str = "
CREATE TABLE credentials (
  provider TEXT PRIMARY KEY, id TEXT NOT NULL, kind TEXT NOT NULL, origin TEXT NOT NULL,
  fingerprint TEXT NOT NULL, created INTEGER NOT NULL, last_used INTEGER,
  sealed_key BLOB NOT NULL, sealed BLOB NOT NULL
) STRICT;
CREATE TABLE key_check (
  one INTEGER PRIMARY KEY CHECK (one = 1), sealed BLOB NOT NULL, kdf TEXT, kept BLOB
) STRICT;";

/// The use of a credential is noted at most so often.
const NOTED_EVERY: Duration = Duration::from_secs(60);

/// What a credential is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// An API key.
    ApiKey,
    /// A token made by a provider's own set-up command (`sk-ant-oat…`).
    SetupToken,
}

impl CredentialKind {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api-key",
            Self::SetupToken => "setup-token",
        }
    }

    /// What a credential of this form is.
    pub fn of(secret: &Secret) -> Self {
        if secret.expose().starts_with("sk-ant-oat") {
            Self::SetupToken
        } else {
            Self::ApiKey
        }
    }
}

/// What is known of a credential; never the credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialInfo {
    /// Whose it is.
    pub provider: ProviderName,
    /// What it is.
    pub kind: String,
    /// Tells two credentials apart, and nothing else about them.
    pub fingerprint: String,
    /// Where it may go.
    pub origin: String,
    /// When it was stored.
    pub created: UnixTime,
    /// When it was last used, to the minute.
    pub last_used: Option<UnixTime>,
}

impl CredentialInfo {
    /// When it is due for rotation.
    pub fn due(&self) -> UnixTime {
        self.created.plus(DUE)
    }
}

/// The vault. Every process of one home may hold one; each looks at the disk when asked.
#[derive(Debug)]
pub struct Vault {
    db: Mutex<Opened>,
    path: PathBuf,
    sources: Vec<KeySource>,
    memory: Mutex<Memory>,
    cost: Cost,
}

impl Vault {
    /// Opens the vault with the usual key sources.
    pub fn open(state: &Path, secrets: &Path) -> Result<Self, VaultError> {
        files::private_folder(secrets)?;
        Self::open_with(state, KeySource::usual(secrets))
    }

    /// Opens the vault with these key sources. A missing key does not fail here: the gateway starts
    /// and says that the vault is locked.
    pub fn open_with(state: &Path, sources: Vec<KeySource>) -> Result<Self, VaultError> {
        files::private_folder(state)?;
        let path = state.join("vault.db");
        if !files::is_there(&path)? {
            Database::create_once(&path, &FORMAT, |_| Ok(()))?;
        }
        let db = Database::open(&path, &FORMAT, Durability::Full)?;
        Ok(Self {
            db: Mutex::new(Opened::new(db)),
            path,
            sources,
            memory: Mutex::default(),
            cost: Cost::USUAL,
        })
    }

    /// Seals a credential, in place of the one before.
    pub fn put(
        &self,
        provider: ProviderName,
        kind: CredentialKind,
        origin: &Origin,
        secret: &Secret,
        now: UnixTime,
    ) -> Result<CredentialInfo, VaultError> {
        check_secret(secret)?;
        let db = self.lock()?;
        // Made outside, where a new key may be written; looked at again inside, where it cannot be
        // changed any more: a record is never sealed with a key that was just replaced.
        self.master(&db, true)?;
        let tx = Transaction::new_unchecked(&db.conn, TransactionBehavior::Immediate);
        let tx = tx.map_err(db.failed())?;
        let master = self.master(&db, false)?;
        let id = hex(files::random::<16>()?.as_ref());
        let origin = origin.to_string();
        let bound = bound_to(&id, provider.as_str(), kind.as_str(), &origin);
        let data_key = files::random::<32>()?;
        let sealed_key = seal(&master.key, data_key.as_ref(), &bound)?;
        let sealed = seal(&data_key, secret.expose().as_bytes(), &bound)?;
        let fingerprint = fingerprint(&master.fingerprints, secret);
        let sql = "INSERT OR REPLACE INTO credentials
            (provider, id, kind, origin, fingerprint, created, sealed_key, sealed)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let values = params![
            provider.as_str(),
            id,
            kind.as_str(),
            origin,
            fingerprint,
            now.as_nanos(),
            sealed_key,
            sealed
        ];
        tx.execute(sql, values).map_err(db.failed())?;
        tx.commit().map_err(db.failed())?;
        let kind = kind.as_str().to_owned();
        Ok(CredentialInfo {
            provider,
            kind,
            fingerprint,
            origin,
            created: now,
            last_used: None,
        })
    }

    /// The credential of a provider, for the one origin it is bound to.
    pub fn secret_for(
        &self,
        provider: ProviderName,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<Option<Secret>, VaultError> {
        let mut db = self.lock()?;
        if let Some(secret) = db.warm(provider, origin, now) {
            return Ok(Some(secret));
        }
        // Asked before the read: what another process writes in between is then not missed.
        let others = db.changes_of_others()?;
        let Some(secret) = self.unsealed(&db, provider, origin, now)? else {
            db.warm.remove(&provider);
            return Ok(None);
        };
        let warm = Warm {
            version: (others, db.ours()),
            origin: origin.clone(),
            secret: secret.clone(),
            unsealed: now,
        };
        db.warm.insert(provider, warm);
        Ok(Some(secret))
    }

    fn unsealed(
        &self,
        db: &Database,
        provider: ProviderName,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<Option<Secret>, VaultError> {
        let sql = "SELECT id, kind, origin, sealed_key, sealed, last_used FROM credentials WHERE provider = ?1";
        let mut query = db.conn.prepare_cached(sql).map_err(db.failed())?;
        let row = query.query_row([provider.as_str()], Sealed::of).optional();
        let Some(row) = row.map_err(db.failed())? else {
            return Ok(None);
        };
        if row.origin != origin.to_string() {
            let bound = row.origin;
            return Err(VaultError::WrongHost {
                provider,
                bound,
                asked: origin.clone(),
            });
        }
        let secret = self.unseal_row(db, &row, provider)?;
        let noted = row.last_used;
        if noted.is_none_or(|t| now.since(t) >= NOTED_EVERY) {
            note_use(&db.conn, &row.id, now);
        }
        Ok(Some(secret))
    }

    fn unseal_row(
        &self,
        db: &Database,
        row: &Sealed,
        provider: ProviderName,
    ) -> Result<Secret, VaultError> {
        let master = self.master(db, false)?;
        let bound = bound_to(&row.id, provider.as_str(), &row.kind, &row.origin);
        let tampered = || VaultError::Tampered(provider);
        let data_key = unseal(&master.key, &row.data_key, &bound).ok_or_else(tampered)?;
        let data_key = Key::new(data_key.as_slice().try_into().map_err(|_| tampered())?);
        let secret = unseal(&data_key, &row.secret, &bound).ok_or_else(tampered)?;
        let secret = std::str::from_utf8(&secret).map_err(|_| tampered())?;
        Ok(Secret::new(secret))
    }

    /// Every credential that can be read, for whoever must know them again: looking is no use of them.
    pub fn every_secret(&self) -> Result<Vec<(ProviderName, Secret)>, VaultError> {
        let listed = self.list()?;
        let db = self.lock()?;
        let sql = "SELECT id, kind, origin, sealed_key, sealed, last_used FROM credentials WHERE provider = ?1";
        let mut all = Vec::new();
        for info in listed {
            let mut query = db.conn.prepare_cached(sql).map_err(db.failed())?;
            let row = query
                .query_row([info.provider.as_str()], Sealed::of)
                .optional();
            let row = row.map_err(db.failed())?;
            // What cannot be read cannot leak either.
            let secret = row.and_then(|row| self.unseal_row(&db, &row, info.provider).ok());
            all.extend(secret.map(|secret| (info.provider, secret)));
        }
        Ok(all)
    }

    /// What is stored.
    pub fn list(&self) -> Result<Vec<CredentialInfo>, VaultError> {
        let db = self.lock()?;
        let sql = "SELECT provider, kind, fingerprint, origin, created, last_used FROM credentials ORDER BY provider";
        let listed = db
            .conn
            .prepare_cached(sql)
            .and_then(|mut query| query.query_map([], info_of)?.collect::<Result<Vec<_>, _>>());
        Ok(listed.map_err(db.failed())?.into_iter().flatten().collect())
    }

    /// Removes a credential; false when there was none. Needs no key: what is sealed can be thrown
    /// away by whoever lost the key.
    pub fn remove(&self, provider: ProviderName) -> Result<bool, VaultError> {
        let sql = "DELETE FROM credentials WHERE provider = ?1";
        let db = self.lock()?;
        let removed = db
            .conn
            .execute(sql, [provider.as_str()])
            .map_err(db.failed())?;
        forget(&db.conn);
        Ok(removed > 0)
    }

    /// Removes every credential, and looks whether that worked. Needs no key.
    pub fn remove_all(&self) -> Result<Vec<ProviderName>, VaultError> {
        let before = self.list()?;
        let mut db = self.lock()?;
        let deleted = (|| {
            let tx = db
                .database
                .conn
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.execute("DELETE FROM credentials", [])?;
            // With nothing left to open, the next credential may begin with a new key.
            tx.execute("DELETE FROM key_check", [])?;
            tx.commit()
        })();
        forget(&db.conn);
        let names: Vec<_> = before.into_iter().map(|info| info.provider).collect();
        match (deleted, count(&db)) {
            (Ok(()), Ok(0)) => Ok(names),
            (Ok(()), Ok(left)) => Err(VaultError::Remains(format!("{left} of them"))),
            (Err(why), _) => Err(remains(&names, &why)),
            (_, Err(why)) => Err(remains(&names, &why)),
        }
    }

    /// Whether credentials can be read: true also while there are none.
    pub fn check(&self) -> Result<(), VaultError> {
        let db = self.lock()?;
        if count(&db)? == 0 {
            return Ok(());
        }
        self.master(&db, false).map(|_| ())
    }

    /// The fingerprint a secret would be listed with; an error for what [`put`](Self::put) would refuse.
    pub fn fingerprint(&self, secret: &Secret) -> Result<String, VaultError> {
        check_secret(secret)?;
        let db = self.lock()?;
        Ok(fingerprint(&self.master(&db, true)?.fingerprints, secret))
    }

    /// The store; opened anew when another file has taken its name.
    fn lock(&self) -> Result<MutexGuard<'_, Opened>, VaultError> {
        let mut db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        if db.still_in_place().is_err() {
            *db = Opened::new(Database::open(&self.path, &FORMAT, Durability::Full)?);
        }
        Ok(db)
    }
}

/// Nobody waits for this note: not for the disk, and not for another process that is writing. What
/// cannot be noted now is noted with a later use.
fn note_use(conn: &Connection, id: &str, now: UnixTime) {
    let note = || {
        conn.execute_batch("PRAGMA synchronous = OFF")?;
        conn.busy_timeout(Duration::ZERO)?;
        let sql = "UPDATE credentials SET last_used = ?2 WHERE id = ?1";
        conn.execute(sql, params![id, now.as_nanos()])
    };
    let _ = note();
    // The next change is a durable one again, or is not made.
    let _ = conn.busy_timeout(database::BUSY);
    let _ = conn.execute_batch("PRAGMA synchronous = FULL");
}

/// Takes what was removed out of the write-ahead log too. While another process reads, that is left to
/// its own next checkpoint; what lies there is sealed.
fn forget(conn: &Connection) {
    let _ = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
}

fn remains(names: &[ProviderName], why: &dyn std::fmt::Display) -> VaultError {
    let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
    VaultError::Remains(format!("{} ({why})", names.join(", ")))
}

fn count(db: &Database) -> Result<i64, AuthError> {
    let sql = "SELECT count(*) FROM credentials";
    let count = db.conn.query_row(sql, [], |row| row.get(0));
    count.map_err(db.failed())
}

#[cfg(test)]
mod copy_tests;
#[cfg(test)]
mod rekey_tests;
#[cfg(test)]
mod tests;
