//! The file on disk: read whole or not at all, replaced whole or not at all.

use crate::document::{Document, MAX_BYTES};
use crate::draft::{Draft, EditError};
use crate::error::{ConfigError, ConfigErrors, Place};
use crate::load::{Layers, Loaded, Overrides};
use rustix::fs::{FlockOperation, OFlags, flock};
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a change waits for another one to finish.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// A configuration file; it need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsFile {
    path: PathBuf,
}

/// Which state of the file this is. Two equal stamps are, but for clock tricks, the same content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp(Option<Seen>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self(Some(Seen {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }))
    }

    /// True when there was a file.
    pub const fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

impl SettingsFile {
    /// The file at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it and lays the overrides over it. A missing file is an empty one.
    ///
    /// # Errors
    /// Everything that is wrong, at once. The file is left as it is.
    pub fn load(&self, overrides: &Overrides) -> Result<Loaded, ConfigErrors> {
        let mut layers = Layers::new();
        let mut stamp = Stamp::default();
        match self.document() {
            Ok(None) => {}
            Ok(Some((document, seen))) => {
                stamp = seen;
                layers.file(document);
            }
            Err(errors) => layers.errors.extend(errors.0),
        }
        layers.overrides(overrides);
        layers.done(stamp)
    }

    /// The state of the file now: one `stat`, cheap enough to ask twice a second. Compare it with
    /// [`Loaded::stamp`], which was taken of the very file that was read.
    pub fn stamp(&self) -> Stamp {
        fs::metadata(&self.path).map_or(Stamp::default(), |meta| Stamp::of(&meta))
    }

    /// Starts a change: takes the lock, reads what is there.
    ///
    /// # Errors
    /// When another change does not finish within 10 s, when the file or its folder cannot be used,
    /// or when what is there is no JSON object with each key once.
    pub fn draft(&self) -> Result<Draft, EditError> {
        Draft::begin(self)
    }

    pub(crate) fn document(&self) -> Result<Option<(Document, Stamp)>, ConfigErrors> {
        match self.read() {
            Ok(Some((bytes, stamp))) => Ok(Some((Document::parse(&bytes, &self.path)?, stamp))),
            Ok(None) => Ok(None),
            Err(error) => {
                let problem = format!("cannot be read: {error}");
                Err(ConfigError::new(Place::File(self.path.clone()), problem).into())
            }
        }
    }

    fn read(&self) -> io::Result<Option<(Vec<u8>, Stamp)>> {
        // Not blocking: were it a pipe, opening it would wait for a writer.
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        let file = match OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&self.path)
        {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // A link that leads nowhere is a broken mount and no absence. Anything else that is
                // there by now was not when we looked, which is answer enough.
                let link = fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.is_symlink());
                return if link {
                    Err(io::Error::other("it is a link that leads nowhere"))
                } else {
                    Ok(None)
                };
            }
            Err(error) => return Err(error),
        };
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(Some((bytes, Stamp::of(&meta))))
    }
}

/// The lock on a configuration file; held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: File,
}

impl Lock {
    /// Locks a file beside the target: the target itself is replaced and so cannot carry the lock.
    pub(crate) fn take(target: &Path) -> Result<Self, EditError> {
        let path = sibling(target, "lock");
        let io = |source| EditError::Io {
            doing: "lock the configuration",
            path: path.clone(),
            source,
        };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(io)?;
        keep_owner(&file, target).map_err(io)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _held: file }),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(io(errno.into())),
            }
            if Instant::now() >= deadline {
                return Err(EditError::Busy { path });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The file a path stands for, links followed, its folder made if need be.
pub(crate) fn target_of(path: &Path) -> Result<PathBuf, EditError> {
    let dir = folder(path);
    let made = match fs::metadata(dir) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => make_folder(dir),
        Err(e) => Err(e),
    };
    made.map_err(|source| EditError::Io {
        doing: "make the folder",
        path: dir.to_owned(),
        source,
    })?;
    // Renaming onto a link would replace the link and leave what it leads to as it was.
    match fs::canonicalize(path) {
        Ok(target) => Ok(target),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(path.to_owned()),
        Err(source) => Err(EditError::Io {
            doing: "find the file",
            path: path.to_owned(),
            source,
        }),
    }
}

fn make_folder(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    File::open(folder(dir))?.sync_all()
}

/// Puts `bytes` in the place of the target as one durable step: whoever reads sees the old file or
/// the new one, and after a crash one of the two is there whole.
pub(crate) fn replace(target: &Path, bytes: &[u8]) -> Result<(), EditError> {
    let temp = sibling(target, "new");
    let failed = |doing| {
        let temp = temp.clone();
        move |source| EditError::Io {
            doing,
            path: temp,
            source,
        }
    };
    // We hold the lock, so one that is there was left by a crash.
    match fs::remove_file(&temp) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed("clear away")(e)),
        Ok(()) | Err(_) => {}
    }
    let written = write_new(&temp, target, bytes)
        .map_err(failed("write"))
        .and_then(|()| {
            fs::rename(&temp, target).map_err(|source| EditError::Io {
                doing: "replace the configuration",
                path: target.to_owned(),
                source,
            })
        });
    if written.is_err() {
        // The error that matters is the first one.
        let _ = fs::remove_file(&temp);
        return written;
    }
    let dir = folder(target);
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| EditError::Io {
        doing: "make durable",
        path: dir.to_owned(),
        source,
    })
}

fn write_new(temp: &Path, target: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temp)?;
    keep_owner(&file, target)?;
    file.write_all(bytes)?;
    // Without this, XFS and others may keep the new name and lose what is in it.
    file.sync_all()
}

/// Root must not take the file away from the account that the gateway runs as.
fn keep_owner(file: &File, target: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(target).or_else(|_| fs::metadata(folder(target)))?;
    let mine = file.metadata()?;
    if (owner.uid(), owner.gid()) == (mine.uid(), mine.gid()) {
        return Ok(());
    }
    fchown(file, Some(owner.uid()), Some(owner.gid()))
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// `.NAME.suffix` beside a file.
fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{suffix}"))
}
