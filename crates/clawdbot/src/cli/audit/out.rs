//! Standard output for what may be millions of lines.

use anstream::{AutoStream, stream::IsTerminal as _};
use std::io::{BufWriter, StdoutLock, Write as _};

/// Standard output in pieces, colours taken out when it is no terminal.
pub(super) struct Out {
    to: BufWriter<AutoStream<StdoutLock<'static>>>,
    /// The reader went away (`| head`): nobody wants the rest.
    closed: bool,
    terminal: bool,
}

impl Out {
    pub(super) fn new() -> Self {
        Self {
            to: BufWriter::with_capacity(1 << 16, anstream::stdout().lock()),
            closed: false,
            terminal: std::io::stdout().is_terminal(),
        }
    }

    /// Standard output is a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Prints a line.
    pub(super) fn line(&mut self, text: impl std::fmt::Display) {
        self.closed |= writeln!(self.to, "{text}").is_err();
    }

    /// Shows what was printed so far.
    pub(super) fn flush(&mut self) {
        self.closed |= self.to.flush().is_err();
    }
}
