//! A log file that is rotated by size.
//!
//! Not `tracing-appender`, which rotates by time only: a disk fills by bytes.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// How large one file grows, in bytes, and how many rotated ones are kept beside it. Six times ten
/// megabytes hold weeks of a busy gateway at `info`.
pub const LIMITS: Limits = Limits {
    bytes: 10 << 20,
    kept: 5,
};

/// When to rotate, and what to keep.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one file.
    pub bytes: u64,
    /// How many older files are kept: `NAME.1` is the youngest of them.
    pub kept: u32,
}

/// An append-only file that starts anew when it is full.
#[derive(Debug)]
pub struct Rotating {
    path: PathBuf,
    file: File,
    written: u64,
    limits: Limits,
}

impl Rotating {
    /// Opens the file, and goes on where it ends.
    pub fn open(path: &Path, limits: Limits) -> std::io::Result<Self> {
        let file = append_to(path)?;
        let written = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            written,
            limits,
        })
    }

    fn older(&self, n: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        name.into()
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        for n in (1..self.limits.kept).rev() {
            match std::fs::rename(self.older(n), self.older(n + 1)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        std::fs::rename(&self.path, self.older(1))?;
        self.file = append_to(&self.path)?;
        self.written = 0;
        Ok(())
    }
}

impl Write for Rotating {
    /// Takes one whole event; an event is never split over two files.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let full = self.written + line.len() as u64 > self.limits.bytes;
        // A file that cannot be rotated is better than an event that is not written.
        if full && self.written > 0 && self.rotate().is_err() {
            self.written = 0;
        }
        self.file.write_all(line)?;
        self.written += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

fn append_to(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::{Limits, Rotating};
    use std::io::Write as _;
    use std::path::Path;

    const LIMITS: Limits = Limits { bytes: 64, kept: 2 };

    fn write(dir: &Path, lines: std::ops::Range<u32>) {
        let mut log = Rotating::open(&dir.join("log"), LIMITS).unwrap();
        for n in lines {
            writeln!(log, "line {n:03} of the log").unwrap();
        }
    }

    fn held(dir: &Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|f| f.unwrap())
            .map(|f| {
                (
                    f.file_name().into_string().unwrap(),
                    std::fs::read_to_string(f.path()).unwrap(),
                )
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn whole_lines_move_on_by_size_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 0..10);
        let files = held(dir.path());
        let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["log", "log.1", "log.2"]);
        assert!(files.iter().all(|(_, text)| text.len() <= 64));
        assert!(files.iter().all(|(_, text)| text.ends_with("log\n")));
        assert!(files[0].1.contains("line 009"), "the newest is in `log`");
        assert!(!files.iter().any(|(_, text)| text.contains("line 000")));
    }

    #[test]
    fn a_second_start_goes_on_where_the_first_ended() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 0..2);
        write(dir.path(), 2..4);
        let files = held(dir.path());
        assert_eq!(files.len(), 2, "{files:?}");
        assert!(files[1].1.contains("line 000"), "{files:?}");
    }

    #[test]
    fn a_file_that_cannot_be_rotated_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        // A folder that is not empty cannot be replaced by a file.
        std::fs::create_dir_all(dir.path().join("log.1/taken")).unwrap();
        std::fs::create_dir_all(dir.path().join("log.2/taken")).unwrap();
        write(dir.path(), 0..9);
        let text = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert_eq!(text.lines().count(), 9);
    }
}
