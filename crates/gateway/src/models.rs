//! `GET /v1/models`, in the shape of either public API.

use crate::body::json;
use crate::caller::Caller;
use crate::routes::Handled;
use axum::body::Body;
use clawdbot_domain::Protocol;
use http::{Request, StatusCode};
use serde_json::json;
use std::time::Duration;

/// How long a provider may take to list its models.
const MODELS_DEADLINE: Duration = Duration::from_secs(3);

/// `GET /v1/models`: the agent, and what each configured provider offers.
pub(crate) async fn models(caller: Caller, _: Request<Body>) -> Handled {
    let rooms = caller.rooms();
    let mut ids = vec![crate::chat::AGENT.to_owned()];
    let asked = rooms.models.providers().iter().map(|provider| async move {
        let listed = tokio::time::timeout(MODELS_DEADLINE, provider.models()).await;
        let listed = listed.ok().and_then(Result::ok).map(|models| models.ids);
        let name = provider.name();
        listed
            .unwrap_or_default()
            .into_iter()
            .map(move |id| format!("{name}/{id}"))
    });
    ids.extend(
        futures_util::future::join_all(asked)
            .await
            .into_iter()
            .flatten(),
    );
    let value = match caller.context().dialect {
        Protocol::OpenAi => {
            let data = ids.iter().map(|id| {
                let owner = id.split('/').next().unwrap_or_default();
                json!({"id": id, "object": "model", "created": 0, "owned_by": owner})
            });
            json!({"object": "list", "data": data.collect::<Vec<_>>()})
        }
        Protocol::Anthropic => {
            let data = ids.iter().map(|id| {
                json!({"id": id, "type": "model", "display_name": id, "created_at": "1970-01-01T00:00:00Z"})
            });
            json!({
                "data": data.collect::<Vec<_>>(), "has_more": false,
                "first_id": ids.first(), "last_id": ids.last(),
            })
        }
    };
    Ok(json(StatusCode::OK, &value))
}
