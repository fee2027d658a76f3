//! A token that stops counting while its answer is still on the way: the answer stops within a second.

use crate::answer::ApiError;
use crate::caller::Context;
use crate::caps::Slot;
use crate::running::Entered;
use axum::body::Body;
use bytes::Bytes;
use clawdbot_domain::{Event, Outcome, Protocol, TokenId, UnixTime};
use http::{Response, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll, ready};
use std::time::Duration;

/// How often an open answer asks whether its token still counts. The promise is a second.
const LOOK: Duration = Duration::from_millis(400);

/// Resolves when the token no longer counts, whatever took it: a revocation here or in another
/// process, its end, a change of the gateway's environment, or an incident.
pub(crate) async fn revoked(context: Arc<Context>, token: TokenId) {
    loop {
        tokio::time::sleep(LOOK).await;
        let live = &context.server.live;
        let rooms = live.current();
        if live.is_closed() || !rooms.authenticator.still_valid(&token, UnixTime::now()) {
            return;
        }
    }
}

/// Why an answer ends before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The token stopped counting.
    Revoked,
    /// Somebody ended the turn.
    Cancelled,
}

/// Resolves when the answer must end.
pub(crate) fn over(
    context: Arc<Context>,
    token: TokenId,
    entered: Option<&Entered>,
) -> impl Future<Output = Why> + Send + use<> {
    let cancelled = entered.map(Entered::cancelled);
    async move {
        let cancelled = async move {
            match cancelled {
                Some(cancelled) => cancelled.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = cancelled => Why::Cancelled,
            () = revoked(context, token) => Why::Revoked,
        }
    }
}

/// What the caller is told whose answer is cut. What becomes of a token is written down here; who ends a
/// turn has written that down.
pub(crate) fn cut(context: &Context, why: Why) -> ApiError {
    if why == Why::Cancelled {
        // A status that no client's library tries again.
        let told = "the turn was ended by an operator";
        return ApiError::new(StatusCode::GONE, "turn_cancelled", told);
    }
    let reason = "the token stopped counting while the answer was on its way";
    let event = Event::AnswerCut {
        reason: reason.to_owned(),
    };
    let recorder = context.rooms.agent.recorder();
    recorder.note_later(context.who(), Outcome::Denied, event);
    ApiError::unauthenticated(reason)
}

/// Watches the rest of an answer; one that is whole already needs no watching.
pub(crate) fn watched(
    context: &Arc<Context>,
    over: Pin<Box<dyn Future<Output = Why> + Send>>,
    place: Option<(Slot, Entered)>,
    response: Response<Body>,
) -> Response<Body> {
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    let kind = response.headers().get(header::CONTENT_TYPE);
    let events = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    response.map(|inner| {
        Body::new(Watched {
            inner,
            over,
            context: Arc::clone(context),
            events,
            cut: false,
            _place: place,
        })
    })
}

struct Watched {
    inner: Body,
    over: Pin<Box<dyn Future<Output = Why> + Send>>,
    context: Arc<Context>,
    /// The answer is told in events, so its end can be told as one.
    events: bool,
    cut: bool,
    /// Given back when the answer is over or its client has gone.
    _place: Option<(Slot, Entered)>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        poller: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.cut {
            return Poll::Ready(None);
        }
        let Poll::Ready(why) = self.over.as_mut().poll(poller) else {
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(poller));
            return Poll::Ready(frame);
        };
        self.cut = true;
        // The turn or the provider's answer ends here and now, not when somebody reads on.
        self.inner = Body::empty();
        let error = cut(&self.context, why);
        Poll::Ready(Some(if self.events {
            let told = error.body(self.context.dialect);
            let name = match self.context.dialect {
                Protocol::OpenAi => "",
                Protocol::Anthropic => "event: error\n",
            };
            // A provider's event may be half told: an empty line ends it.
            Ok(Frame::data(Bytes::from(format!(
                "\n\n{name}data: {told}\n\n"
            ))))
        } else {
            Err(axum::Error::new(std::io::Error::other(error.message)))
        }))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
