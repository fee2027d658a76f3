//! Finding the master key of a store, and checking that it is the right one.

use super::mark::{Mark, Master};
use super::passphrase::{self, Derived};
use super::source::KeySource;
use super::{Vault, count};
use crate::database::Database;
use crate::error::VaultError;
use crate::files::{self, Key, Lock};
use clawdbot_domain::Secret;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Another process may be putting a new key in place of the old one at this very moment: the store
/// and the key file are then looked at again.
const LOOKS: usize = 3;

/// Keys that are not read from a file each time.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) derived: Option<Derived>,
    command: Option<Asked>,
}

/// What a command said. It is asked again when that was no key or not the right one, but not by
/// everyone who asks whether this program is ready.
#[derive(Debug)]
struct Asked {
    at: Instant,
    said: Result<Key, String>,
    wrong: bool,
}

const ASKED_EVERY: Duration = Duration::from_secs(5);

/// Beside a key file stands the next one, while the key is being changed.
pub(super) fn next_to(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".next");
    PathBuf::from(name)
}

impl Vault {
    /// The master key, checked against the store. Only the first credential ever stored may make
    /// one: a store whose key is gone stays locked.
    pub(super) fn master(&self, db: &Database, may_make: bool) -> Result<Master, VaultError> {
        for _ in 0..LOOKS {
            match Mark::read(db)? {
                Some(mark) => {
                    if let Some((master, _)) = self.open_mark(&mark)? {
                        return Ok(master);
                    }
                }
                None if count(db)? > 0 => {
                    return Err(db.damaged("the mark of its key is gone").into());
                }
                None if may_make => self.begin(db)?,
                None => return Err(VaultError::Locked("it has no key yet".to_owned())),
            }
        }
        Err(wrong_key())
    }

    /// The master by this mark, and the file it was in; `None` when the key that was found is
    /// another one.
    pub(super) fn open_mark(
        &self,
        mark: &Mark,
    ) -> Result<Option<(Master, Option<KeySource>)>, VaultError> {
        if let Some(kdf) = &mark.kdf {
            return Ok(self.open_by_passphrase(mark, kdf)?.map(|m| (m, None)));
        }
        let Some((source, key)) = self.find_key(mark.kept.as_deref())? else {
            return Err(self.missing(mark.kept.as_deref()));
        };
        if let Some(master) = mark.opens(&key) {
            return Ok(Some((master, Some(source))));
        }
        if let KeySource::Command(_) = source {
            // What it said earlier may be out of date.
            if let Some(asked) = &mut self.memory().command {
                asked.wrong = true;
            }
        }
        // A change of the key that was broken off after the store took the new one.
        let next = source.ours().map(next_to);
        let next = next.and_then(|path| files::read_key(&path).ok().flatten());
        let Some(master) = next.and_then(|key| mark.opens(&key)) else {
            return Ok(None);
        };
        self.finish(&source);
        Ok(Some((master, Some(source))))
    }

    fn open_by_passphrase(&self, mark: &Mark, kdf: &str) -> Result<Option<Master>, VaultError> {
        let given = self.find_passphrase()?;
        let mut memory = self.memory();
        if let Some(key) = memory.derived.as_ref().and_then(|d| d.typed(kdf))
            && let Some(master) = mark.opens(key)
        {
            return Ok(Some(master));
        }
        let Some(given) = given else {
            return Err(VaultError::Locked(
                "it is sealed with a passphrase, and none is given; name a file that holds it in CLAWDBOT_VAULT_PASSPHRASE_FILE, mount the secret clawdbot_vault_passphrase, or start on a terminal to be asked".to_owned(),
            ));
        };
        // A wrong one is remembered, too: making a key costs a good part of a second each time.
        let known = memory
            .derived
            .take()
            .filter(|d| d.of(&given, kdf).is_some());
        let derived = match known {
            Some(derived) => derived,
            None => Derived::new(&given, kdf, false)?,
        };
        let master = derived.of(&given, kdf).and_then(|key| mark.opens(key));
        memory.derived = Some(derived);
        master.map(Some).ok_or_else(wrong_passphrase)
    }

    /// Opens a vault that is sealed with a passphrase by one that a person typed; it is remembered for
    /// as long as this process lives.
    ///
    /// # Errors
    /// [`VaultError::Locked`] when it is another one.
    pub fn unlock(&self, typed: &Secret) -> Result<(), VaultError> {
        let db = self.lock()?;
        let Some(mark) = Mark::read(&db)? else {
            return Ok(());
        };
        let Some(kdf) = &mark.kdf else {
            return Ok(());
        };
        let derived = Derived::new(typed, kdf, true)?;
        let right = derived.typed(kdf).and_then(|key| mark.opens(key));
        if right.is_none() {
            return Err(wrong_passphrase());
        }
        self.memory().derived = Some(derived);
        Ok(())
    }

    /// True when the vault is sealed with a passphrase that nobody has given yet: ask for it.
    pub fn wants_passphrase(&self) -> Result<bool, VaultError> {
        let db = self.lock()?;
        let sealed_so = Mark::read(&db)?.is_some_and(|mark| mark.kdf.is_some());
        Ok(sealed_so && self.master(&db, false).is_err() && self.find_passphrase()?.is_none())
    }

