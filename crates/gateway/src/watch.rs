//! A token that stops counting while its answer is still on the way: the answer stops within a second.

use crate::answer::ApiError;
use crate::caller::Context;
use crate::caps::Slot;
use axum::body::Body;
use bytes::Bytes;
use clawdbot_domain::{Event, Outcome, Protocol, TokenId, UnixTime};
use http::{Response, header};
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

/// What the caller of a token that was taken back is told, and the log with it.
pub(crate) fn cut(context: &Context) -> ApiError {
    let reason = "the token stopped counting while the answer was on its way";
    tracing::warn!(request = %context.id, reason, "security: answer cut");
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
    token: TokenId,
    slot: Option<Slot>,
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
            revoked: Box::pin(revoked(Arc::clone(context), token)),
            context: Arc::clone(context),
            events,
            cut: false,
            _slot: slot,
        })
    })
}

struct Watched {
    inner: Body,
    revoked: Pin<Box<dyn Future<Output = ()> + Send>>,
    context: Arc<Context>,
    /// The answer is told in events, so its end can be told as one.
    events: bool,
    cut: bool,
    /// Given back when the answer is over or its client has gone.
    _slot: Option<Slot>,
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
        if self.revoked.as_mut().poll(poller).is_pending() {
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(poller));
            return Poll::Ready(frame);
        }
        self.cut = true;
        // The turn or the provider's answer ends here and now, not when somebody reads on.
        self.inner = Body::empty();
        let error = cut(&self.context);
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
