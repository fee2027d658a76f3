//! Standard output for what may be millions of lines.

use crate::cli::arrived;
use std::io::IsTerminal as _;
use std::io::{BufWriter, Write};

/// Standard output in pieces.
pub(super) struct Out {
    to: BufWriter<Box<dyn Write>>,
    /// The reader went away (`| head`): nobody wants the rest.
    closed: bool,
    terminal: bool,
}

impl Out {
    /// For people: colours are taken out when it is no terminal.
    pub(super) fn new() -> Self {
        Self::to(Box::new(anstream::stdout().lock()))
    }

    /// For programs: there is nothing to take out, and looking for it takes longer than the rest.
    pub(super) fn plain() -> Self {
        Self::to(Box::new(std::io::stdout().lock()))
    }

    fn to(stream: Box<dyn Write>) -> Self {
        Self {
            to: BufWriter::with_capacity(1 << 16, stream),
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
        self.closed |= !arrived(&writeln!(self.to, "{text}"));
    }

    /// Prints a line that is bytes already.
    pub(super) fn bytes(&mut self, line: &[u8]) {
        let written = self.to.write_all(line);
        self.closed |= written.and_then(|()| self.to.write_all(b"\n")).is_err();
    }

    /// Shows what was printed so far.
    pub(super) fn flush(&mut self) {
        self.closed |= !arrived(&self.to.flush());
    }
}

impl Drop for Out {
    /// What is still held back; the buffer's own way would say nothing of a full disk.
    fn drop(&mut self) {
        self.flush();
    }
}
