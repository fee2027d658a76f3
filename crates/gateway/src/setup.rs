//! `POST /setup`: the first admin token.

use crate::body::{ADMIN_BODY, body_of, json_of, not_json};
use crate::caller::Context;
use crate::record::blocking;
use crate::routes::Handled;
use axum::body::Body;
use clawdbot_agent::TurnError;
use clawdbot_domain::{Event, Outcome, TokenId, UnixTime};
use http::{Request, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `POST /setup`: trades a setup token for the first admin token. Open, because whoever calls has
/// nothing else yet; failures are counted like failed authentications.
pub(crate) async fn setup(context: Arc<Context>, request: Request<Body>) -> Handled {
    let body = body_of(request, ADMIN_BODY).await?;
    let body: Setup = serde_json::from_slice(&body).map_err(not_json)?;
    let recorder = context.rooms.agent.recorder();
    let begun = Event::SetupRedeemed { token: None };
    recorder
        .note(context.who(), Outcome::Begin, begun)
        .await
        .map_err(TurnError::from)?;
    let authenticator = context.rooms.authenticator.clone();
    let trade = move || Ok(authenticator.redeem_setup(&body.token, &body.name, UnixTime::now()));
    let (token, info) = match blocking(trade).await? {
        Ok(redeemed) => redeemed,
        Err(why) => {
            let failed = Event::SetupRedeemed { token: None };
            recorder.note_later(context.who(), Outcome::Denied, failed);
            let why = format!("setup token: {why}");
            return Err(context.not_authenticated(why).await);
        }
    };
    let done = Event::SetupRedeemed {
        token: Some(info.id.clone()),
    };
    recorder.note_later(context.who(), Outcome::Ok, done);
    let redeemed = Redeemed {
        token: token.expose().to_owned(),
        id: info.id,
    };
    Ok(json_of(StatusCode::OK, &redeemed))
}

/// A setup token to be traded.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Setup {
    /// `st-…`, as it was printed.
    token: String,
    /// What the admin token will be called.
    #[serde(default = "Setup::default_name")]
    name: String,
}

/// The first admin token.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Redeemed {
    /// The token itself; shown once.
    token: String,
    /// Its public id.
    #[schemars(with = "String")]
    id: TokenId,
}

impl Setup {
    fn default_name() -> String {
        "admin".to_owned()
    }
}
