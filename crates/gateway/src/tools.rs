//! `POST /tools/invoke`: one tool call by hand.

use crate::answer::ForTheLog;
use crate::body::{ADMIN_BODY, body_of, json, not_json};
use crate::caller::Caller;
use crate::routes::Handled;
use axum::body::Body;
use clawdbot_agent::{Acted, Emitter};
use clawdbot_providers::ProposedCall;
use http::{Request, Response, StatusCode};
use schemars::JsonSchema;
use serde_json::json;

/// A tool call. The arguments stay as they were written: the toolbox validates the very bytes.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invocation {
    /// The tool, as `clawdbot tools list` names it.
    name: String,
    /// Its arguments, after its schema.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    arguments: Option<Box<serde_json::value::RawValue>>,
}

/// `POST /tools/invoke`: one tool call by hand, on the road every call takes.
pub(crate) async fn invoke(caller: Caller, request: Request<Body>) -> Handled {
    let body = body_of(request, ADMIN_BODY).await?;
    let body: Invocation = serde_json::from_slice(&body).map_err(not_json)?;
    let call = ProposedCall {
        id: caller.context().id.to_string(),
        name: body.name,
        arguments: body
            .arguments
            .map_or_else(|| "{}".to_owned(), |raw| raw.get().to_owned()),
    };
    let (emit, _unwatched) = Emitter::new();
    let rooms = caller.rooms();
    match rooms
        .agent
        .invoke(caller.principal(), &caller.who(), &call, &emit)
        .await?
    {
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
    }
}

/// A refusal tells its rules and what would change them: the caller holds a token with scope tools.
fn refused(refusal: &clawdbot_agent::Refusal) -> Response<Body> {
    let (status, code) = if refusal.is_invalid() {
        (StatusCode::BAD_REQUEST, "invalid_tool_call")
    } else if refusal.needs_approval() {
        (StatusCode::FORBIDDEN, "approval_required")
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
