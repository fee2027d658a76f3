//! `POST /tools/invoke`: one tool call by hand.

use crate::answer::{ApiError, ForTheLog};
use crate::approvals::Approval;
use crate::body::{ADMIN_BODY, body_of, json, not_json};
use crate::caller::Caller;
use crate::record::blocking;
use crate::routes::Handled;
use crate::session;
use axum::body::Body;
use clawdbot_agent::{Acted, Emitter};
use clawdbot_domain::{ApprovalId, SessionId, UnixTime};
use clawdbot_providers::ProposedCall;
use clawdbot_sessions::{ApprovalInfo, Session};
use http::{HeaderValue, Request, Response, StatusCode, header};
use schemars::JsonSchema;
use serde_json::json;
use std::sync::Arc;

/// A tool call. The arguments stay as they were written: the toolbox validates the very bytes.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invocation {
    /// The tool, as `clawdbot tools list` names it.
    name: String,
    /// Its arguments, after its schema.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    arguments: Option<Box<serde_json::value::RawValue>>,
    /// The approval that a person gave for this very call, when it needs one.
    #[serde(default)]
    approval: Option<String>,
}

/// `POST /tools/invoke`: one tool call by hand, on the road every call takes.
pub(crate) async fn invoke(caller: Caller, request: Request<Body>) -> Handled {
    let named = session::named(request.headers())?;
    let body = body_of(request, ADMIN_BODY).await?;
    let body: Invocation = serde_json::from_slice(&body).map_err(not_json)?;
    let session = match named {
        Some(id) => Some(of_session(&caller, id).await?),
        None => None,
    };
    let call = ProposedCall {
        id: caller.context().id.to_string(),
        name: body.name,
        arguments: body
            .arguments
            .map_or_else(|| "{}".to_owned(), |raw| raw.get().to_owned()),
    };
    let (emit, _unwatched) = Emitter::new();
    let rooms = caller.rooms();
    let invocation = clawdbot_agent::Invocation {
        principal: caller.principal().clone(),
        who: caller.who(),
        session,
        call,
        approval: body.approval.map(ApprovalId::new),
    };
    match rooms.agent.invoke(&invocation, &emit).await? {
        Acted::Ran {
            output,
            is_error,
            exit,
            truncated,
            layers,
            record,
            ..
        } => Ok(json(
            StatusCode::OK,
            &json!({
                "output": output.reveal_untrusted(), "is_error": is_error, "exit": exit,
                "truncated": truncated, "layers": layers, "record": record,
            }),
        )),
        Acted::Refused(refusal) => Ok(refused(&refusal)),
        Acted::Waits(asked) => Ok(waits(*asked)),
        Acted::Asks(_) => Err(ApiError::unavailable(
            "internal",
            "a call was not asked about",
        )),
    }
}

/// The session that the call belongs to; it knows of the call from here on.
async fn of_session(caller: &Caller, id: SessionId) -> Result<Session, ApiError> {
    let (store, token) = (
        Arc::clone(&caller.rooms().sessions),
        caller.principal().token.clone(),
    );
    let look = move || Ok(store.begin(&token, Some(&id), &[], UnixTime::now())?);
    let session = blocking(look).await?;
    let _ = caller.context().session.set(session.id.clone());
    Ok(session)
}

/// Not done and not refused: a person is asked. The same call with the approval's id runs once a person
/// has said yes.
fn waits(asked: ApprovalInfo) -> Response<Body> {
    let approval = Approval::from(asked);
    let mut response = json(
        StatusCode::ACCEPTED,
        &json!({
            "state": "waiting", "approval": approval,
            "message": "a person must approve this very call; then make it again with `approval`",
        }),
    );
    if let Ok(url) = HeaderValue::from_str(approval.url()) {
        response.headers_mut().insert(header::LOCATION, url);
    }
    response
}

/// A refusal tells its rules and what would change them: the caller holds a token with scope tools.
fn refused(refusal: &clawdbot_agent::Refusal) -> Response<Body> {
    let (status, code) = if refusal.is_invalid() {
        (StatusCode::BAD_REQUEST, "invalid_tool_call")
    } else if refusal.was_denied_by_a_person() {
        (StatusCode::FORBIDDEN, "approval_denied")
    } else {
        (StatusCode::FORBIDDEN, "tool_denied")
    };
    let mut response = json(
        status,
        &json!({"error": {
            "message": refusal.reason(), "type": "tool_refused", "param": null, "code": code,
            "rules": refusal.rules, "remedies": refusal.remedies().collect::<Vec<_>>(),
            "record": refusal.record,
        }}),
    );
    response.extensions_mut().insert(ForTheLog {
        code,
        why: refusal.reason(),
    });
    response
}
