//! A reply as a stream of our own events.

use crate::ending::Ending;
use crate::reader::Reader;
use crate::sse::{Broken, Sse};
use crate::upstream::UpstreamBody;
use crate::{ProviderError, ReplyEvent};
use clawdbot_domain::ProviderName;
use futures_util::Stream;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Reads a reply to its end. Calls are in its last event or nowhere.
pub(crate) struct Listening {
    provider: ProviderName,
    body: UpstreamBody,
    framed: bool,
    sse: Sse,
    reader: Box<dyn Reader>,
    ready: VecDeque<ReplyEvent>,
    last: Option<Result<ReplyEvent, ProviderError>>,
    over: bool,
    ending: Ending,
}

impl Listening {
    pub(crate) fn new(
        provider: ProviderName,
        body: UpstreamBody,
        framed: bool,
        reader: Box<dyn Reader>,
        ending: Ending,
    ) -> Self {
        Self {
            provider,
            body,
            framed,
            sse: Sse::default(),
            reader,
            ready: VecDeque::new(),
            last: None,
            over: false,
            ending,
        }
    }

    /// Reads on until there is something to tell.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.ready.is_empty() && !self.over {
            match self.body.poll_data(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(bytes))) => {
                    self.ending.bytes += bytes.len() as u64;
                    let read = self.take_in(&bytes);
                    self.settle(read, cx);
                }
                Poll::Ready(Some(Err(error))) => self.close(Err(error)),
                Poll::Ready(None) => {
                    let finished = self.finish();
                    self.close(finished);
                }
            }
        }
        Poll::Ready(())
    }

    fn take_in(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let Self {
            sse, reader, ready, ..
        } = self;
        let mut out = Vec::new();
        let read = sse.push(bytes, &mut |event| reader.take(event, &mut out));
        ready.extend(joined(out));
        read
    }

    /// After a read: was it the end, or the end of it all?
    fn settle(&mut self, read: Result<(), Broken>, cx: &mut Context<'_>) {
        if let Err(broken) = read {
            return self.close(Err(broken.of(self.provider)));
        }
        if self.reader.is_over() {
            // The end of the body is most often there already. Reading it lets the connection be
            // used again; nothing in it is looked at.
            let _ = self.body.poll_data(cx);
            let finished = self.finish();
            self.close(finished);
        }
    }

    fn finish(&mut self) -> Result<ReplyEvent, ProviderError> {
        let Self {
            sse, reader, ready, ..
        } = self;
        let mut out = Vec::new();
        // Where the end of the connection is the only end, a cut looks the same: then only the
        // provider's own last word counts.
        let clean = self.framed;
        if clean && !reader.is_over() {
            sse.end(&mut |event| reader.take(event, &mut out))
                .map_err(|broken| broken.of(self.provider))?;
        }
        ready.extend(joined(out));
        let ended = reader
            .finish(clean)
            .map_err(|broken| broken.of(self.provider))?;
        let ended = ended.ok_or(ProviderError::Cut {
            provider: self.provider,
        })?;
        self.ending.usage = Some(ended.usage);
        Ok(ended.into())
    }

    fn close(&mut self, last: Result<ReplyEvent, ProviderError>) {
        self.over = true;
        match &last {
            Ok(_) => self.ending.well(),
            Err(error) => self.ending.badly(error),
        }
        self.last = Some(last);
    }
}

impl Stream for Listening {
    type Item = Result<ReplyEvent, ProviderError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.read(cx).is_pending() {
            return Poll::Pending;
        }
        let next = self.ready.pop_front().map(Ok);
        Poll::Ready(next.or_else(|| self.last.take()))
    }
}

/// Texts that came in one read are told as one.
fn joined(events: Vec<ReplyEvent>) -> Vec<ReplyEvent> {
    let mut joined: Vec<ReplyEvent> = Vec::with_capacity(1);
    for event in events {
        match (joined.last_mut(), event) {
            (Some(ReplyEvent::Text(text)), ReplyEvent::Text(more)) => text.push_str(&more),
            (_, event) => joined.push(event),
        }
    }
    joined
}

impl Broken {
    fn of(self, provider: ProviderName) -> ProviderError {
        match self {
            Self::Malformed(why) => ProviderError::Malformed {
                provider,
                why: shortened(&why),
            },
            Self::Refused { status, message } => ProviderError::Refused {
                provider,
                status,
                message: shortened(&message),
                retry_after: None,
            },
        }
    }
}

/// A provider's words, fit for an error: one line, bounded, with what looks like a key masked.
pub(crate) fn shortened(text: &str) -> String {
    let clean: String = text
        .chars()
        .take(400)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let words = clean.split(' ').map(|word| match word.find("sk-") {
        Some(at) => format!("{}[key]", word.get(..at).unwrap_or_default()),
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}
