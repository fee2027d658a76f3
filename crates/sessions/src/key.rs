//! The key to the digests: whoever has the database alone can neither tell which texts were said nor
//! write rows that count.

use crate::error::SessionError;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use zeroize::Zeroizing;

/// A keyed hash over parts.
#[derive(Clone)]
pub(crate) struct Key(Hmac<Sha256>);

/// A keyed hash of 128 bits: enough that nobody finds a second text, half the room in an index.
pub(crate) type Digest = [u8; 16];

impl Key {
    /// Reads the key, or makes one. A new key makes every older row unknown, which permits nothing.
    pub(crate) fn open(path: &Path) -> Result<Self, SessionError> {
        make_once(path)?;
        let text = std::fs::read_to_string(path).map_err(failed("read", path))?;
        let text = Zeroizing::new(text);
        let bytes = decode(text.trim()).ok_or_else(|| SessionError::BadKey(path.to_owned()))?;
        let mut block = Zeroizing::new([0; 64]);
        for (slot, byte) in block.iter_mut().zip(bytes.iter()) {
            *slot = *byte;
        }
        // HMAC pads a short key with zeros to one block; done here, it cannot fail.
        Ok(Self(hmac::digest::KeyInit::new((&*block).into())))
    }

    /// The hash of these parts, for one purpose. Lengths go in too, so that no two lists hash alike.
    pub(crate) fn digest<'a>(
        &self,
        purpose: &'static str,
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> Digest {
        let mut mac = self.0.clone();
        for part in std::iter::once(purpose.as_bytes()).chain(parts) {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        let whole = mac.finalize().into_bytes();
        let mut digest = [0; 16];
        for (slot, byte) in digest.iter_mut().zip(whole) {
            *slot = byte;
        }
        digest
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key([secret])")
    }
}

pub(crate) fn failed<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> SessionError + 'a {
    move |source| SessionError::File {
        doing,
        path: path.to_owned(),
        source,
    }
}

pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, SessionError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut()).map_err(|_| SessionError::NoRandomness)?;
    Ok(bytes)
}

/// A key file appears whole or not at all: of two processes that start at once, both use one key.
fn make_once(path: &Path) -> Result<(), SessionError> {
    if path.exists() {
        return Ok(());
    }
    let name = clawdbot_domain::hex(random::<8>()?.as_ref());
    let temporary = path.with_extension(format!("new-{name}"));
    let text = Zeroizing::new(clawdbot_domain::hex(random::<32>()?.as_ref()));
    let write = || {
        let mut file = private(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        match std::fs::hard_link(&temporary, path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    };
    let written = write();
    let _ = std::fs::remove_file(&temporary);
    written.map_err(failed("create", path))
}

/// A new file for this user only; in a home of another user, that user's, lest a command run by root
/// takes it away from the gateway.
pub(crate) fn private(path: &Path) -> std::io::Result<std::fs::File> {
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let folder = std::fs::metadata(path.parent().unwrap_or(path))?;
    let mine = file.metadata()?;
    if mine.uid() == 0 && (folder.uid(), folder.gid()) != (mine.uid(), mine.gid()) {
        std::os::unix::fs::fchown(&file, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(file)
}

fn decode(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    if text.len() != 64 {
        return None;
    }
    for (slot, pair) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
        *slot = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(key)
}
