//! A new master key: every record sealed anew, in one step.
//!
//! The key and the store lie in two places, so the change has an order in which a crash at any point
//! leaves a pair that fits: (1) the new key is on disk beside the old one, (2) the store is sealed
//! with the new key in one transaction, (3) the new key takes the old one's name. Before (2) the old
//! key opens the store; between (2) and (3) whoever finds that the old key does not fit looks for the
//! next one beside it, and finishes (3).

use super::bound_to;
use super::keys::next_to;
use super::mark::{Mark, Master};
use super::passphrase::{self, Derived};
use super::row::Sealed;
use super::seal::{seal, unseal};
use super::source::KeySource;
use super::{Vault, forget};
use crate::database::Database;
use crate::error::VaultError;
use crate::files::{self, Key, Lock};
use clawdbot_domain::Secret;
use rusqlite::{Transaction, TransactionBehavior, params};
use std::path::{Path, PathBuf};

/// Which key the vault is to be sealed with from now on.
#[derive(Debug)]
pub enum NewKey {
    /// A new random one, in the place of the present one.
    InPlace,
    /// The one in this file; a random one is written there when there is no such file. For a place
    /// that this program cannot write to, and to move the key out of the home.
    File(PathBuf),
    /// One that is made from this passphrase.
    Passphrase(Secret),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rekeyed {
    /// So many credentials were sealed anew.
    pub credentials: usize,
    /// Where the key is now, in words.
    pub place: String,
}

/// The key to be, and what the store has to remember of it.
struct Next {
    key: Key,
    kdf: Option<String>,
    kept: Option<PathBuf>,
    /// The file in whose place `key` is to come.
    replaces: Option<PathBuf>,
    place: String,
    derived: Option<Derived>,
}

impl Vault {
    /// Seals every credential with a new key. Other processes take it up with their next look.
    ///
    /// # Errors
    /// When the vault is locked, a record does not open, or the key's place cannot be written. Then
    /// nothing was changed, and the old key still opens everything.
    pub fn rekey(&self, new: NewKey) -> Result<Rekeyed, VaultError> {
        let mut db = self.lock()?;
        let held = Lock::take(&self.lock_path())?;
        let mark = Mark::read(&db)?;
        let mark = mark.ok_or(VaultError::BadSecret(
            "the vault has no key yet: it is made with the first credential",
        ))?;
        let Some((old, source)) = self.open_mark(&mark)? else {
            return Err(self.master(&db, false).err().unwrap_or_else(changed));
        };
        if let Some(source) = &source {
            // Else a change that was broken off would be overwritten below, and its key lost.
            self.finish_locked(source, &held)?;
        }
        let next = self.prepare(new, source.as_ref(), &mark)?;
        if next.key == old.key {
            return Err(VaultError::BadSecret(
                "that is the present key; name a file that is not there yet, or one with another key",
            ));
        }
        let credentials = seal_all(&mut db.database, &mark, &old, &next)?;
        if let Some(path) = &next.replaces {
            files::rename(&next_to(path), path)?;
        } else if let Some(KeySource::Own(path)) = source.filter(|s| self.sources.contains(s)) {
            // Nothing is sealed with it any more.
            files::remove(&path)?;
        }
        if let Some(derived) = next.derived {
            self.memory().derived = Some(derived);
        }
        forget(&db.conn);
        Ok(Rekeyed {
            credentials,
            place: next.place,
        })
    }

