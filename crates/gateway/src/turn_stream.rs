//! A turn as a stream of what it emits, polled by whoever reads the answer.
//!
//! There is no task of its own: when the client goes away the stream is dropped, and with it the
//! turn, the provider's answer and a running tool.

use clawdbot_agent::{Answer, Emit, Emitter, Question, TurnError};
use futures_util::Stream;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll, ready};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, Sleep};

use crate::live::Rooms;

/// After this long without a word, proxies on the way are shown that the stream lives.
const QUIET: Duration = Duration::from_secs(15);

/// One piece of a turn.
pub(crate) enum Piece {
    /// Something was said or done.
    Emit(Emit),
    /// Nothing for a while.
    Quiet,
    /// The turn is over; nothing follows.
    End(Result<Answer, TurnError>),
}

type Turn = Pin<Box<dyn Future<Output = Result<Answer, TurnError>> + Send>>;

/// The pieces of a turn.
pub(crate) struct TurnStream {
    turn: Option<Turn>,
    emitted: UnboundedReceiver<Emit>,
    end: Option<Result<Answer, TurnError>>,
    /// Pieces looked at before the answer began, to be told first.
    ahead: VecDeque<Piece>,
    quiet: Pin<Box<Sleep>>,
}

impl TurnStream {
    /// Starts a turn; nothing happens until it is polled.
    pub(crate) fn new(rooms: Arc<Rooms>, question: Question) -> Self {
        let (emit, emitted) = Emitter::new();
        let turn: Turn = Box::pin(async move { rooms.agent.turn(question, &emit).await });
        Self {
            turn: Some(turn),
            emitted,
            end: None,
            ahead: VecDeque::new(),
            quiet: Box::pin(tokio::time::sleep(QUIET)),
        }
    }

    /// Runs until it is sure that the answer begins well, so that a turn that fails at once is
    /// answered with its status instead of a broken stream. `at_steps`: a step is beginning enough.
    pub(crate) async fn begin(&mut self, at_steps: bool) -> Result<(), TurnError> {
        loop {
            let piece = std::future::poll_fn(|poller| self.poll_piece(poller)).await;
            match piece {
                None => return Ok(()),
                Some(Piece::End(Err(error))) => return Err(error),
                Some(piece) => {
                    let begun = match &piece {
                        Piece::Emit(Emit::Text(_)) | Piece::End(_) | Piece::Quiet => true,
                        Piece::Emit(Emit::Step(step)) => {
                            at_steps && matches!(step, clawdbot_agent::Step::Asked { .. })
                        }
                    };
                    self.ahead.push_back(piece);
                    if begun {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn poll_piece(&mut self, poller: &mut Poller<'_>) -> Poll<Option<Piece>> {
        loop {
            // What was emitted comes before the end, so the channel is looked at first and last.
            if let Poll::Ready(Some(emit)) = self.emitted.poll_recv(poller) {
                self.quiet.as_mut().reset(Instant::now() + QUIET);
                return Poll::Ready(Some(Piece::Emit(emit)));
            }
            if let Some(end) = self.end.take() {
                return Poll::Ready(Some(Piece::End(end)));
            }
            let Some(turn) = self.turn.as_mut() else {
                return Poll::Ready(None);
            };
            if let Poll::Ready(end) = turn.as_mut().poll(poller) {
                self.turn = None;
                self.end = Some(end);
                continue;
            }
            if let Poll::Ready(Some(emit)) = self.emitted.poll_recv(poller) {
                self.quiet.as_mut().reset(Instant::now() + QUIET);
                return Poll::Ready(Some(Piece::Emit(emit)));
            }
            ready!(self.quiet.as_mut().poll(poller));
            self.quiet.as_mut().reset(Instant::now() + QUIET);
            return Poll::Ready(Some(Piece::Quiet));
        }
    }
}

impl Stream for TurnStream {
    type Item = Piece;

    fn poll_next(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Option<Piece>> {
        if let Some(piece) = self.ahead.pop_front() {
            return Poll::Ready(Some(piece));
        }
        self.poll_piece(poller)
    }
}
