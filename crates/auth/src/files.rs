//! Key files: made once, for this user only, and never made again.

use crate::error::AuthError;
use rustix::fs::{Mode, OFlags};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// A 256-bit key; wiped when dropped.
pub(crate) type Key = Zeroizing<[u8; 32]>;

fn failed<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> AuthError + 'a {
    move |source| AuthError::File {
        doing,
        path: path.to_owned(),
        source,
    }
}

/// Fills bytes from the system's generator.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, AuthError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut()).map_err(|_| AuthError::NoRandomness)?;
    Ok(bytes)
}

/// Creates a folder for this user only.
pub(crate) fn private_folder(path: &Path) -> Result<(), AuthError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(failed("create", path))
}

/// Writes a whole file under a name that did not exist before, 0600, durable. `Ok(false)`: the name
/// was taken, and what stands there is untouched.
pub(crate) fn create_once(path: &Path, content: &[u8]) -> Result<bool, AuthError> {
    let temporary = temporary(path, content)?;
    // A hard link appears whole or not at all, and never replaces: two processes that start at
    // once agree on one key.
    let linked = std::fs::hard_link(&temporary, path);
    let _ = std::fs::remove_file(&temporary);
    match linked {
        Ok(()) => sync_folder(path).map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed("create", path)(error)),
    }
}

/// Puts a whole file in place of whatever is there, 0600, durable.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), AuthError> {
    let temporary = temporary(path, content)?;
    std::fs::rename(&temporary, path).map_err(failed("replace", path))?;
    sync_folder(path)
}

fn temporary(path: &Path, content: &[u8]) -> Result<std::path::PathBuf, AuthError> {
    let unique = clawdbot_domain::hex(random::<8>()?.as_ref());
    let temporary = path.with_extension(format!("new-{unique}"));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR);
    let mut file = std::fs::File::from(opened.map_err(|e| failed("create", path)(e.into()))?);
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.map_err(failed("write", path))?;
    Ok(temporary)
}

fn sync_folder(path: &Path) -> Result<(), AuthError> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(failed("sync the folder of", path))
}

/// Reads a key of 32 bytes. `None` when there is no such file. A file that others may read is no
/// secret, and is refused.
pub(crate) fn read_key(path: &Path) -> Result<Option<Key>, AuthError> {
    let Some(text) = read_private(path, 4096)? else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&text).unwrap_or_default().trim();
    let mut key = Key::default();
    if decode_hex(text, &mut key) {
        Ok(Some(key))
    } else {
        Err(AuthError::BadKey(path.to_owned()))
    }
}

/// Reads a small file that only its owner may read.
pub(crate) fn read_private(
    path: &Path,
    most: u64,
) -> Result<Option<Zeroizing<Vec<u8>>>, AuthError> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let meta = file.metadata().map_err(failed("read", path))?;
    if meta.mode() & 0o077 != 0 {
        let open = std::io::Error::other("others may read it; run chmod 600 on it");
        return Err(failed("trust", path)(open));
    }
    let mut content = Zeroizing::new(Vec::new());
    file.take(most)
        .read_to_end(&mut content)
        .map_err(failed("read", path))?;
    Ok(Some(content))
}

/// A new random key as a line of hex, which survives copying and editors.
pub(crate) fn new_key_text() -> Result<Zeroizing<String>, AuthError> {
    let mut text = Zeroizing::new(clawdbot_domain::hex(random::<32>()?.as_ref()));
    text.push('\n');
    Ok(text)
}

fn decode_hex(text: &str, into: &mut [u8; 32]) -> bool {
    if text.len() != 64 || !text.is_ascii() {
        return false;
    }
    into.iter_mut()
        .zip(text.as_bytes().chunks_exact(2))
        .all(|(byte, pair)| {
            let pair = std::str::from_utf8(pair).unwrap_or_default();
            u8::from_str_radix(pair, 16).map(|b| *byte = b).is_ok()
        })
}
