//! A body that is written piece by piece, and may break off.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// As it should.
    Clean,
    /// With the connection.
    Broken,
}

/// The connection is to break here.
#[derive(Debug)]
pub(super) struct Break;

impl std::fmt::Display for Break {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut as scripted")
    }
}

impl std::error::Error for Break {}

/// Pieces, each its own write.
pub(super) struct Paced {
    pieces: VecDeque<Bytes>,
    end: End,
    written: bool,
}

impl Paced {
    pub(super) fn new(pieces: Vec<Bytes>, end: End) -> Self {
        Self {
            pieces: pieces.into(),
            end,
            written: true,
        }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Break;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Break>>> {
        // One turn of waiting after each piece lets it reach the socket before the next, or the
        // break, comes.
        if !std::mem::replace(&mut self.written, true) {
            poller.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.written = false;
        match self.pieces.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if self.end == End::Broken => Poll::Ready(Some(Err(Break))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.end == End::Clean
    }

    fn size_hint(&self) -> SizeHint {
        match self.pieces.front() {
            Some(only) if self.pieces.len() == 1 && self.end == End::Clean => {
                SizeHint::with_exact(only.len() as u64)
            }
            _ => SizeHint::default(),
        }
    }
}
