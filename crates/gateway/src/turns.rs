//! `/turns`: what runs and what waits, for an operator and for the owner of a turn.

use crate::answer::ApiError;
use crate::approvals::Approval;
use crate::body::{ADMIN_BODY, body_of, json_of, not_json};
use crate::caller::Caller;
use crate::chat::{self, AGENT};
use crate::record::blocking;
use crate::routes::{Handled, id_in};
use crate::turn_stream::TurnStream;
use axum::body::Body;
use clawdbot_agent::Question;
use clawdbot_domain::{Event, Outcome, Protocol, SessionId, TokenId, TurnId, UnixTime};
use clawdbot_sessions::{Session, SessionError, TurnInfo, TurnState};
use http::{Request, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A turn, or another piece of work that can be ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Turn {
    /// Its id.
    #[schemars(with = "String")]
    id: TurnId,
    /// Whose it is.
    #[schemars(with = "String")]
    token: TokenId,
    /// In which session, if in one.
    #[schemars(with = "Option<String>")]
    session: Option<SessionId>,
    /// `waiting`: for a person. `ready`: decided, or nobody did in time; go on with it to hear. `lost`: the
    /// gateway went away while it ran.
    #[schemars(extend("enum" = ["waiting", "ready", "running", "done", "failed", "cancelled", "lost"]))]
    state: &'static str,
    /// Since when; RFC 3339 in UTC.
    started: String,
    /// The route that it came by, while it runs.
    path: Option<String>,
    /// What it waits or waited for.
    approval: Option<Approval>,
}

/// Turns.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Turns {
    /// What runs, then what waits.
    data: Vec<Turn>,
}

/// What was ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Cancelled {
    /// Ids of the turns.
    #[schemars(with = "Vec<String>")]
    cancelled: Vec<TurnId>,
}

/// How a turn goes on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GoOn {
    /// Answer in events.
    #[serde(default)]
    stream: bool,
}

impl From<TurnInfo> for Turn {
    fn from(info: TurnInfo) -> Self {
        Self {
            id: info.id,
            token: info.token,
            session: Some(info.session),
            state: info.state.as_str(),
            started: info.created.to_string(),
            path: None,
            approval: info.approval.map(Approval::from),
        }
    }
}

fn running(caller: &Caller) -> impl Iterator<Item = Turn> + use<> {
    let seen = caller.context().server.running.seen();
    seen.into_iter().map(|seen| Turn {
        id: seen.id,
        token: seen.token,
        session: seen.session,
        state: "running",
        started: seen.started.to_string(),
        path: Some(seen.path),
        approval: None,
    })
}

/// `GET /turns`.
pub(crate) async fn list(caller: Caller, _: Request<Body>) -> Handled {
    let store = Arc::clone(&caller.rooms().sessions);
    let waiting = blocking(move || Ok(store.turns(UnixTime::now())?)).await?;
    let mut data = running(&caller).collect::<Vec<_>>();
    let waiting = waiting.into_iter().map(Turn::from);
    // One that goes on is known to the store as well.
    let waiting = waiting.filter(|turn| !data.iter().any(|running| running.id == turn.id));
    let waiting = waiting.collect::<Vec<_>>();
    data.extend(waiting);
    Ok(json_of(StatusCode::OK, &Turns { data }))
}

/// `GET /turns/{id}`: the caller's own.
pub(crate) async fn show(caller: Caller, request: Request<Body>) -> Handled {
    let id = TurnId::new(id_in(&request));
    let token = caller.principal().token.clone();
    let own = |turn: &Turn| turn.id == id && turn.token == token;
    if let Some(turn) = running(&caller).find(own) {
        return Ok(json_of(StatusCode::OK, &turn));
    }
    let store = Arc::clone(&caller.rooms().sessions);
    let look = move || Ok(store.turn(Some(&token), &id, UnixTime::now())?);
    Ok(json_of(StatusCode::OK, &Turn::from(blocking(look).await?)))
}

