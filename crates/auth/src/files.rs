//! Key files: made once, for this user only, and never made again.

use crate::error::AuthError;
use rustix::fs::{Mode, OFlags};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// A 256-bit key; wiped when dropped.
pub(crate) type Key = Zeroizing<[u8; 32]>;

pub(crate) fn failed<'a>(
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
    link_once(&temporary(path, content)?, path)
}

/// Gives a finished file its name, if that is free. `Ok(false)`: it was taken.
pub(crate) fn link_once(temporary: &Path, path: &Path) -> Result<bool, AuthError> {
    // A hard link appears whole or not at all, and never replaces: two processes that start at
    // once agree on one file.
    let linked = std::fs::hard_link(temporary, path);
    let _ = std::fs::remove_file(temporary);
    match linked {
        Ok(()) => sync_folder(path).map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed("create", path)(error)),
    }
}

/// Puts a whole file in place of whatever is there, 0600, durable.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), AuthError> {
    rename(&temporary(path, content)?, path)
}

/// Gives a file another name, in place of whatever has that name; durable.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), AuthError> {
    std::fs::rename(from, to).map_err(failed("replace", to))?;
    sync_folder(to)
}

/// Removes a file that may be gone already; durable.
pub(crate) fn remove(path: &Path) -> Result<(), AuthError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed("remove", path)(error))
        }
        Ok(()) | Err(_) => sync_folder(path),
    }
}

/// A whole file, 0600, on disk, under a name that nobody looks for.
pub(crate) fn temporary(path: &Path, content: &[u8]) -> Result<std::path::PathBuf, AuthError> {
    let unique = clawdbot_domain::hex(random::<8>()?.as_ref());
    let temporary = path.with_extension(format!("new-{unique}"));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR);
    let mut file = std::fs::File::from(opened.map_err(|e| failed("create", path)(e.into()))?);
    let written = keep_owner(&file, path)
        .and_then(|()| file.write_all(content))
        .and_then(|()| file.sync_all());
    written.map_err(failed("write", path))?;
    Ok(temporary)
}

/// Root must not take a home away from the account that the gateway runs as.
fn keep_owner(file: &std::fs::File, path: &Path) -> std::io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = std::fs::metadata(path.parent().unwrap_or(path))?;
    let mine = file.metadata()?;
    if (owner.uid(), owner.gid()) == (mine.uid(), mine.gid()) {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))
}

/// True when something has this name, a link that leads nowhere included: that is a broken mount and
/// no absence.
pub(crate) fn is_there(path: &Path) -> Result<bool, AuthError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("look at", path)(error)),
    }
}

/// A lock between processes; held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: std::fs::File,
}

impl Lock {
    /// Takes the lock that this file stands for, waiting while another holds it.
    pub(crate) fn take(path: &Path) -> Result<Self, AuthError> {
        let file = Self::file(path)?;
        file.lock().map_err(failed("lock", path))?;
        Ok(Self { _held: file })
    }

    /// Takes the lock if nobody holds it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>, AuthError> {
        let file = Self::file(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _held: file })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(failed("lock", path)(error)),
        }
    }

    fn file(path: &Path) -> Result<std::fs::File, AuthError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
        let file = std::fs::File::from(opened.map_err(|e| failed("lock", path)(e.into()))?);
        keep_owner(&file, path).map_err(failed("lock", path))?;
        Ok(file)
    }
}

fn sync_folder(path: &Path) -> Result<(), AuthError> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(failed("sync the folder of", path))
}

/// Who may be able to read a file that a secret is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner only: a file that others may read is no secret, and is refused.
    Owner,
    /// Whoever put it there decided: container and service managers mount secrets as they see fit.
    Anyone,
}

/// Reads a key of 32 bytes that only its owner may read. `None` when there is no such file.
pub(crate) fn read_key(path: &Path) -> Result<Option<Key>, AuthError> {
    read_key_of(path, Readers::Owner)
}

/// Reads a key of 32 bytes. `None` when there is no such file.
pub(crate) fn read_key_of(path: &Path, readers: Readers) -> Result<Option<Key>, AuthError> {
    let Some(text) = read(path, 4096, readers)? else {
        return Ok(None);
    };
    match decode_key(&text) {
        Some(key) => Ok(Some(key)),
        None => Err(AuthError::BadKey(path.to_owned())),
    }
}

/// A key written as a line of hex.
pub(crate) fn decode_key(text: &[u8]) -> Option<Key> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let mut key = Key::default();
    decode_hex(text, &mut key).then_some(key)
}

/// Reads a small file that only its owner may read.
pub(crate) fn read_private(
    path: &Path,
    most: u64,
) -> Result<Option<Zeroizing<Vec<u8>>>, AuthError> {
    read(path, most, Readers::Owner)
}

/// Reads a small file. `None` when there is no such file.
pub(crate) fn read(
    path: &Path,
    most: u64,
    readers: Readers,
) -> Result<Option<Zeroizing<Vec<u8>>>, AuthError> {
    // Not blocking: were it a pipe, opening it would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => std::fs::File::from(file),
        Err(rustix::io::Errno::NOENT) if !is_there(path)? => return Ok(None),
        Err(error) => return Err(failed("read", path)(error.into())),
    };
    let meta = file.metadata().map_err(failed("read", path))?;
    if readers == Readers::Owner && meta.mode() & 0o077 != 0 {
        let open = std::io::Error::other("others may read it; run chmod 600 on it");
        return Err(failed("trust", path)(open));
    }
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(most).unwrap_or(0)));
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
            // Not `from_str_radix` of the pair: that takes "+f" for a number.
            let digit = |d: Option<&u8>| char::from(*d?).to_digit(16);
            let value = digit(pair.first()).zip(digit(pair.get(1)));
            value
                .map(|(high, low)| *byte = (high << 4 | low) as u8)
                .is_some()
        })
}
