//! Which gateway stands in this home: a file it holds locked for as long as it lives.
//!
//! The lock is the truth, the text in it a way to whoever holds it: a process id that is left over from a
//! crash, or that belongs to another container, is never signalled.

use crate::home::Home;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;

/// Held by the gateway of a home.
#[derive(Debug)]
pub struct Standing {
    _locked: File,
}

/// A gateway that stands, as another process sees it.
#[derive(Debug)]
pub struct Found {
    file: File,
    /// Its process, when it can be seen from here.
    process: Option<OwnedFd>,
    /// Where it listens.
    pub port: Option<u16>,
}

impl Standing {
    /// Takes the place. `None` when another gateway of this home has it; `up --once` goes on beside it.
    pub fn take(home: &Home, port: Option<u16>) -> io::Result<Option<Self>> {
        let mut file = open(home, OFlags::RDWR | OFlags::CREATE)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let told = json!({"pid": std::process::id(), "namespace": namespace(), "port": port});
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{told}")?;
        Ok(Some(Self { _locked: file }))
    }
}

impl Found {
    /// The gateway that stands in this home; `None` when none does.
    pub fn in_home(home: &Home) -> io::Result<Option<Self>> {
        let mut file = match open(home, OFlags::RDWR) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        if !is_held(&file)? {
            return Ok(None);
        }
        let mut text = String::new();
        // What is told is short.
        (&mut file).take(4096).read_to_string(&mut text)?;
        let told: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let number = |name: &str| told.get(name).and_then(Value::as_u64);
        let here = told.get("namespace").and_then(Value::as_str) == Some(&namespace());
        let pid = number("pid").and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let process = pid
            .filter(|_| here)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        // Held still: so the process that was just opened is the one that holds it, and no later one
        // with its number.
        if !is_held(&file)? {
            return Ok(None);
        }
        Ok(Some(Self {
            file,
            process,
            port: number("port").and_then(|port| u16::try_from(port).ok()),
        }))
    }

    /// Signals it; false when it cannot be seen from here.
    pub fn signal(&self, signal: Signal) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|process| pidfd_send_signal(process, signal).is_ok())
    }

    /// True once it is gone.
    pub fn is_gone(&self) -> io::Result<bool> {
        is_held(&self.file).map(|held| !held)
    }
}

fn open(home: &Home, flags: OFlags) -> io::Result<File> {
    let path = home.state().join("gateway.lock");
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?);
    // Root must not take the file away from the account that the gateway runs as.
    let (folder, mine) = (std::fs::metadata(home.state())?, file.metadata()?);
    if rustix::process::geteuid().is_root() && folder.uid() != mine.uid() {
        std::os::unix::fs::fchown(&file, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(file)
}

fn is_held(file: &File) -> io::Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The process ids of another container mean other processes.
fn namespace() -> String {
    let link = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().into_owned()
}
