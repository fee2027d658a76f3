//! All records of a log, one after another, in little memory.

use crate::error::AuditError;
use crate::line::MAX_LINE;
use crate::segment::Segment;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

/// Reads a log from its first record kept to its end, a line at a time. It takes no lock and judges
/// nothing: [`crate::verify`] does.
///
/// What is longer than a record can be comes in pieces, so that no file can fill the memory. The end of
/// a line that is still being written is left out.
#[derive(Debug)]
pub struct Records {
    waiting: std::vec::IntoIter<Segment>,
    current: Option<(Segment, BufReader<File>)>,
}

impl Records {
    /// Of the log in that folder, as many segments as it has now.
    ///
    /// # Errors
    /// [`AuditError::Io`] when the folder cannot be read.
    pub fn open(folder: &Path) -> Result<Self, AuditError> {
        Ok(Self {
            waiting: Segment::list(folder)?.into_iter(),
            current: None,
        })
    }

    fn read(&mut self) -> Result<Option<String>, AuditError> {
        loop {
            if self.current.is_none() {
                let Some(segment) = self.waiting.next() else {
                    return Ok(None);
                };
                let file = match File::open(&segment.path) {
                    Ok(file) => file,
                    // Pruned since the folder was read; the numbers show that it is missing.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(AuditError::io("open", &segment.path)(error)),
                };
                self.current = Some((segment, BufReader::with_capacity(1 << 17, file)));
            }
            if let Some((segment, file)) = &mut self.current {
                let mut line = Vec::new();
                let read = file.take(MAX_LINE as u64).read_until(b'\n', &mut line);
                read.map_err(AuditError::io("read", &segment.path))?;
                if line.pop_if(|last| *last == b'\n').is_some() || line.len() == MAX_LINE {
                    return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
                }
            }
            self.current = None;
        }
    }
}

impl Iterator for Records {
    type Item = Result<String, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}
