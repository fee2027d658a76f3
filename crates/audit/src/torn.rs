//! What a crash left behind the last whole record is kept, then cut off.

use crate::disk;
use crate::error::AuditError;
use crate::segment::Segment;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Copies everything after `good` to `torn/`, durably, and only then cuts it off. Returns the name
/// of the copy within the folder of the log.
pub(crate) fn set_aside(
    folder: &Path,
    segment: &Segment,
    file: &File,
    good: u64,
) -> Result<String, AuditError> {
    let torn = folder.join("torn");
    disk::make_folder(&torn)?;
    let (name, copy) = create(&torn, segment, good)?;
    let path = torn.join(&name);
    copy_rest(file, segment, good, &copy, &path)?;
    disk::sync(&copy, &path)?;
    disk::sync_folder(&torn)?;
    disk::sync_folder(folder)?;
    disk::take_back(&segment.path, good)?;
    Ok(format!("torn/{name}"))
}

/// A new file for the torn bytes; the same place can be torn more than once.
fn create(torn: &Path, segment: &Segment, good: u64) -> Result<(String, File), AuditError> {
    for copy in 0..1000_u32 {
        let name = format!("{}.{good}.{copy}", segment.name());
        let path = torn.join(&name);
        let mut new = OpenOptions::new();
        match new.write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((name, file)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(AuditError::io("create", &path)(error)),
        }
    }
    let full = std::io::Error::other("a thousand torn pieces of one place are there already");
    Err(AuditError::io("create another file in", torn)(full))
}

fn copy_rest(
    mut from: &File,
    segment: &Segment,
    good: u64,
    to: &File,
    path: &Path,
) -> Result<(), AuditError> {
    let reading = || AuditError::io("read", &segment.path);
    from.seek(SeekFrom::Start(good)).map_err(reading())?;
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut piece).map_err(reading())?;
        if read == 0 {
            return Ok(());
        }
        disk::append(to, path, piece.get(..read).unwrap_or_default())?;
    }
}
