//! The seals: XChaCha20-Poly1305 with random nonces, bound to where the sealed thing belongs.

use crate::error::{AuthError, VaultError};
use crate::files::{self, Key};
use crate::keyed::Keyed;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key as CipherKey, XChaCha20Poly1305, XNonce};
use clawdbot_domain::{Secret, hex};
use zeroize::Zeroizing;

const NONCE: usize = 24;

/// Lengths first, so that no two sets of parts make the same text.
pub(super) fn bound_to(id: &str, provider: &str, kind: &str, origin: &str) -> Vec<u8> {
    let parts = [id, provider, kind, origin];
    parts
        .iter()
        .flat_map(|p| [&(p.len() as u64).to_le_bytes()[..], p.as_bytes()].concat())
        .collect()
}

pub(super) fn seal(key: &Key, plain: &[u8], bound: &[u8]) -> Result<Vec<u8>, AuthError> {
    let nonce = files::random::<NONCE>()?;
    let cipher = XChaCha20Poly1305::new(CipherKey::from_slice(key.as_ref()));
    let payload = Payload {
        msg: plain,
        aad: bound,
    };
    // It fails only for texts longer than any credential.
    let sealed = cipher.encrypt(XNonce::from_slice(nonce.as_ref()), payload);
    let sealed = sealed.map_err(|_| AuthError::BadToken("the credential is too long to seal"))?;
    Ok([nonce.as_ref(), sealed.as_slice()].concat())
}

pub(super) fn unseal(key: &Key, sealed: &[u8], bound: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_at_checked(NONCE)?;
    let cipher = XChaCha20Poly1305::new(CipherKey::from_slice(key.as_ref()));
    let payload = Payload {
        msg: sealed,
        aad: bound,
    };
    cipher
        .decrypt(XNonce::from_slice(nonce), payload)
        .ok()
        .map(Zeroizing::new)
}

/// Keyed, so that a fingerprint cannot be tried against a list of leaked keys.
pub(super) fn fingerprint(key: &Key, secret: &Secret) -> String {
    let parts = [secret.expose().as_bytes()];
    let tag = Keyed::new(key).tag("clawdbot fingerprint 1", &parts);
    hex(&tag).chars().take(12).collect()
}

pub(super) fn check_secret(secret: &Secret) -> Result<(), VaultError> {
    let text = secret.expose();
    if text.is_empty() {
        return Err(VaultError::BadSecret("the credential is empty"));
    }
    if text.len() > 8192 {
        return Err(VaultError::BadSecret(
            "the credential is longer than 8192 bytes",
        ));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(VaultError::BadSecret(
            "the credential has a space, line break or special character in it: paste it alone",
        ));
    }
    Ok(())
}
