//! A master key out of a passphrase: Argon2id (RFC 9106), with a salt and costs that the store keeps.

use crate::error::VaultError;
use crate::files::{self, Key};
use crate::keyed::Keyed;
use argon2::{Algorithm, Argon2, Params, Version};
use clawdbot_domain::{Secret, hex};

/// A shorter passphrase is refused: whoever copies the store can try as many as they like.
const SHORTEST: usize = 12;

/// What one guess costs. The store keeps the costs it was sealed with, so these may rise later.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    kib: u32,
    passes: u32,
}

impl Cost {
    /// The second recommended choice of RFC 9106, section 4: 64 MiB, three passes. One lane, since the
    /// key is made by one thread.
    pub(super) const USUAL: Self = Self {
        kib: 64 * 1024,
        passes: 3,
    };
    /// For tests, which make many keys.
    #[cfg(test)]
    pub(super) const LEAST: Self = Self { kib: 8, passes: 1 };
    /// Whoever can write the store must not make this program use up the machine.
    const MOST: Self = Self {
        kib: 1024 * 1024,
        passes: 16,
    };
}

/// How a key is made, as the store keeps it: `argon2id,KIB,PASSES,SALT`.
pub(super) fn new_kdf(cost: Cost) -> Result<String, VaultError> {
    let salt = hex(files::random::<16>()?.as_ref());
    Ok(format!("argon2id,{},{},{salt}", cost.kib, cost.passes))
}

/// Makes the key. It takes a noticeable time, which is the point.
pub(super) fn derive(passphrase: &Secret, kdf: &str) -> Result<Key, VaultError> {
    let unknown = || {
        VaultError::Locked(format!(
            "this version cannot make a key by {kdf:?}; use the version that sealed this vault"
        ))
    };
    let parts: Vec<&str> = kdf.split(',').collect();
    let ["argon2id", kib, passes, salt] = parts.as_slice() else {
        return Err(unknown());
    };
    let kib: u32 = kib.parse().map_err(|_| unknown())?;
    let passes: u32 = passes.parse().map_err(|_| unknown())?;
    if kib > Cost::MOST.kib || passes > Cost::MOST.passes {
        return Err(unknown());
    }
    let params = Params::new(kib, passes, 1, Some(32)).map_err(|_| unknown())?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut key = Key::default();
    let made = argon.hash_password_into(
        passphrase.expose().as_bytes(),
        salt.as_bytes(),
        key.as_mut(),
    );
    made.map_err(|_| unknown())?;
    Ok(key)
}

/// An error for a passphrase that is too easily guessed.
pub(super) fn check(passphrase: &Secret) -> Result<(), VaultError> {
    if passphrase.expose().chars().count() < SHORTEST {
        return Err(VaultError::BadSecret(
            "the passphrase is too short: give at least 12 characters, such as five random words",
        ));
    }
    Ok(())
}

/// The last key that was made, so that the work is done once for a process.
#[derive(Debug)]
pub(super) struct Derived {
    kdf: String,
    /// Not the passphrase itself: it is only compared.
    of: [u8; 32],
    key: Key,
    /// True when a person typed it: there is no file to look at again.
    typed: bool,
}

impl Derived {
    pub(super) fn new(passphrase: &Secret, kdf: &str, typed: bool) -> Result<Self, VaultError> {
        let key = derive(passphrase, kdf)?;
        Ok(Self {
            of: digest(&key, passphrase),
            kdf: kdf.to_owned(),
            key,
            typed,
        })
    }

    /// The key, if it was made in this way from this passphrase.
    pub(super) fn of(&self, passphrase: &Secret, kdf: &str) -> Option<&Key> {
        let same = self.kdf == kdf && digest(&self.key, passphrase) == self.of;
        same.then_some(&self.key)
    }

    /// The key, if it was made in this way from what a person typed.
    pub(super) fn typed(&self, kdf: &str) -> Option<&Key> {
        (self.typed && self.kdf == kdf).then_some(&self.key)
    }
}

fn digest(key: &Key, passphrase: &Secret) -> [u8; 32] {
    Keyed::new(key).tag("clawdbot passphrase 1", &[passphrase.expose().as_bytes()])
}