    /// Where the key is, in words.
    pub fn key_place(&self) -> Result<String, VaultError> {
        let db = self.lock()?;
        let mark = Mark::read(&db)?;
        if mark.as_ref().is_some_and(|mark| mark.kdf.is_some()) {
            return Ok("a passphrase".to_owned());
        }
        let kept = mark.as_ref().and_then(|mark| mark.kept.as_deref());
        let found = self.find_key(kept)?;
        Ok(found.map_or_else(|| "nowhere yet".to_owned(), |(source, _)| source.words()))
    }

    /// The first key in the usual order; the file that the operator moved it to comes before all.
    fn find_key(&self, kept: Option<&Path>) -> Result<Option<(KeySource, Key)>, VaultError> {
        if let Some(path) = kept
            && let Some(key) = KeySource::Own(path.to_owned()).key()?
        {
            return Ok(Some((KeySource::Own(path.to_owned()), key)));
        }
        for source in &self.sources {
            if let Some(key) = self.key_of(source)? {
                return Ok(Some((source.clone(), key)));
            }
        }
        Ok(None)
    }

    fn key_of(&self, source: &KeySource) -> Result<Option<Key>, VaultError> {
        if !matches!(source, KeySource::Command(_)) {
            return source.key();
        }
        let mut memory = self.memory();
        let fresh = memory.command.as_ref().is_some_and(|asked| {
            (asked.said.is_ok() && !asked.wrong) || asked.at.elapsed() < ASKED_EVERY
        });
        if !fresh {
            let said = match source.key() {
                Ok(Some(key)) => Ok(key),
                Ok(None) => Err("the command gave no key".to_owned()),
                Err(VaultError::Locked(why)) => Err(why),
                Err(other) => Err(other.to_string()),
            };
            memory.command = Some(Asked {
                said,
                at: Instant::now(),
                wrong: false,
            });
        }
        match &memory.command {
            Some(Asked { said: Ok(key), .. }) => Ok(Some(key.clone())),
            Some(Asked { said: Err(why), .. }) => Err(VaultError::Locked(why.clone())),
            None => Ok(None),
        }
    }

    fn find_passphrase(&self) -> Result<Option<Secret>, VaultError> {
        for source in &self.sources {
            if let Some(given) = source.passphrase()? {
                return Ok(Some(given));
            }
        }
        Ok(None)
    }

    /// The first key of an empty store: one that is provided, else out of a passphrase that is
    /// provided, else a new one in a file of our own.
    fn begin(&self, db: &Database) -> Result<(), VaultError> {
        if let Some((_, key)) = self.find_key(None)? {
            return Mark::begin(db, &key, None);
        }
        if let Some(given) = self.find_passphrase()? {
            passphrase::check(&given)?;
            let kdf = passphrase::new_kdf(self.cost)?;
            let key = passphrase::derive(&given, &kdf)?;
            return Mark::begin(db, &key, Some(&kdf));
        }
        for source in &self.sources {
            if let KeySource::Own(path) = source {
                files::create_once(path, files::new_key_text()?.as_bytes())?;
                if let Some(key) = files::read_key(path)? {
                    return Mark::begin(db, &key, None);
                }
            }
        }
        Err(VaultError::Locked("no key source holds a key".to_owned()))
    }

    fn missing(&self, kept: Option<&Path>) -> VaultError {
        let own = self.sources.iter().find_map(KeySource::ours);
        let place = kept.or(own).unwrap_or(Path::new("file"));
        VaultError::Locked(format!(
            "its key {} is missing, and no other place gives one (the secret clawdbot_vault_key, CLAWDBOT_VAULT_KEY_FILE, CLAWDBOT_VAULT_KEY_COMMAND); give the key it was sealed with, from your backup if need be, or lose the credentials and start anew with: clawdbot models auth reset --all",
            place.display()
        ))
    }

    /// Gives the next key the place of the old one, if the store has taken it and nobody is at it.
    /// Reading works without: whoever may not write here leaves it to others.
    fn finish(&self, source: &KeySource) {
        if let Ok(Some(held)) = Lock::try_take(&self.lock_path()) {
            let _ = self.finish_locked(source, &held);
        }
    }

    pub(super) fn finish_locked(&self, source: &KeySource, _held: &Lock) -> Result<(), VaultError> {
        let Some(path) = source.ours() else {
            return Ok(());
        };
        let next = next_to(path);
        // A connection of its own: the caller may be in the middle of a transaction.
        let db = Database::open(
            &self.path,
            &super::FORMAT,
            crate::database::Durability::Full,
        )?;
        let taken = match (Mark::read(&db)?, files::read_key(&next)?) {
            (Some(mark), Some(key)) => mark.kdf.is_none() && mark.opens(&key).is_some(),
            _ => false,
        };
        if taken {
            files::rename(&next, path)?;
        }
        Ok(())
    }

    pub(super) fn lock_path(&self) -> PathBuf {
        self.path.with_extension("lock")
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wrong_key() -> VaultError {
    VaultError::Locked(
        "the key is not the one this vault was sealed with; restore that key, or start anew with: clawdbot models auth reset --all".to_owned(),
    )
}

fn wrong_passphrase() -> VaultError {
    VaultError::Locked("the passphrase is not the one this vault was sealed with".to_owned())
}
