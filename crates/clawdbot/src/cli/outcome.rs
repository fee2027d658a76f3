//! How a command ends: exit codes after sysexits, and errors that say how to mend them.

use std::sync::OnceLock;
use std::{fmt, process::ExitCode};

/// Exit codes; the numbers are those of `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(
    dead_code,
    reason = "the table is whole so that each command picks from it, not from numbers"
)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// A check found something.
    Found = 1,
    /// `audit verify`: the log cannot be read.
    Unreadable = 2,
    /// `audit verify`: a record was changed, dropped, doubled or moved.
    Tampered = 3,
    /// `audit verify`: records that a checkpoint vouches for are gone.
    RolledBack = 4,
    /// The command line was wrong.
    Usage = 64,
    /// The data was wrong.
    BadData = 65,
    /// Something needed is not there: no gateway runs, a call needs approval.
    Unavailable = 69,
    /// A bug of ours.
    Bug = 70,
    /// A file could not be created.
    CannotCreate = 73,
    /// Reading or writing failed.
    Io = 74,
    /// Try again later.
    TryAgain = 75,
    /// Policy said no.
    Refused = 77,
    /// The configuration is wrong.
    BadConfig = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What every command returns.
pub type CliResult = Result<Exit, Failure>;

/// Why a command did not do what was asked, and how to mend it.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure with its exit code.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            hint: None,
        }
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// What went wrong.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn no_home() -> Self {
        Self::new(
            Exit::BadConfig,
            "there is no home directory to keep anything in",
        )
        .hint("set CLAWDBOT_HOME or give --home DIR")
    }

    /// Prints it to standard error.
    pub(super) fn report(self) -> Exit {
        use std::io::Write as _;
        let mut err = anstream::stderr().lock();
        // Nothing is left to do when standard error itself is gone.
        let _ = writeln!(err, "error: {}", crate::secrecy::mask(&self.message));
        if let Some(hint) = self.hint {
            let _ = writeln!(err, "  try: {}", crate::secrecy::mask(&hint));
        }
        self.exit
    }
}

/// Why a part of the answer did not reach standard output, the first time.
static LOST: OnceLock<String> = OnceLock::new();

/// Takes note of what became of a write to standard output; true when it arrived. A reader that has gone away
/// (`| head`) has what it wanted; a full disk has not, and a token that is shown once or an export that
/// ends early must not look like a success.
pub fn arrived(written: &std::io::Result<()>) -> bool {
    if let Err(error) = written
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        let _ = LOST.set(error.to_string());
    }
    written.is_ok()
}

/// The exit code of a command that is done, unless its answer was lost.
pub(super) fn unless_lost(exit: Exit) -> Exit {
    match LOST.get() {
        Some(why) if matches!(exit, Exit::Done | Exit::Found) => {
            let what = format!("it was done, but the answer could not be written: {why}");
            Failure::new(Exit::Io, what).report()
        }
        Some(_) | None => exit,
    }
}

/// Prints a line to standard output.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let written = writeln!(anstream::stdout().lock(), $($arg)*);
        $crate::cli::arrived(&written);
    }};
}

/// Prints a line to standard error: notes and warnings that are no result.
#[macro_export]
macro_rules! note {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(anstream::stderr().lock(), $($arg)*);
    }};
}