    /// The new key, durable wherever it will be looked for.
    fn prepare(
        &self,
        new: NewKey,
        source: Option<&KeySource>,
        mark: &Mark,
    ) -> Result<Next, VaultError> {
        match new {
            NewKey::InPlace => in_place(source, mark),
            NewKey::File(path) => to_file(&path),
            NewKey::Passphrase(given) => {
                passphrase::check(&given)?;
                let kdf = passphrase::new_kdf(self.cost)?;
                let derived = Derived::new(&given, &kdf, true)?;
                let key = derived.typed(&kdf).cloned().unwrap_or_default();
                Ok(Next {
                    key,
                    kdf: Some(kdf),
                    kept: None,
                    replaces: None,
                    place: "a passphrase".to_owned(),
                    derived: Some(derived),
                })
            }
        }
    }
}

fn in_place(source: Option<&KeySource>, mark: &Mark) -> Result<Next, VaultError> {
    let Some(path) = source.and_then(KeySource::ours) else {
        return Err(VaultError::NotOurs(
            source.map_or_else(|| "a passphrase".to_owned(), KeySource::words),
        ));
    };
    let text = files::new_key_text()?;
    files::replace(&next_to(path), text.as_bytes())?;
    let key = files::read_key(&next_to(path))?;
    Ok(Next {
        key: key.ok_or_else(changed)?,
        kdf: None,
        kept: mark.kept.clone(),
        replaces: Some(path.to_owned()),
        place: path.display().to_string(),
        derived: None,
    })
}

fn to_file(path: &Path) -> Result<Next, VaultError> {
    let path = std::path::absolute(path).map_err(files::failed("find", path))?;
    if !files::is_there(&path)? {
        files::create_once(&path, files::new_key_text()?.as_bytes())?;
    }
    let key = files::read_key(&path)?;
    Ok(Next {
        key: key.ok_or_else(changed)?,
        kdf: None,
        place: path.display().to_string(),
        kept: Some(path),
        replaces: None,
        derived: None,
    })
}

/// All records and the mark, in one transaction. Whoever stores a credential at the same time comes
/// before or after it.
fn seal_all(
    db: &mut Database,
    mark: &Mark,
    old: &Master,
    next: &Next,
) -> Result<usize, VaultError> {
    let failed = || db.failed();
    let tx = Transaction::new_unchecked(&db.conn, TransactionBehavior::Immediate);
    let tx = tx.map_err(failed())?;
    // While it waited for its turn the key may have become another one.
    if mark.opens(&old.key).is_none() || Mark::read(db)?.and_then(|m| m.opens(&old.key)).is_none() {
        return Err(changed());
    }
    let rows = sealed_rows(&tx).map_err(failed())?;
    let count = rows.len();
    for (provider, row) in rows {
        let bound = bound_to(&row.id, &provider, &row.kind, &row.origin);
        let tampered = || VaultError::WillNotOpen(provider.clone());
        let data_key = unseal(&old.key, &row.data_key, &bound).ok_or_else(tampered)?;
        let data_key = Key::new(data_key.as_slice().try_into().map_err(|_| tampered())?);
        let secret = unseal(&data_key, &row.secret, &bound).ok_or_else(tampered)?;
        let data_key = files::random::<32>()?;
        let sealed_key = seal(&next.key, data_key.as_ref(), &bound)?;
        let sealed = seal(&data_key, &secret, &bound)?;
        let sql = "UPDATE credentials SET sealed_key = ?2, sealed = ?3 WHERE provider = ?1";
        let done = tx.execute(sql, params![provider, sealed_key, sealed]);
        done.map_err(failed())?;
    }
    let master = Master {
        key: next.key.clone(),
        fingerprints: old.fingerprints.clone(),
    };
    Mark::replace(db, &master, next.kdf.as_deref(), next.kept.as_deref())?;
    tx.commit().map_err(failed())?;
    Ok(count)
}

fn sealed_rows(tx: &Transaction<'_>) -> rusqlite::Result<Vec<(String, Sealed)>> {
    let sql = "SELECT id, kind, origin, sealed_key, sealed, last_used, provider FROM credentials";
    let mut query = tx.prepare(sql)?;
    let rows = query.query_map([], |row| Ok((row.get(6)?, Sealed::of(row)?)))?;
    rows.collect()
}

fn changed() -> VaultError {
    VaultError::Locked("the key was changed by another process; try again".to_owned())
}
