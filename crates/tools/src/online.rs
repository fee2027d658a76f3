//! The child's end of its line to the broker.

use crate::broker::line::{Head, MOST_BODY, MOST_HEAD, Wanted, frame, length};
use std::fs::File;
use std::io::{self, Read as _, Write as _};

/// A line on which one thing can be asked for.
pub(crate) struct Line {
    socket: File,
}

impl Line {
    /// The line that a child was given.
    pub(crate) fn new(socket: File) -> Self {
        Self { socket }
    }

    /// Asks, and waits for the answer. A refusal is an error in words.
    pub(crate) fn ask(&mut self, wanted: &Wanted) -> Result<(Head, Vec<u8>), String> {
        match self.exchange(wanted) {
            Ok((Head::Refused(why), _)) => Err(why),
            Ok(answer) => Ok(answer),
            Err(error) => Err(format!("the way to the network: {error}")),
        }
    }

    fn exchange(&mut self, wanted: &Wanted) -> io::Result<(Head, Vec<u8>)> {
        self.socket
            .write_all(&frame(&serde_json::to_vec(wanted)?)?)?;
        let head = serde_json::from_slice(&self.take(MOST_HEAD)?)?;
        Ok((head, self.take(MOST_BODY)?))
    }

    fn take(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut prefix = [0; 4];
        self.socket.read_exact(&mut prefix)?;
        let mut bytes = vec![0; length(prefix, most)?];
        self.socket.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
