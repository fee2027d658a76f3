//! Provider credentials, sealed.
//!
//! Each record has a data key of its own, sealed with the master key; the credential is sealed with
//! the data key. Both seals (XChaCha20-Poly1305, 192-bit random nonces) bind the record's id,
//! provider, kind and origin, so that a record moved onto another provider's row, or given another
//! origin, does not open.

mod row;
mod seal;
mod warm;

use crate::database::{self, Database, Durability};
use crate::error::{AuthError, VaultError};
use crate::files::{self, Key, Readers};
use clawdbot_domain::{Origin, ProviderName, Secret, UnixTime, hex};
use row::{Sealed, info_of};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use seal::{bound_to, check_secret, fingerprint, seal, unseal};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use warm::{Opened, Warm};

/// After this long a credential is due for rotation: the guide's 90 days.
pub const DUE: Duration = Duration::from_secs(90 * 86_400);

const SCHEMA: &str = "
CREATE TABLE credentials (
  provider TEXT PRIMARY KEY, id TEXT NOT NULL, kind TEXT NOT NULL, origin TEXT NOT NULL,
  fingerprint TEXT NOT NULL, created INTEGER NOT NULL, last_used INTEGER,
  sealed_key BLOB NOT NULL, sealed BLOB NOT NULL
) STRICT;
CREATE TABLE key_check (one INTEGER PRIMARY KEY CHECK (one = 1), sealed BLOB NOT NULL) STRICT;";

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

/// Where the master key may be, first found first used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file somebody else provides; used when it is there.
    Provided(PathBuf),
    /// A file that must be there, because somebody said so.
    Demanded(PathBuf),
    /// A file of our own, made on first use.
    Own(PathBuf),
}

impl KeySource {
    /// The usual places: systemd's credentials, a container's secret, a named file, our own file.
    pub fn usual(secrets: &Path) -> Vec<Self> {
        let systemd = std::env::var_os("CREDENTIALS_DIRECTORY");
        let systemd = systemd.map(|d| Self::Provided(PathBuf::from(d).join("clawdbot-vault-key")));
        let container = Self::Provided(PathBuf::from("/run/secrets/clawdbot_vault_key"));
        let named = std::env::var_os("CLAWDBOT_VAULT_KEY_FILE").map(|f| Self::Demanded(f.into()));
        let own = Self::Own(secrets.join("vault.key"));
        systemd
            .into_iter()
            .chain([container])
            .chain(named)
            .chain([own])
            .collect()
    }
}

/// The vault. Every process of one home may hold one; each looks at the disk when asked.
#[derive(Debug)]
pub struct Vault {
    db: Mutex<Opened>,
    path: PathBuf,
    sources: Vec<KeySource>,
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
            Database::create_once(&path, SCHEMA, |_| Ok(()))?;
        }
        let db = Database::open(&path, Durability::Full)?;
        Ok(Self {
            db: Mutex::new(Opened::new(db)),
            path,
            sources,
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
        let master = self.master(&db, true)?;
        let id = hex(files::random::<16>()?.as_ref());
        let origin = origin.to_string();
        let bound = bound_to(&id, provider, kind.as_str(), &origin);
        let data_key = files::random::<32>()?;
        let sealed_key = seal(&master, data_key.as_ref(), &bound)?;
        let sealed = seal(&data_key, secret.expose().as_bytes(), &bound)?;
        let fingerprint = fingerprint(&master, secret);
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
        db.conn.execute(sql, values).map_err(db.failed())?;
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
        let master = self.master(db, false)?;
        let bound = bound_to(&row.id, provider, &row.kind, &row.origin);
        let tampered = || VaultError::Tampered(provider);
        let data_key = unseal(&master, &row.data_key, &bound).ok_or_else(tampered)?;
        let data_key = Key::new(data_key.as_slice().try_into().map_err(|_| tampered())?);
        let secret = unseal(&data_key, &row.secret, &bound).ok_or_else(tampered)?;
        let secret = std::str::from_utf8(&secret).map_err(|_| tampered())?;
        let noted = row.last_used;
        if noted.is_none_or(|t| now.since(t) >= NOTED_EVERY) {
            note_use(&db.conn, &row.id, now);
        }
        Ok(Some(Secret::new(secret)))
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
        Ok(fingerprint(&self.master(&db, true)?, secret))
    }

    /// The master key, checked against the store. Only the first credential ever stored may make
    /// one: a store whose key is gone stays locked.
    fn master(&self, db: &Database, may_make: bool) -> Result<Key, VaultError> {
        let read_mark = || {
            let sql = "SELECT sealed FROM key_check WHERE one = 1";
            let mark = db.conn.query_row(sql, [], |r| r.get::<_, Vec<u8>>(0));
            mark.optional().map_err(db.failed())
        };
        let mut mark = read_mark()?;
        if mark.is_none() && count(db)? > 0 {
            return Err(db.damaged("the mark of its key is gone").into());
        }
        let key = self.find_key(may_make && mark.is_none())?;
        if mark.is_none() && may_make {
            let sealed = seal(&key, b"this key", b"clawdbot vault")?;
            // Another process may be storing its first credential, too: one mark stays, and is looked at.
            let sql = "INSERT OR IGNORE INTO key_check (one, sealed) VALUES (1, ?1)";
            db.conn.execute(sql, [sealed]).map_err(db.failed())?;
            mark = read_mark()?;
        }
        match mark {
            Some(sealed) if unseal(&key, &sealed, b"clawdbot vault").is_none() => {
                Err(VaultError::Locked(
                    "the key is not the one this vault was sealed with; restore that key, or start anew with: clawdbot models auth reset --all".to_owned(),
                ))
            }
            Some(_) | None => Ok(key),
        }
    }

    fn find_key(&self, may_make: bool) -> Result<Key, VaultError> {
        for source in &self.sources {
            let (KeySource::Provided(path) | KeySource::Demanded(path) | KeySource::Own(path)) =
                source;
            let readers = match source {
                KeySource::Provided(_) => Readers::Anyone,
                KeySource::Demanded(_) | KeySource::Own(_) => Readers::Owner,
            };
            // A key that is there and cannot be used is not passed over for the next one.
            let key = files::read_key_of(path, readers);
            if let Some(key) = key.map_err(|e| VaultError::Locked(e.to_string()))? {
                return Ok(key);
            }
            match source {
                KeySource::Provided(_) => {}
                KeySource::Demanded(path) => {
                    let named = format!(
                        "CLAWDBOT_VAULT_KEY_FILE names {}, which is not there",
                        path.display()
                    );
                    return Err(VaultError::Locked(named));
                }
                KeySource::Own(path) if may_make => {
                    files::create_once(path, files::new_key_text()?.as_bytes())?;
                    if let Some(key) = files::read_key(path)? {
                        return Ok(key);
                    }
                }
                KeySource::Own(path) => {
                    return Err(VaultError::Locked(format!(
                        "its key {} is missing; restore it from your backup, or start anew with: clawdbot models auth reset --all",
                        path.display()
                    )));
                }
            }
        }
        Err(VaultError::Locked("no key source holds a key".to_owned()))
    }

    /// The store; opened anew when another file has taken its name.
    fn lock(&self) -> Result<MutexGuard<'_, Opened>, VaultError> {
        let mut db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        if db.still_in_place().is_err() {
            *db = Opened::new(Database::open(&self.path, Durability::Full)?);
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
mod tests;
