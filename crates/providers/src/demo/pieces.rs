//! A scripted answer, handed out piece by piece, with its end record.

use crate::ending::Ending;
use crate::{ProviderError, ReplyEvent};
use bytes::Bytes;
use clawdbot_domain::Usage;
use futures_util::Stream;
use http_body::{Body, Frame};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The body of a relayed answer.
pub(crate) struct Pieces {
    left: VecDeque<String>,
    ending: Ending,
}

impl Pieces {
    pub(crate) fn new(pieces: Vec<String>, ending: Ending) -> Self {
        Self {
            left: pieces.into(),
            ending,
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = ProviderError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ProviderError>>> {
        let piece = self.left.pop_front();
        self.ending.bytes += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        if self.left.is_empty() {
            self.ending.well();
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }
}

/// A reply in our own words.
pub(crate) struct Telling {
    left: VecDeque<ReplyEvent>,
    ending: Ending,
}

impl Telling {
    pub(crate) fn new(events: Vec<ReplyEvent>, mut ending: Ending, usage: Usage) -> Self {
        ending.usage = Some(usage);
        Self {
            left: events.into(),
            ending,
        }
    }
}

impl Stream for Telling {
    type Item = Result<ReplyEvent, ProviderError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = self.left.pop_front();
        if let Some(ReplyEvent::Text(text)) = &event {
            self.ending.bytes += text.len() as u64;
        }
        if self.left.is_empty() {
            self.ending.well();
        }
        Poll::Ready(event.map(Ok))
    }
}
