//! The body of a relayed answer: passed on as it comes, and counted.

use crate::ProviderError;
use crate::ending::Ending;
use crate::tail::Tail;
use crate::upstream::UpstreamBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Writes the end record when the body ends, fails, or is dropped.
pub(crate) struct Relaying {
    body: UpstreamBody,
    tail: Tail,
    ending: Ending,
}

impl Relaying {
    pub(crate) fn new(body: UpstreamBody, ending: Ending) -> Self {
        let mut relaying = Self {
            body,
            tail: Tail::default(),
            ending,
        };
        relaying.settle();
        relaying
    }

    /// Whoever reads may stop at the last byte without asking for what comes after it.
    fn settle(&mut self) {
        if self.body.is_end() {
            self.ending.usage = self.tail.usage();
            self.ending.well();
        }
    }
}

impl Body for Relaying {
    type Data = Bytes;
    type Error = ProviderError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ProviderError>>> {
        let this = &mut *self;
        let polled = this.body.poll_data(cx);
        match &polled {
            Poll::Ready(Some(Ok(bytes))) => {
                this.ending.bytes += bytes.len() as u64;
                this.tail.push(bytes);
                this.settle();
            }
            Poll::Ready(Some(Err(error))) => this.ending.badly(error),
            Poll::Ready(None) => this.settle(),
            Poll::Pending => {}
        }
        polled.map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
