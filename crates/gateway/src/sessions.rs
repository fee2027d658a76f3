//! `/sessions`: conversations, for an operator and for their owner. Thin, as `tokens.rs` is.

use crate::answer::ApiError;
use crate::body::json_of;
use crate::caller::Caller;
use crate::record::{blocking, recorded};
use crate::routes::{Handled, id_in};
use axum::body::Body;
use clawdbot_domain::{Event, SessionId, Taint, TokenId, UnixTime};
use clawdbot_sessions::SessionInfo;
use http::{Request, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

/// A session.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Session {
    /// Its id; name it in the header `Clawdbot-Session` to go on in it.
    #[schemars(with = "String")]
    id: SessionId,
    /// Whose it is.
    #[schemars(with = "String")]
    token: TokenId,
    /// When it began; all times are RFC 3339 in UTC.
    created: String,
    /// When it was last used.
    used: String,
    /// How many turns it has seen.
    turns: u64,
    /// What it has taken in: nothing from outside, untrusted text, or text with an attack in it.
    #[schemars(extend("enum" = ["clean", "untrusted", "hostile"]))]
    #[schemars(with = "String")]
    taint: Taint,
}

/// Every session.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Sessions {
    /// The one used last first.
    data: Vec<Session>,
}

/// A session that is over.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Ended {
    /// Its id.
    #[schemars(with = "String")]
    ended: SessionId,
}

impl From<SessionInfo> for Session {
    fn from(info: SessionInfo) -> Self {
        Self {
            created: info.created.to_string(),
            used: info.used.to_string(),
            turns: info.turns,
            taint: info.taint,
            token: info.token,
            id: info.id,
        }
    }
}

/// `GET /sessions`.
pub(crate) async fn list(caller: Caller, _: Request<Body>) -> Handled {
    let store = Arc::clone(&caller.rooms().sessions);
    let all = blocking(move || Ok(store.sessions(UnixTime::now())?)).await?;
    let data = all.into_iter().map(Session::from).collect();
    Ok(json_of(StatusCode::OK, &Sessions { data }))
}

/// `GET /sessions/{id}`: the caller's own.
pub(crate) async fn show(caller: Caller, request: Request<Body>) -> Handled {
    let store = Arc::clone(&caller.rooms().sessions);
    let (id, token) = (
        SessionId::new(id_in(&request)),
        caller.principal().token.clone(),
    );
    let look = move || Ok(store.session(Some(&token), &id, UnixTime::now())?);
    let found = blocking(look).await?;
    Ok(json_of(StatusCode::OK, &Session::from(found)))
}

/// `POST /sessions/{id}/end`.
pub(crate) async fn end(caller: Caller, request: Request<Body>) -> Handled {
    let store = Arc::clone(&caller.rooms().sessions);
    let id = SessionId::new(id_in(&request));
    let (looking, wanted) = (Arc::clone(&store), id.clone());
    let look = move || Ok(looking.session(None, &wanted, UnixTime::now())?);
    let ended = blocking(look).await?.id;
    let event = Event::SessionEnded {
        ended: ended.clone(),
    };
    let work = move || store.end(&id).map_err(ApiError::from);
    recorded(&caller, vec![event], work).await?;
    Ok(json_of(StatusCode::OK, &Ended { ended }))
}
