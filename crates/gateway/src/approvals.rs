//! `/approvals`: calls that wait for a person. Who decides holds the scope admin; whose call it is sees
//! what became of it.

use crate::answer::ApiError;
use crate::body::{ADMIN_BODY, body_of, json_of, not_json};
use crate::caller::Caller;
use crate::live::ForGood;
use crate::record::{blocking, recorded};
use crate::routes::{Handled, id_in};
use axum::body::Body;
use clawdbot_domain::{ApprovalId, Effect, SessionId, Taint, TokenId, ToolName, TurnId, UnixTime};
use clawdbot_sessions::{ApprovalInfo, ApprovalState, SessionError};
use http::{Request, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// A call that waits for a person, or waited.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Approval {
    /// Its id.
    #[schemars(with = "String")]
    id: ApprovalId,
    /// What became of it.
    #[schemars(extend("enum" = ["waiting", "given", "denied", "spent", "expired", "void"]))]
    state: &'static str,
    /// Of which tool.
    #[schemars(with = "String")]
    tool: ToolName,
    /// What the tool does to the world.
    #[schemars(with = "String")]
    effect: Effect,
    /// The whole arguments: JSON, in which every hidden character is written out.
    arguments: String,
    /// SHA-256 of the canonical arguments: what is approved.
    arguments_sha256: String,
    /// Letters in the arguments that are not ASCII: one may look like another.
    foreign_letters: Vec<String>,
    /// Why a person is asked.
    reasons: Vec<String>,
    /// Whose call it is.
    #[schemars(with = "String")]
    token: TokenId,
    /// In which session, if in one.
    #[schemars(with = "Option<String>")]
    session: Option<SessionId>,
    /// Which turn waits with it, if one does.
    #[schemars(with = "Option<String>")]
    turn: Option<TurnId>,
    /// When it was asked for; RFC 3339 in UTC.
    created: String,
    /// From when on it does not count.
    expires: String,
    /// Who decided.
    decided_by: Option<String>,
    /// Where its state is told to whose call it is.
    url: String,
}

/// Approvals.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Approvals {
    /// Newest first.
    data: Vec<Approval>,
}

impl From<ApprovalInfo> for Approval {
    fn from(info: ApprovalInfo) -> Self {
        Self {
            arguments: info.shown(),
            foreign_letters: info.foreign_letters().iter().map(char::to_string).collect(),
            url: format!("/approvals/{}", info.id),
            state: info.state.as_str(),
            created: info.created.to_string(),
            expires: info.expires.to_string(),
            id: info.id,
            tool: info.tool,
            effect: info.effect,
            arguments_sha256: info.arguments_sha256,
            reasons: info.reasons,
            token: info.token,
            session: info.session,
            turn: info.turn,
            decided_by: info.decided_by,
        }
    }
}

impl Approval {
    /// Where its state is told.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// `GET /approvals`.
pub(crate) async fn list(caller: Caller, _: Request<Body>) -> Handled {
    let store = Arc::clone(&caller.rooms().sessions);
    let all = blocking(move || Ok(store.approvals(UnixTime::now())?)).await?;
    let data = all.into_iter().map(Approval::from).collect();
    Ok(json_of(StatusCode::OK, &Approvals { data }))
}

/// `GET /approvals/{id}`: of the caller's own calls.
pub(crate) async fn show(caller: Caller, request: Request<Body>) -> Handled {
    let store = Arc::clone(&caller.rooms().sessions);
    let (id, token) = (id_of(&request), caller.principal().token.clone());
    let look = move || Ok(store.approval(Some(&token), &id, UnixTime::now())?);
    Ok(json_of(
        StatusCode::OK,
        &Approval::from(blocking(look).await?),
    ))
}

/// A yes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approve {
    /// For good: the very same call of the same token is not asked about again where nothing but policy
    /// `restrictive` asks. It is written into the settings.
    #[serde(default)]
    always: bool,
}

/// `POST /approvals/{id}/approve`.
pub(crate) async fn approve(caller: Caller, request: Request<Body>) -> Handled {
    let id = id_of(&request);
    let body = body_of(request, ADMIN_BODY).await?;
    let yes = if body.is_empty() {
        Approve::default()
    } else {
        // By its names: a derived reader takes `[true]` as well.
        let named: Map<String, Value> = serde_json::from_slice(&body).map_err(not_json)?;
        serde_json::from_value(Value::Object(named)).map_err(not_json)?
    };
    decide(&caller, id, true, yes.always).await
}

/// `POST /approvals/{id}/deny`.
pub(crate) async fn deny(caller: Caller, request: Request<Body>) -> Handled {
    decide(&caller, id_of(&request), false, false).await
}

fn id_of(request: &Request<Body>) -> ApprovalId {
    ApprovalId::new(id_in(request))
}

async fn decide(caller: &Caller, id: ApprovalId, give: bool, always: bool) -> Handled {
    let store = Arc::clone(&caller.rooms().sessions);
    let (looking, wanted) = (Arc::clone(&store), id.clone());
    let look = move || Ok(looking.approval(None, &wanted, UnixTime::now())?);
    let asked = blocking(look).await?;
    if asked.state != ApprovalState::Waiting {
        let (id, state) = (asked.id.to_string(), asked.state);
        return Err(SessionError::NotSo { id, state }.into());
    }
    // Made ready before the yes, so that what cannot be for good is not approved even once.
    let for_good = if always {
        Some(for_good(caller, &asked).await?)
    } else {
        None
    };
    let by = format!("token {}", caller.principal().token);
    let work = move || {
        let decided = store.decide(&id, give, &by, UnixTime::now());
        decided.map_err(ApiError::from)
    };
    let decided = recorded(caller, vec![asked.decided_event(give, always)], work).await?;
    if let Some(ForGood { events, make }) = for_good {
        let make = move || make().map_err(|why| once_only(&why));
        recorded(caller, events, make).await?;
    }
    Ok(json_of(StatusCode::OK, &Approval::from(decided)))
}

/// The yes stands, and what would have made it one for good does not.
fn once_only(why: &str) -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not_for_good",
        "the call is approved once; that it is for good could not be written into the settings",
    )
    .with_log(why)
}

/// The change of the settings that makes a yes one for good, where it can be one.
async fn for_good(caller: &Caller, asked: &ApprovalInfo) -> Result<ForGood, ApiError> {
    let refused = |why| ApiError::new(StatusCode::FORBIDDEN, "not_for_good", why);
    let rooms = Arc::clone(caller.rooms());
    let asked = asked.clone();
    blocking(move || {
        let taint = match &asked.session {
            None => Taint::Clean,
            Some(id) => rooms.sessions.session(None, id, UnixTime::now())?.taint,
        };
        let policy = rooms.agent.policy();
        let may = policy.may_be_for_good(&asked.tool, asked.effect, taint);
        may.map_err(refused)?;
        let call = asked.for_good();
        let call = call.ok_or_else(|| refused("its arguments cannot be read".to_owned()))?;
        (rooms.for_good)(&call).map_err(refused)
    })
    .await
}
