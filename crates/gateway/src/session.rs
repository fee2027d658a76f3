//! Which session a request goes on in, and the header that says so.

use crate::answer::ApiError;
use crate::caller::{Caller, Context};
use axum::body::Body;
use clawdbot_agent::Said;
use clawdbot_domain::{SessionId, TurnId};
use clawdbot_sessions::{Session, SessionError};
use http::{HeaderMap, HeaderValue, Response};
use std::sync::Arc;

/// Names the session in a request, and in every answer of an agent.
pub(crate) const SESSION: &str = "clawdbot-session";

/// Names the turn in every answer of an agent.
const TURN: &str = "clawdbot-turn";

/// The session of a conversation. What was found is known to the request's record from here on.
pub(crate) async fn of(
    caller: &Caller,
    headers: &HeaderMap,
    said: &Arc<[Said]>,
) -> Result<Session, ApiError> {
    let named = named(headers)?;
    let token = &caller.principal().token;
    let session = caller.rooms().agent.session(token, named, said).await?;
    let _ = caller.context().session.set(session.id.clone());
    Ok(session)
}

/// The session that a request names. What is no id of ours is as unknown as one that never was.
pub(crate) fn named(headers: &HeaderMap) -> Result<Option<SessionId>, ApiError> {
    let Some(value) = headers.get(SESSION) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if text.is_empty() || text.len() > 64 || !plain {
        return Err(SessionError::NoSuchSession(String::new()).into());
    }
    Ok(Some(SessionId::new(text)))
}

/// The name a turn goes by: that under which it waited, if it did.
pub(crate) fn turn_of(context: &Context) -> &TurnId {
    context.goes_on.get().unwrap_or(&context.turn)
}

/// The answer, with the session it belongs to and the name of its turn.
pub(crate) fn told(caller: &Caller, mut answer: Response<Body>) -> Response<Body> {
    let context = caller.context();
    let session = context.session.get().map(SessionId::as_str);
    for (name, id) in [(SESSION, session), (TURN, Some(turn_of(context).as_str()))] {
        if let Some(Ok(id)) = id.map(HeaderValue::from_str) {
            answer.headers_mut().insert(name, id);
        }
    }
    answer
}
