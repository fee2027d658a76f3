//! The register: the newest checkpoint, kept outside the folder of the log, that only moves forward.
//!
//! Two places of a page each are written in turn, so that a crash in the middle of one leaves the
//! other. The file must be there when it is set: an empty one is filled, a missing one is an error,
//! for a register that comes into being by itself would vouch for whatever it finds.

use crate::disk;
use crate::error::AuditError;
use crate::note::Signed;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const PAGE: usize = 4096;

/// A register that is in use.
#[derive(Debug)]
pub(crate) struct Register {
    path: PathBuf,
    file: File,
}

impl Register {
    pub(crate) fn open(path: &Path) -> Result<Self, AuditError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).open(path);
        Ok(Self {
            path: path.to_owned(),
            file: file.map_err(AuditError::io("open the register", path))?,
        })
    }

    /// Its file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds; `None` while it is empty.
    pub(crate) fn read(&self) -> Result<Option<Signed>, AuditError> {
        read_file(&self.file, &self.path)
    }

    /// Moves it forward, durably. It never moves back: another checkpoint of the same size or a
    /// smaller one is refused.
    pub(crate) fn advance(&self, to: &Signed) -> Result<(), AuditError> {
        let locking = |error: rustix::io::Errno| {
            AuditError::io("lock the register", &self.path)(error.into())
        };
        flock(&self.file, FlockOperation::LockExclusive).map_err(locking)?;
        let result = self.advance_locked(to);
        let _ = flock(&self.file, FlockOperation::Unlock);
        result
    }

    fn advance_locked(&self, to: &Signed) -> Result<(), AuditError> {
        let pages = pages(&self.file, &self.path)?;
        let newest = newest(&pages);
        if let Some(held) = newest.and_then(|at| pages.get(at)?.as_ref()) {
            let (held, to) = (&held.checkpoint, &to.checkpoint);
            let same = held.size == to.size && held.root == to.root;
            if same && held.origin == to.origin {
                return Ok(());
            }
            if held.origin != to.origin || held.size >= to.size {
                return Err(AuditError::RolledBack {
                    records: to.size,
                    known: held.size,
                    register: self.path.clone(),
                });
            }
        }
        let place = newest.map_or(0, |at| 1 - at);
        let mut page = to.text.clone().into_bytes();
        page.resize(PAGE, b'\n');
        disk::write_at(&self.file, &self.path, &page, (place * PAGE) as u64)?;
        disk::sync(&self.file, &self.path)
    }
}

/// What the register in `path` holds.
pub(crate) fn read(path: &Path) -> Result<Option<Signed>, AuditError> {
    let file = File::open(path).map_err(AuditError::io("open the register", path))?;
    read_file(&file, path)
}

fn read_file(file: &File, path: &Path) -> Result<Option<Signed>, AuditError> {
    let mut pages = pages(file, path)?;
    let held = newest(&pages).and_then(|at| pages.swap_remove(at));
    let empty = file.metadata().is_ok_and(|meta| meta.len() == 0);
    if held.is_none() && !empty {
        return Err(AuditError::key(path, "it holds no checkpoint"));
    }
    Ok(held)
}

fn pages(file: &File, path: &Path) -> Result<Vec<Option<Signed>>, AuditError> {
    let mut bytes = vec![0; 2 * PAGE];
    let mut len = 0;
    while let Some(rest) = bytes.get_mut(len..).filter(|rest| !rest.is_empty()) {
        let read = file.read_at(rest, len as u64);
        match read.map_err(AuditError::io("read the register", path))? {
            0 => break,
            more => len += more,
        }
    }
    let page = |page: &[u8]| {
        let text = std::str::from_utf8(page).ok()?;
        Signed::parse(&format!("{}\n", text.trim_end_matches(['\n', '\0'])))
    };
    Ok(bytes.chunks(PAGE).map(page).collect())
}

fn newest(pages: &[Option<Signed>]) -> Option<usize> {
    let sizes = pages.iter().enumerate();
    sizes
        .filter_map(|(at, page)| Some((page.as_ref()?.checkpoint.size, at)))
        .max()
        .map(|(_, at)| at)
}
