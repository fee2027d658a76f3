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
        Ok(Self {
            path: path.to_owned(),
            file: open(path)?,
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
    pub(crate) fn advance(&mut self, to: &Signed) -> Result<(), AuditError> {
        let locking = |error: rustix::io::Errno| {
            AuditError::io("lock the register", &self.path)(error.into())
        };
        flock(&self.file, FlockOperation::LockExclusive).map_err(locking)?;
        let result = self.advance_locked(to);
        let _ = flock(&self.file, FlockOperation::Unlock);
        if let Err(AuditError::Io { .. }) = result {
            // A descriptor that met an error is never flushed again.
            self.file = open(&self.path)?;
        }
        result
    }

    fn advance_locked(&self, to: &Signed) -> Result<(), AuditError> {
        let pages = parse(&bytes(&self.file, &self.path)?);
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

fn open(path: &Path) -> Result<File, AuditError> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).open(path);
    file.map_err(AuditError::io("open the register", path))
}

/// What the register in `path` holds.
pub(crate) fn read(path: &Path) -> Result<Option<Signed>, AuditError> {
    let file = File::open(path).map_err(AuditError::io("open the register", path))?;
    read_file(&file, path)
}

fn read_file(file: &File, path: &Path) -> Result<Option<Signed>, AuditError> {
    let bytes = bytes(file, path)?;
    let mut pages = parse(&bytes);
    let held = newest(&pages).and_then(|at| pages.swap_remove(at));
    if held.is_none() && !is_fresh(&bytes) {
        return Err(AuditError::key(path, "it holds no checkpoint"));
    }
    Ok(held)
}

/// True for an empty register, and for what a crash in its very first write leaves: a piece of a page that
/// begins as ours do, or blocks that never reached the disk. A whole page that cannot be read was changed,
/// and a file of something else is no register.
fn is_fresh(bytes: &[u8]) -> bool {
    let is_blank = |byte: &u8| *byte == 0;
    let (first, second) = bytes.split_at_checked(PAGE).unwrap_or((bytes, &[]));
    let ours = first.starts_with(b"clawdbot.local/") || first.iter().all(is_blank);
    let torn = first.len() < PAGE || first.iter().any(is_blank);
    ours && torn && second.iter().all(is_blank)
}

fn bytes(file: &File, path: &Path) -> Result<Vec<u8>, AuditError> {
    let mut bytes = vec![0; 2 * PAGE];
    let mut len = 0;
    while let Some(rest) = bytes.get_mut(len..).filter(|rest| !rest.is_empty()) {
        let read = file.read_at(rest, len as u64);
        match read.map_err(AuditError::io("read the register", path))? {
            0 => break,
            more => len += more,
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Vec<Option<Signed>> {
    let page = |page: &[u8]| {
        let text = std::str::from_utf8(page).ok()?;
        Signed::parse(&format!("{}\n", text.trim_end_matches(['\n', '\0'])))
    };
    bytes.chunks(PAGE).map(page).collect()
}

fn newest(pages: &[Option<Signed>]) -> Option<usize> {
    let sizes = pages.iter().enumerate();
    sizes
        .filter_map(|(at, page)| Some((page.as_ref()?.checkpoint.size, at)))
        .max()
        .map(|(_, at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_write_cut_short_is_no_register_yet_and_a_changed_page_is_none_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("register");
        let mut page = b"clawdbot.local/0123456789abcdef\n7\n".to_vec();
        for fresh in [&[][..], &[0; 4096], &page[..9], &page[..20], &page] {
            std::fs::write(&path, fresh).unwrap();
            let told = read(&path);
            let ours = fresh.len() != 9;
            assert_eq!(told.is_ok(), ours, "{told:?}");
        }
        page.resize(PAGE, b'\n');
        for other in [&page[..], b"root:x:0:0", &[&[0; 4096][..], b"x"].concat()] {
            std::fs::write(&path, other).unwrap();
            assert!(read(&path).is_err());
        }
    }
}
