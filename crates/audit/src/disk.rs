//! Every change the log makes to the disk, one function each, so that a test can let any of them
//! fail or the process die there.

use crate::error::AuditError;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

type Done = Result<(), AuditError>;

/// Appends; what arrives when it fails is unknown.
pub(crate) fn append(mut file: &File, path: &Path, bytes: &[u8]) -> Done {
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
    file.sync_data().map_err(AuditError::io("flush", path))
}

/// Makes names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> Done {
    #[cfg(test)]
    fault::point().map_err(AuditError::io("flush", path))?;
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(AuditError::io("flush", path))
}

/// Makes a new file; one that is there already is taken only if it is empty (a crash between
/// making and filling it leaves such a one).
pub(crate) fn create(path: &Path) -> Result<File, AuditError> {
    #[cfg(test)]
    fault::point().map_err(AuditError::io("create", path))?;
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
    #[cfg(test)]
    fault::point().map_err(AuditError::io("create", &new))?;
    let file = options.open(&new).map_err(AuditError::io("create", &new))?;
    append(&file, &new, bytes)?;
    if durable {
        sync(&file, &new)?;
    }
    #[cfg(test)]
    fault::point().map_err(AuditError::io("replace", path))?;
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
    let mut options = OpenOptions::new();
    options.append(true).read(true).create(true).mode(0o600);
    options.open(path).map_err(AuditError::io("open", path))
}

/// Overwrites one place of a file.
pub(crate) fn write_at(file: &File, path: &Path, bytes: &[u8], at: u64) -> Done {
    use std::os::unix::fs::FileExt as _;
    #[cfg(test)]
    if let Err(error) = fault::point() {
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
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
    rustix::fs::syncfs(&open).map_err(|error| AuditError::io("flush", folder)(error.into()))
}

/// Sets aside that much disk under a name. Fails when the disk is too full for it.
pub(crate) fn reserve(path: &Path, bytes: u64) -> Done {
    #[cfg(test)]
    fault::point().map_err(AuditError::io("reserve", path))?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
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
    options.append(true).read(true);
    options.open(path).map_err(AuditError::io("open", path))
}

/// Takes back what stands after `len`: bytes of a write that failed or that a crash cut short,
/// never a record.
pub(crate) fn take_back(file: &File, path: &Path, len: u64) -> Done {
    #[cfg(test)]
    fault::point().map_err(AuditError::io("cut", path))?;
    file.set_len(len).map_err(AuditError::io("cut", path))
}

/// Removes a pruned segment.
pub(crate) fn remove(path: &Path) -> Done {
    #[cfg(test)]
    fault::point().map_err(AuditError::io("remove", path))?;
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

/// Lets operations fail in tests, on this thread.
#[cfg(test)]
pub(crate) mod fault {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        /// Operations until the fault; whether the fault stays; whether it struck.
        static PLAN: Cell<Option<(u32, bool)>> = const { Cell::new(None) };
        static STRUCK: Cell<bool> = const { Cell::new(false) };
    }

    /// Lets operation `nth` from now (from 0) fail: once, or from then on as after a crash.
    pub(crate) fn plan(nth: u32, stays: bool) {
        PLAN.set(Some((nth, stays)));
        STRUCK.set(false);
    }

    /// Ends the plan; true when its fault struck.
    pub(crate) fn clear() -> bool {
        PLAN.set(None);
        STRUCK.replace(false)
    }

    pub(crate) fn point() -> io::Result<()> {
        match PLAN.get() {
            None => Ok(()),
            Some((0, stays)) => {
                PLAN.set(stays.then_some((0, true)));
                STRUCK.set(true);
                Err(io::Error::from_raw_os_error(5))
            }
            Some((nth, stays)) => {
                PLAN.set(Some((nth - 1, stays)));
                Ok(())
            }
        }
    }
}
