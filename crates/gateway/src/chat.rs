//! The two model routes: an agent turn, or a relay to the model's own provider.

use crate::answer::ApiError;
use crate::approvals::Approval;
use crate::body::{self, MODEL_BODY, body_of};
use crate::caller::Caller;
use crate::routes::Handled;
use crate::sse::Telling;
use crate::turn_stream::{Piece, TurnStream};
use crate::{anthropic, openai, relay, session, sse};
use axum::body::Body;
use clawdbot_agent::{Answer, Question, Said, TurnError};
use clawdbot_domain::{Protocol, Scope};
use clawdbot_guard::Allowed;
use futures_util::StreamExt as _;
use http::{HeaderMap, Request, StatusCode};
use serde_json::json;
use std::sync::Arc;

/// The model name of the one agent there is.
pub(crate) const AGENT: &str = "clawdbot/main";

/// Asks for `clawdbot.step` events in a stream; the command line uses it to show what happens.
const STEPS: &str = "x-clawdbot-steps";

/// Names findings that are to be overruled in this request, by the ids their refusals gave.
const ALLOW_FINDING: &str = "x-clawdbot-allow-finding";

/// The most findings one request overrules.
const MOST_ALLOWED: usize = 16;

/// `POST /v1/chat/completions`.
pub(crate) async fn chat_completions(caller: Caller, request: Request<Body>) -> Handled {
    model_route(caller, request, Protocol::OpenAi).await
}

/// `POST /v1/messages`.
pub(crate) async fn messages(caller: Caller, request: Request<Body>) -> Handled {
    model_route(caller, request, Protocol::Anthropic).await
}

async fn model_route(caller: Caller, request: Request<Body>, protocol: Protocol) -> Handled {
    let query = request.uri().query().map(str::to_owned);
    let headers = request.headers().clone();
    let body = body_of(request, MODEL_BODY).await?;
    let agent = &caller.rooms().agent;
    let allowed = allowed(&caller, &headers)?;
    let body = agent
        .screen_body(&caller.who(), body, protocol, &allowed)
        .await?;
    match body.model() {
        AGENT | "clawdbot" => {
            let (id, model) = (caller.context().id.to_string(), body.model().to_owned());
            let steps = wants_steps(&headers);
            match protocol {
                Protocol::OpenAi => {
                    let asked = openai::Request::parse(body.bytes())?;
                    let usage = asked.includes_usage();
                    let telling = openai::Telling { id, model, usage };
                    let most = asked.max_tokens();
                    let turn = turn(&caller, &headers, asked.said()?, most, allowed).await?;
                    answered(&caller, turn, telling, asked.stream, steps).await
                }
                Protocol::Anthropic => {
                    let asked = anthropic::Request::parse(body.bytes())?;
                    let telling = anthropic::Telling { id, model };
                    let most = Some(asked.max_tokens());
                    let turn = turn(&caller, &headers, asked.said()?, most, allowed).await?;
                    answered(&caller, turn, telling, asked.stream, steps).await
                }
            }
        }
        other if other.starts_with("clawdbot/") => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "model_not_found",
            format!("there is no agent of that name; the agent is {AGENT}"),
        )),
        _ => relay::relay(&caller, protocol, query.as_deref(), &headers, body).await,
    }
}

/// The texts that whoever asks wants sent although the guard refused them. It overrules a control, so it
/// takes the scope that could switch the control off.
fn allowed(caller: &Caller, headers: &HeaderMap) -> Result<Allowed, ApiError> {
    let mut values = headers.get_all(ALLOW_FINDING).iter().peekable();
    if values.peek().is_none() {
        return Ok(Allowed::default());
    }
    if !caller.principal().scopes.has(Scope::Admin) {
        return Err(ApiError::scope(Scope::Admin));
    }
    let ids = values.filter_map(|value| value.to_str().ok());
    let ids = ids.flat_map(|value| value.split(',')).map(str::trim);
    Ok(caller
        .rooms()
        .agent
        .allow(ids.filter(|id| !id.is_empty()).take(MOST_ALLOWED))?)
}

/// An agent turn asks the default model, whatever dialect the client speaks.
async fn turn(
    caller: &Caller,
    headers: &HeaderMap,
    said: Vec<Said>,
    max_tokens: Option<u32>,
    allowed: Allowed,
) -> Result<TurnStream, ApiError> {
    let rooms = Arc::clone(caller.rooms());
    let picked = rooms.models.default_model()?;
    let said = Arc::from(said);
    let session = session::of(caller, headers, &said).await?;
    let question = Question {
        principal: caller.principal().clone(),
        who: caller.who(),
        provider: picked.provider,
        model: picked.model,
        said,
        session,
        max_tokens,
        allowed,
        turn: caller.context().turn.clone(),
        resumes: None,
    };
    Ok(TurnStream::new(rooms, question))
}

/// True when the client wants to see each step.
pub(crate) fn wants_steps(headers: &HeaderMap) -> bool {
    headers.contains_key(STEPS)
}

/// The answer of a turn, whole or in events. A turn that waits for a person answers 202 with what it
/// waits for; to a client that knows nothing of it, it is an answer that says so.
pub(crate) async fn answered(
    caller: &Caller,
    mut turn: TurnStream,
    telling: impl Telling,
    stream: bool,
    steps: bool,
) -> Handled {
    if stream {
        turn.begin(steps).await?;
        return Ok(session::told(caller, sse::stream(turn, telling, steps)));
    }
    let mut answer = whole(turn).await?;
    let waits = answer.waits.take();
    let mut told = telling.whole(&answer);
    let status = match waits {
        None => StatusCode::OK,
        Some(asked) => {
            let approval = serde_json::to_value(Approval::from(*asked)).unwrap_or_default();
            if let Some(told) = told.as_object_mut() {
                let turn = session::turn_of(caller.context()).as_str();
                told.insert(
                    "clawdbot".to_owned(),
                    json!({"state": "waiting", "turn": turn, "url": format!("/turns/{turn}"),
                           "approval": approval}),
                );
            }
            StatusCode::ACCEPTED
        }
    };
    Ok(session::told(caller, body::json(status, &told)))
}

/// Runs a turn to its end.
async fn whole(mut turn: TurnStream) -> Result<Answer, ApiError> {
    while let Some(piece) = turn.next().await {
        if let Piece::End(end) = piece {
            return Ok(end?);
        }
    }
    Err(TurnError::Question("the turn ended without an answer").into())
}
