//! `POST /setup`: the first admin token.

use crate::answer::ApiError;
use crate::body::{ADMIN_BODY, body_of, json, not_json};
use crate::caller::Context;
use crate::routes::Handled;
use axum::body::Body;
use clawdbot_agent::TurnError;
use clawdbot_domain::{Event, Outcome, UnixTime};
use http::{Request, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// `POST /setup`: trades a setup token for the first admin token. Open, because whoever calls has
/// nothing else yet; failures are counted like failed authentications.
pub(crate) async fn setup(context: Arc<Context>, request: Request<Body>) -> Handled {
    let body = body_of(request, ADMIN_BODY).await?;
    let body: Setup = serde_json::from_slice(&body).map_err(not_json)?;
    let rooms = &context.rooms;
    let recorder = rooms.agent.recorder();
    let begun = Event::SetupRedeemed { token: None };
    recorder
        .note(context.who(), Outcome::Begin, begun)
        .await
        .map_err(TurnError::from)?;
    let redeemed = rooms
        .authenticator
        .redeem_setup(&body.token, &body.name, UnixTime::now());
    let (token, info) = match redeemed {
        Ok(redeemed) => redeemed,
        Err(why) => {
            let failed = Event::SetupRedeemed { token: None };
            recorder.note_later(context.who(), Outcome::Denied, failed);
            context
                .server
                .edge
                .count_failure(context.address, Instant::now())?;
            return Err(ApiError::unauthenticated(format!("setup token: {why}")));
        }
    };
    let done = Event::SetupRedeemed {
        token: Some(info.id.clone()),
    };
    recorder.note_later(context.who(), Outcome::Ok, done);
    Ok(json(
        StatusCode::OK,
        &json!({"token": token.expose(), "id": info.id.as_str()}),
    ))
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Setup {
    token: String,
    #[serde(default = "Setup::default_name")]
    name: String,
}

impl Setup {
    fn default_name() -> String {
        "admin".to_owned()
    }
}
