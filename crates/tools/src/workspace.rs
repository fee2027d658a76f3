//! The workspace, by descriptor. Every path is opened beneath it by the kernel (`RESOLVE_BENEATH`),
//! never compared as text: links that lead out, `..` that climbs out and `/proc` links do not resolve.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::fs::File;

/// A workspace that is open.
pub(crate) struct Workspace<'a> {
    root: &'a OwnedFd,
}

impl<'a> Workspace<'a> {
    /// The workspace behind this descriptor.
    pub(crate) fn new(root: &'a OwnedFd) -> Self {
        Self { root }
    }

    /// Opens a regular file to read, and its size.
    pub(crate) fn file(&self, path: &str) -> Result<(File, u64), String> {
        self.open(path, READ)
            .and_then(|opened| checked(opened, path))
    }

    /// The same by its name in an open folder, where a link is refused.
    pub(crate) fn file_in(folder: &OwnedFd, name: &str, path: &str) -> Result<(File, u64), String> {
        let opened = beneath(folder, name, READ | OFlags::NOFOLLOW)
            .map_err(|error| format!("{path}: {}", words(error)))?;
        checked(opened, path)
    }

    /// A folder by its name in an open one, where a link is refused.
    pub(crate) fn folder_in(folder: &OwnedFd, name: &str, path: &str) -> Result<OwnedFd, String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        beneath(folder, name, flags).map_err(|error| format!("{path}: {}", words(error)))
    }

    /// Opens a folder to list or to change.
    pub(crate) fn folder(&self, path: &str) -> Result<OwnedFd, String> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// The same, made with its parents where it does not exist.
    pub(crate) fn folder_or_make(&self, path: &str) -> Result<OwnedFd, String> {
        let mut at = self.folder(".")?;
        for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
            match rustix::fs::mkdirat(&at, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(format!("{path}: {}", words(error))),
            }
            // Beneath the folder before it: a link among the parts may not lead up.
            at = beneath(&at, part, OFlags::RDONLY | OFlags::DIRECTORY)
                .map_err(|error| format!("{path}: {}", words(error)))?;
        }
        Ok(at)
    }

    fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, String> {
        beneath(self.root, path, flags).map_err(|error| format!("{path}: {}", words(error)))
    }
}

/// Without NONBLOCK the open of a FIFO would wait for a writer before it can be refused.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

fn checked(opened: OwnedFd, path: &str) -> Result<(File, u64), String> {
    let found = look(&opened, path)?;
    regular(&found, path)?;
    // A hard link may have another name outside, put here by whoever could (unpacking an archive): no
    // resolution sees that, but the count does.
    if found.st_nlink > 1 {
        return Err(format!(
            "{path}: has {} names (hard links), so it may belong to somewhere else; copy it first",
            found.st_nlink
        ));
    }
    let size = u64::try_from(found.st_size).unwrap_or(0);
    Ok((File::from(opened), size))
}

fn beneath(root: impl AsFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    // The kernel answers AGAIN when something moved while it climbed a `..`; a hostile renamer must not
    // keep us here.
    for _ in 0..8 {
        match rustix::fs::openat2(
            root.as_fd(),
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        ) {
            Err(Errno::AGAIN) => {}
            answer => return answer,
        }
    }
    Err(Errno::AGAIN)
}

/// What an open descriptor is.
pub(crate) fn look(opened: impl AsFd, path: &str) -> Result<Stat, String> {
    rustix::fs::fstat(opened).map_err(|error| format!("{path}: {}", words(error)))
}

/// Refuses what is no regular file: reading a FIFO or device could wait for ever or do something.
pub(crate) fn regular(found: &Stat, path: &str) -> Result<(), String> {
    let kind = match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "a folder; use list_directory",
        FileType::Fifo => "a FIFO, not a file",
        FileType::Socket => "a socket, not a file",
        FileType::CharacterDevice | FileType::BlockDevice => "a device, not a file",
        FileType::Symlink | FileType::Unknown => "not a file",
    };
    Err(format!("{path}: is {kind}"))
}

/// What the kernel said, in words that fit a path.
pub(crate) fn words(error: Errno) -> String {
    match error {
        Errno::XDEV => "leads outside the workspace; paths are relative to it".to_owned(),
        Errno::NOENT => "there is no such file or folder".to_owned(),
        Errno::NOTDIR => "a part of it is not a folder".to_owned(),
        Errno::LOOP => "is a link that may not be followed".to_owned(),
        Errno::ACCESS | Errno::PERM => "may not be opened from inside the sandbox".to_owned(),
        Errno::NAMETOOLONG => "the name is too long".to_owned(),
        Errno::INVAL => "is no path".to_owned(),
        other => std::io::Error::from(other).to_string(),
    }
}
