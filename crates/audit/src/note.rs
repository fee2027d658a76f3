//! Checkpoints as C2SP signed notes, and the keys that sign them (Ed25519).

use crate::tree::Hash;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

/// A public key with the name of the log it speaks for, as `<name>+<id>+<key>` (C2SP signed-note).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: [u8; 32],
}

/// The kind of signature: Ed25519.
const ED25519_KIND: u8 = 1;

impl VerifierKey {
    pub(crate) fn new(name: &str, key: [u8; 32]) -> Self {
        Self {
            name: name.to_owned(),
            key,
        }
    }

    /// Reads `<name>+<id>+<key>`; `None` when it is none, or its id is not that of its key.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().splitn(3, '+');
        let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
        let bytes = BASE64.decode(key).ok()?;
        let (kind, key) = bytes.split_first()?;
        let parsed = Self::new(name, key.try_into().ok()?);
        let right = *kind == ED25519_KIND && !name.is_empty() && hex(&parsed.id()) == id;
        right.then_some(parsed)
    }

    /// The log it speaks for.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> [u8; 4] {
        let mut sha = Sha256::new();
        sha.update(&self.name);
        sha.update([b'\n', ED25519_KIND]);
        sha.update(self.key);
        let digest: [u8; 32] = sha.finalize().into();
        let [a, b, c, d, ..] = digest;
        [a, b, c, d]
    }

    pub(crate) fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.key)
            .verify(text, signature)
            .is_ok()
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut key = vec![ED25519_KIND];
        key.extend_from_slice(&self.key);
        write!(
            f,
            "{}+{}+{}",
            self.name,
            hex(&self.id()),
            BASE64.encode(key)
        )
    }
}

/// How many records the log had and the root over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) origin: String,
    pub(crate) size: u64,
    pub(crate) root: Hash,
}

/// A checkpoint with its signature, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) text: String,
    id: [u8; 4],
    signature: Vec<u8>,
}

impl Checkpoint {
    /// Signs it as `key`.
    pub(crate) fn sign(self, key: &VerifierKey, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Signed {
        let body = self.body();
        let signature = sign(body.as_bytes());
        let mut with_id = key.id().to_vec();
        with_id.extend_from_slice(&signature);
        let text = format!("{body}\n\u{2014} {} {}\n", key.name, BASE64.encode(with_id));
        Signed {
            checkpoint: self,
            text,
            id: key.id(),
            signature,
        }
    }

    fn body(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            BASE64.encode(self.root)
        )
    }
}

impl Signed {
    /// Reads a note with one signature; the signature is not checked yet.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (body, signatures) = text.split_once("\n\n")?;
        let mut lines = body.split('\n');
        let (origin, size) = (lines.next()?, lines.next()?);
        let root = BASE64.decode(lines.next()?).ok()?.try_into().ok()?;
        let (name, signed) = signatures
            .strip_suffix('\n')?
            .strip_prefix("\u{2014} ")?
            .split_once(' ')?;
        let bytes = BASE64.decode(signed).ok()?;
        let (id, signature) = bytes.split_at_checked(4)?;
        let checkpoint = Checkpoint {
            origin: origin.to_owned(),
            size: size.parse().ok()?,
            root,
        };
        // What is read must be what was signed, byte by byte.
        let same = checkpoint.body() == format!("{body}\n") && name == origin;
        same.then(|| Self {
            checkpoint,
            text: text.to_owned(),
            id: id.try_into().unwrap_or_default(),
            signature: signature.to_vec(),
        })
    }

    /// True when this key signed it.
    pub(crate) fn is_by(&self, key: &VerifierKey) -> bool {
        key.id() == self.id
            && key.name == self.checkpoint.origin
            && key.verifies(self.checkpoint.body().as_bytes(), &self.signature)
    }
}

/// In lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    let pair = |byte: &u8| [digit(byte >> 4), digit(byte & 0xf)];
    bytes.iter().flat_map(pair).collect()
}

pub(crate) fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_written_and_its_id_binds_its_name() {
        let key = VerifierKey::new("clawdbot.local/x", [7; 32]);
        assert_eq!(VerifierKey::parse(&key.to_string()), Some(key.clone()));
        let wrong = key.to_string().replace("local/x", "local/y");
        assert_eq!(VerifierKey::parse(&wrong), None, "the id binds the name");
    }
}
