//! The body of an answer: everything that is ready comes out as one frame.

use super::line::{Line, Pool};
use crate::ProviderError;
use bytes::{Bytes, BytesMut};
use clawdbot_domain::ProviderName;
use http_body::{Body as _, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// The most one frame gathers before it is handed over.
const FRAME_BYTES: usize = 64 * 1024;

/// The body of an answer, with the connection it comes over. Dropping it closes the connection,
/// which is how a provider learns that nobody listens any more.
pub(crate) struct UpstreamBody {
    provider: ProviderName,
    incoming: Incoming,
    line: Option<Line>,
    pool: Arc<Pool>,
    patience: Patience,
    failed: Option<ProviderError>,
    left: u64,
    ended: bool,
}

impl UpstreamBody {
    pub(crate) fn new(
        provider: ProviderName,
        incoming: Incoming,
        line: Line,
        pool: Arc<Pool>,
        idle: Duration,
    ) -> Self {
        let mut body = Self {
            provider,
            incoming,
            line: Some(line),
            pool,
            patience: Patience::new(idle),
            failed: None,
            left: u64::MAX,
            ended: false,
        };
        if body.incoming.is_end_stream() {
            body.end();
        }
        body
    }

    /// Refuses more than `bytes`.
    pub(crate) fn capped(mut self, bytes: u64) -> Self {
        self.left = bytes;
        self
    }

    /// True when all of it has been handed over.
    pub(crate) fn is_end(&self) -> bool {
        self.ended && self.failed.is_none()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    /// The next bytes; `None` at the end.
    pub(crate) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, ProviderError>>> {
        let mut gathered = Gathered::default();
        while !self.ended && gathered.len() < FRAME_BYTES {
            match self.poll_piece(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(piece))) => self.take_in(piece, &mut gathered),
                Poll::Ready(Some(Err(error))) => self.fail(error),
                Poll::Ready(None) => self.end(),
            }
        }
        if let Some(bytes) = gathered.into_bytes() {
            self.patience.renew();
            return Poll::Ready(Some(Ok(bytes)));
        }
        if self.ended {
            return Poll::Ready(self.failed.take().map(Err));
        }
        if self.patience.poll_out(cx) {
            let seconds = self.patience.idle.as_secs();
            self.fail(ProviderError::TimedOut {
                provider: self.provider,
                seconds,
            });
            return Poll::Ready(self.failed.take().map(Err));
        }
        Poll::Pending
    }

    /// One piece as hyper hands it over: the connection is driven only when none is waiting.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ProviderError>>> {
        let mut polled = Pin::new(&mut self.incoming).poll_frame(cx);
        if polled.is_pending()
            && let Some(line) = &mut self.line
        {
            line.drive(cx);
            polled = Pin::new(&mut self.incoming).poll_frame(cx);
        }
        polled.map(|frame| {
            frame.map(|frame| match frame {
                // Trailers carry nothing a model API uses.
                Ok(frame) => Ok(frame.into_data().unwrap_or_default()),
                Err(_) => Err(ProviderError::Cut {
                    provider: self.provider,
                }),
            })
        })
    }

    fn take_in(&mut self, piece: Bytes, gathered: &mut Gathered) {
        match self.left.checked_sub(piece.len() as u64) {
            Some(left) => {
                self.left = left;
                gathered.add(piece);
                if self.incoming.is_end_stream() {
                    self.end();
                }
            }
            None => self.fail(ProviderError::Malformed {
                provider: self.provider,
                why: "the answer is larger than is read from any provider".to_owned(),
            }),
        }
    }

    fn end(&mut self) {
        self.ended = true;
        if let Some(line) = self.line.take() {
            self.pool.give(line);
        }
    }

    fn fail(&mut self, error: ProviderError) {
        self.ended = true;
        self.line = None;
        self.failed = Some(error);
    }
}

/// Pieces joined to one frame; a single piece is not copied.
#[derive(Default)]
struct Gathered {
    first: Option<Bytes>,
    joined: BytesMut,
}

impl Gathered {
    fn len(&self) -> usize {
        self.first.as_ref().map_or(self.joined.len(), Bytes::len)
    }

    fn add(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        if let Some(first) = self.first.take() {
            self.joined.reserve(4 * (first.len() + piece.len()));
            self.joined.extend_from_slice(&first);
            self.joined.extend_from_slice(&piece);
        } else if self.joined.is_empty() {
            self.first = Some(piece);
        } else {
            self.joined.extend_from_slice(&piece);
        }
    }

    fn into_bytes(self) -> Option<Bytes> {
        self.first
            .or_else(|| (!self.joined.is_empty()).then(|| self.joined.freeze()))
    }
}

/// Waits so long for the next bytes and no longer. The time a slow client takes does not count: the
/// wait begins when we are asked for more and have nothing.
struct Patience {
    idle: Duration,
    until: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(idle: Duration) -> Self {
        Self {
            idle,
            until: None,
            timer: None,
        }
    }

    fn renew(&mut self) {
        self.until = None;
    }

    /// True when it ran out. The timer is moved only when it fires: most waits are far shorter.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> bool {
        let idle = self.idle;
        let until = *self.until.get_or_insert_with(|| Instant::now() + idle);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= until {
                return true;
            }
            timer.as_mut().reset(until);
        }
        false
    }
}
