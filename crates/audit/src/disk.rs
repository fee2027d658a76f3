//! Every change the log makes to the disk, one function each, so that a test can let any of them
//! fail or the process die there.

use crate::error::AuditError;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

type Done = Result<(), AuditError>;

/// Whoever may put names into the folder must not lead a write elsewhere by a link, nor make an opening wait
/// for the other end of a pipe.
const PLAIN: i32 = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .bits()
    .cast_signed();

/// Opens a file of the log to read it; a link, pipe or device is none.
pub(crate) fn open_read(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(PLAIN).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no plain file"));
    }
    Ok(file)
}

/// Appends; what arrives when it fails is unknown.
pub(crate) fn append(mut file: &File, path: &Path, bytes: &[u8]) -> Done {
    #[cfg(test)]
    fault::will_change(path);
    #[cfg(test)]
    if let Err(error) = fault::point() {
        // The worst of both: it fails, and half of it arrives.
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        let _ = file.write_all(half);
        return Err(AuditError::io("write to", path)(error));
    }
    file.write_all(bytes)
        .map_err(AuditError::io("write to", path))
}

/// Makes the content durable.
pub(crate) fn sync(file: &File, path: &Path) -> Done {
    #[cfg(test)]
    fault::point().map_err(AuditError::io("flush", path))?;
    file.sync_data().map_err(AuditError::io("flush", path))?;
    #[cfg(test)]
    fault::synced(path);
    Ok(())
}

/// Makes names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> Done {
    #[cfg(test)]
    fault::point().map_err(AuditError::io("flush", path))?;
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(AuditError::io("flush", path))?;
    #[cfg(test)]
    fault::folder_synced(path);
    Ok(())
}

/// Makes a new file; one that is there already is taken only if it is empty (a crash between
/// making and filling it leaves such a one).
pub(crate) fn create(path: &Path) -> Result<File, AuditError> {
    #[cfg(test)]
    fault::point().map_err(AuditError::io("create", path))?;
    #[cfg(test)]
    fault::will_name(path);
    let mut new = OpenOptions::new();
    new.append(true).read(true).mode(0o600).create_new(true);
    match new.open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let file = open_append(path)?;
            match file.metadata() {
                Ok(meta) if meta.len() == 0 => Ok(file),
                _ => Err(AuditError::io("create", path)(error)),
            }
        }
        other => other.map_err(AuditError::io("create", path)),
    }
}

/// Puts a whole file in the place of another at once. With `durable` bytes a power cut leaves either this
/// content or the one before; without, it may leave an empty file. With a durable `name` as well it leaves
/// this one.
pub(crate) fn replace(path: &Path, bytes: &[u8], durable: bool, name: bool) -> Done {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.custom_flags(PLAIN);
    #[cfg(test)]
    fault::point().map_err(AuditError::io("create", &new))?;
    #[cfg(test)]
    fault::will_empty(&new);
    let file = options.open(&new).map_err(AuditError::io("create", &new))?;
    append(&file, &new, bytes)?;
    if durable {
        sync(&file, &new)?;
    }
    #[cfg(test)]
    fault::point().map_err(AuditError::io("replace", path))?;
    #[cfg(test)]
    fault::will_rename(&new, path);
    std::fs::rename(&new, path).map_err(AuditError::io("replace", path))?;
    match path.parent() {
        Some(parent) if name => sync_folder(parent),
        _ => Ok(()),
    }
}

/// Opens a file to append to it; makes it if it is missing.
pub(crate) fn open_or_create(path: &Path) -> Result<File, AuditError> {
    #[cfg(test)]
    fault::point().map_err(AuditError::io("open", path))?;
    #[cfg(test)]
    fault::will_name(path);
    let mut options = OpenOptions::new();
    options.append(true).read(true).create(true).mode(0o600);
    options.custom_flags(PLAIN);
    options.open(path).map_err(AuditError::io("open", path))
}

/// Overwrites one place of a file.
pub(crate) fn write_at(file: &File, path: &Path, bytes: &[u8], at: u64) -> Done {
    use std::os::unix::fs::FileExt as _;
    #[cfg(test)]
    fault::will_change(path);
    #[cfg(test)]
    if let Err(error) = fault::point() {
        // In the middle of the text, which is shorter than its page.
        let half = bytes.get(..90.min(bytes.len() / 2)).unwrap_or_default();
        let _ = file.write_all_at(half, at);
        return Err(AuditError::io("write to", path)(error));
    }
    file.write_all_at(bytes, at)
        .map_err(AuditError::io("write to", path))
}

/// Makes everything of the file system durable: what was written without waiting, before something is
/// removed that it could be made from again.
pub(crate) fn sync_all(folder: &Path) -> Done {
    #[cfg(test)]
    fault::point().map_err(AuditError::io("flush", folder))?;
    let open = File::open(folder).map_err(AuditError::io("open", folder))?;
    rustix::fs::syncfs(&open).map_err(|error| AuditError::io("flush", folder)(error.into()))?;
    #[cfg(test)]
    fault::all_synced();
    Ok(())
}

/// Sets aside that much disk under a name. Fails when the disk is too full for it.
pub(crate) fn reserve(path: &Path, bytes: u64) -> Done {
    #[cfg(test)]
    fault::point().map_err(AuditError::io("reserve", path))?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(PLAIN);
    let file = options
        .open(path)
        .map_err(AuditError::io("reserve", path))?;
    let flags = rustix::fs::FallocateFlags::empty();
    match rustix::fs::fallocate(&file, flags, 0, bytes) {
        // Some file systems cannot; then there is no reserve, and that is all.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        Err(error) => {
            let _ = std::fs::remove_file(path);
            Err(AuditError::io("reserve", path)(error.into()))
        }
    }
}

/// Opens an existing file to append to it and to read it.
pub(crate) fn open_append(path: &Path) -> Result<File, AuditError> {
    let mut options = OpenOptions::new();
    options.append(true).read(true).custom_flags(PLAIN);
    options.open(path).map_err(AuditError::io("open", path))
}

/// Takes back what stands after `len`: bytes of a write that failed or that a crash cut short,
/// never a record. It is durable, or those bytes could be back after a power cut, behind records that were
/// written elsewhere meanwhile. The descriptor is a fresh one: one that met an error is never flushed again.
pub(crate) fn take_back(path: &Path, len: u64) -> Done {
    let fresh = open_append(path)?;
    #[cfg(test)]
    fault::point().map_err(AuditError::io("cut", path))?;
    #[cfg(test)]
    fault::will_cut(path);
    fresh.set_len(len).map_err(AuditError::io("cut", path))?;
    sync(&fresh, path)
}

/// Removes a pruned segment.
pub(crate) fn remove(path: &Path) -> Done {
    #[cfg(test)]
    fault::point().map_err(AuditError::io("remove", path))?;
    #[cfg(test)]
    fault::will_name(path);
    std::fs::remove_file(path).map_err(AuditError::io("remove", path))
}

/// Makes a private folder and those above it, as far as they are missing.
pub(crate) fn make_folder(path: &Path) -> Done {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(AuditError::io("create the folder", path))
}

#[cfg(test)]
pub(crate) mod fault;