/// `POST /turns/{id}/resume`: goes on, and answers as the model route does.
pub(crate) async fn resume(caller: Caller, request: Request<Body>) -> Handled {
    let id = TurnId::new(id_in(&request));
    let headers = request.headers().clone();
    let body = body_of(request, ADMIN_BODY).await?;
    let asked = if body.is_empty() {
        GoOn::default()
    } else {
        serde_json::from_slice(&body).map_err(not_json)?
    };
    if let Some(waits) = still_waits(&caller, &id).await? {
        return Ok(json_of(StatusCode::ACCEPTED, &waits));
    }
    let turn = taken_up(&caller, id).await?;
    let model = AGENT.to_owned();
    let (id, steps) = (caller.context().id.to_string(), chat::wants_steps(&headers));
    match caller.context().dialect {
        Protocol::OpenAi => {
            let telling = crate::openai::Telling {
                id,
                model,
                usage: false,
            };
            chat::answered(&caller, turn, telling, asked.stream, steps).await
        }
        Protocol::Anthropic => {
            let telling = crate::anthropic::Telling { id, model };
            chat::answered(&caller, turn, telling, asked.stream, steps).await
        }
    }
}

async fn still_waits(caller: &Caller, id: &TurnId) -> Result<Option<Turn>, ApiError> {
    let store = Arc::clone(&caller.rooms().sessions);
    let (id, token) = (id.clone(), caller.principal().token.clone());
    let look = move || Ok(store.turn(Some(&token), &id, UnixTime::now())?);
    let turn = blocking(look).await?;
    Ok((turn.state == TurnState::Waiting).then(|| Turn::from(turn)))
}

/// The turn, which is this request's from here on.
async fn taken_up(caller: &Caller, id: TurnId) -> Result<TurnStream, ApiError> {
    let rooms = Arc::clone(caller.rooms());
    let picked = rooms.models.default_model()?;
    let (store, token) = (
        Arc::clone(&rooms.sessions),
        caller.principal().token.clone(),
    );
    let name = id.clone();
    let work = move || {
        let now = UnixTime::now();
        let waits = store.turn(Some(&token), &name, now)?;
        let session = store.session(Some(&token), &waits.session, now)?;
        Ok((session, store.resume(&token, &name, now)?))
    };
    let (session, resumed) = blocking(work).await?;
    let context = caller.context();
    let _ = context.session.set(session.id.clone());
    let _ = context.goes_on.set(id.clone());
    let question = Question {
        principal: caller.principal().clone(),
        who: caller.who(),
        provider: picked.provider,
        model: picked.model,
        said: Arc::from([]),
        session: Session {
            id: session.id,
            taint: session.taint,
        },
        max_tokens: None,
        allowed: clawdbot_guard::Allowed::default(),
        turn: id,
        resumes: Some(Box::new(resumed)),
    };
    Ok(TurnStream::new(rooms, question))
}

/// `POST /turns/{id}/cancel`; `all` stands for every turn.
pub(crate) async fn cancel(caller: Caller, request: Request<Body>) -> Handled {
    let id = id_in(&request);
    let which = (id != "all").then(|| TurnId::new(id));
    let reason = format!("by token {}", caller.principal().token);
    // The one that asks for it is no turn: its route has another scope.
    let mut cancelled = caller
        .context()
        .server
        .running
        .cancel(which.as_ref(), &reason);
    let store = Arc::clone(&caller.rooms().sessions);
    let (wanted, known) = (which.clone(), cancelled.clone());
    let waiting = blocking(move || {
        let ids = if let Some(id) = wanted {
            vec![id]
        } else {
            let all = store.turns(UnixTime::now())?.into_iter();
            all.map(|turn| turn.id).collect()
        };
        let mut ended = Vec::new();
        for id in ids {
            if !known.contains(&id) && store.cancel(&id)? {
                ended.push(id);
            }
        }
        Ok(ended)
    })
    .await?;
    for turn in &waiting {
        let event = Event::TurnCancelled {
            turn: turn.clone(),
            reason: reason.clone(),
        };
        let recorder = caller.rooms().agent.recorder();
        recorder.note_later(caller.who(), Outcome::Ok, event);
    }
    cancelled.extend(waiting);
    match which {
        Some(id) if cancelled.is_empty() => {
            Err(SessionError::NoSuchTurn(id.as_str().chars().take(64).collect()).into())
        }
        Some(_) | None => Ok(json_of(StatusCode::OK, &Cancelled { cancelled })),
    }
}
