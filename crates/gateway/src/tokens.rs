//! `/tokens`: the admin API for tokens. Everything the command line can do with them, over HTTP.

use crate::answer::ApiError;
use crate::body::{ADMIN_BODY, body_of, json_of, not_json, whole, whole_or_none};
use crate::caller::Caller;
use crate::record::recorded;
use crate::routes::{Handled, id_in};
use axum::body::Body;
use clawdbot_auth::{AuthError, Draft, NewToken, SETUP_TTL, TokenInfo};
use clawdbot_domain::{
    Event, Scope, ScopeSet, Secret, TokenEnv, TokenId, ToolLimit, ToolName, UnixTime,
};
use http::{Request, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

/// What a client asks for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateToken {
    /// What people call it: 1 to 64 characters, no control characters, no spaces around it; `operator`
    /// is taken.
    #[schemars(schema_with = "name")]
    name: String,
    /// What it may do. No scope implies another.
    #[schemars(schema_with = "scopes")]
    scopes: Vec<Scope>,
    /// Which gateways take it; this one's environment when nothing is said.
    #[serde(default)]
    #[schemars(schema_with = "environment_or_null")]
    env: Option<TokenEnv>,
    /// How long it lasts, in seconds; 90 days when nothing is said, 366 days at most.
    #[serde(default, deserialize_with = "whole_or_none")]
    #[schemars(range(min = 1, max = 31_622_400))]
    ttl_seconds: Option<u64>,
    /// Which tools it may use, of those that policy allows; all of these when nothing is said.
    #[serde(default)]
    #[schemars(schema_with = "tools_or_null")]
    tools: Option<Vec<String>>,
}

/// How a token is replaced.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateToken {
    /// How long the old one still counts, in seconds; not at all when nothing is said, a day at most.
    #[serde(default, deserialize_with = "whole")]
    #[schemars(range(max = 86_400))]
    grace_seconds: u64,
}

/// A token, without its secret.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Token {
    /// Its public id.
    #[schemars(with = "String")]
    id: TokenId,
    /// What people call it.
    name: String,
    /// What it may do.
    #[schemars(schema_with = "scopes")]
    scopes: Vec<Scope>,
    /// Which gateways take it.
    #[schemars(schema_with = "environment")]
    env: TokenEnv,
    /// Whether it counts.
    #[schemars(extend("enum" = ["live", "due", "expired", "revoked"]))]
    state: &'static str,
    /// When it was made; all times are RFC 3339 in UTC.
    created: String,
    /// From when on it no longer counts.
    expires: String,
    /// When it was last used, to the minute.
    last_used: Option<String>,
    /// Since when it is revoked.
    revoked: Option<String>,
    /// The token that took its place.
    #[schemars(with = "Option<String>")]
    replaced_by: Option<TokenId>,
    /// The only tools it may use, where it is limited.
    tools: Option<Vec<String>>,
}

/// Every token.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Tokens {
    /// Newest first.
    data: Vec<Token>,
}

/// A token that was just made.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MadeToken {
    /// The token itself; shown once.
    secret: String,
    /// What it is.
    #[serde(flatten)]
    token: Token,
}

/// A setup token that was just made.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MadeSetup {
    /// The setup token itself; shown once, good for one use at `POST /setup`.
    secret: String,
    /// When it is over, RFC 3339.
    expires: String,
}

impl Token {
    fn new(info: TokenInfo, now: UnixTime) -> Self {
        Self {
            state: info.state(now).as_str(),
            scopes: info.scopes.iter().collect(),
            env: info.env,
            created: info.created.to_string(),
            expires: info.expires.to_string(),
            last_used: info.last_used.map(|at| at.to_string()),
            revoked: info.revoked.map(|at| at.to_string()),
            tools: info
                .tools
                .names()
                .map(|names| names.into_iter().map(str::to_owned).collect()),
            replaced_by: info.replaced_by,
            name: info.name,
            id: info.id,
        }
    }
}

/// `GET /tokens`.
pub(crate) async fn list(caller: Caller, _: Request<Body>) -> Handled {
    let now = UnixTime::now();
    let all = in_store(&caller, move |store| store.list(now)).await?;
    let data = all.into_iter().map(|info| Token::new(info, now)).collect();
    Ok(json_of(StatusCode::OK, &Tokens { data }))
}

/// `POST /tokens`.
pub(crate) async fn create(caller: Caller, request: Request<Body>) -> Handled {
    let body = body_of(request, ADMIN_BODY).await?;
    let asked: CreateToken = serde_json::from_slice(&body).map_err(not_json)?;
    let scopes: ScopeSet = asked.scopes.iter().copied().collect();
    if scopes.iter().count() != asked.scopes.len() {
        return Err(ApiError::bad_request("each scope is named once"));
    }
    let now = UnixTime::now();
    let new = NewToken {
        name: &asked.name,
        scopes,
        env: asked.env.unwrap_or(caller.principal().env),
        ttl: asked.ttl_seconds.map(Duration::from_secs),
    };
    let tools = limit(&caller, asked.tools.as_deref())?;
    let store = &caller.rooms().tokens;
    let draft = store.limited(store.draft(&new, now).map_err(failed)?, tools);
    let events = vec![draft.info().created_event()];
    let made = keep(&caller, draft, events, now).await?;
    Ok(json_of(StatusCode::CREATED, &made))
}

/// A limit names tools that there are: one that is misspelt would take away more than was meant, and be
/// mended by a wider one.
fn limit(caller: &Caller, names: Option<&[String]>) -> Result<ToolLimit, ApiError> {
    let Some(names) = names else {
        return Ok(ToolLimit::Unlimited);
    };
    if names.is_empty() {
        return Err(ApiError::bad_request(
            "tools: a token for no tool at all is one without the scope tools",
        ));
    }
    let toolbox = caller.rooms().agent.toolbox();
    let known = names.iter().map(|name| match toolbox.spec(name) {
        Some(spec) => Ok(spec.name.clone()),
        None if ToolName::parse(name).is_err() => Err(ApiError::bad_request(format!(
            "tools: {}",
            toolbox.unknown(name)
        ))),
        None => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "no_such_tool",
            format!("tools: {}", toolbox.unknown(name)),
        )),
    });
    Ok(ToolLimit::only(known.collect::<Result<Vec<_>, _>>()?))
}

/// `POST /tokens/{id}/rotate`.
pub(crate) async fn rotate(caller: Caller, request: Request<Body>) -> Handled {
    let id = id_of(&request);
    let body = body_of(request, ADMIN_BODY).await?;
    let asked: RotateToken = serde_json::from_slice(&body).map_err(not_json)?;
    if asked.grace_seconds > 86_400 {
        return Err(ApiError::bad_request(
            "grace_seconds is at most 86400, a day",
        ));
    }
    let now = UnixTime::now();
    let grace = Duration::from_secs(asked.grace_seconds);
    let old = id.clone();
    let draft = in_store(&caller, move |store| {
        // The operator's token is renewed by the gateway itself.
        let draft = store.draft_rotation(&old, grace, now);
        draft.map_err(|error| {
            if matches!(error, AuthError::BadToken(_)) {
                AuthError::NotLive(old.to_string())
            } else {
                error
            }
        })
    })
    .await?;
    let ends = Event::TokenRevoked {
        token: id,
        reason: format!("replaced by {}, in {} s", draft.info().id, grace.as_secs()),
    };
    let events = vec![ends, draft.info().created_event()];
    let made = keep(&caller, draft, events, now).await?;
    Ok(json_of(StatusCode::CREATED, &made))
}

/// `POST /tokens/{id}/revoke`.
pub(crate) async fn revoke(caller: Caller, request: Request<Body>) -> Handled {
    let id = id_of(&request);
    let wanted = id.clone();
    let found = in_store(&caller, move |store| store.find(&wanted)).await?;
    let now = UnixTime::now();
    let event = Event::TokenRevoked {
        token: found.id,
        reason: "over the API".to_owned(),
    };
    let store = caller.rooms().tokens.clone();
    let work = move || store.revoke(&id, now).map_err(failed);
    let info = recorded(&caller, vec![event], work).await?;
    Ok(json_of(StatusCode::OK, &Token::new(info, now)))
}

/// `POST /tokens/setup`.
pub(crate) async fn setup(caller: Caller, _: Request<Body>) -> Handled {
    let now = UnixTime::now();
    let event = Event::SetupCreated {
        expires: now.plus(SETUP_TTL).to_string(),
    };
    let store = caller.rooms().tokens.clone();
    let work = move || store.create_setup(now).map_err(failed);
    let (secret, expires) = recorded(&caller, vec![event], work).await?;
    let made = MadeSetup {
        secret: secret.expose().to_owned(),
        expires: expires.to_string(),
    };
    Ok(json_of(StatusCode::CREATED, &made))
}

async fn keep(
    caller: &Caller,
    draft: Draft,
    events: Vec<Event>,
    now: UnixTime,
) -> Result<MadeToken, ApiError> {
    let store = caller.rooms().tokens.clone();
    let work = move || store.keep(draft).map_err(failed);
    let (secret, info): (Secret, TokenInfo) = recorded(caller, events, work).await?;
    Ok(MadeToken {
        secret: secret.expose().to_owned(),
        token: Token::new(info, now),
    })
}

/// SQLite waits for the disk, and a thread that serves requests must not.
async fn in_store<T: Send + 'static>(
    caller: &Caller,
    work: impl FnOnce(&clawdbot_auth::TokenStore) -> Result<T, AuthError> + Send + 'static,
) -> Result<T, ApiError> {
    let store = caller.rooms().tokens.clone();
    crate::record::blocking(move || work(&store).map_err(failed)).await
}

fn id_of(request: &Request<Body>) -> TokenId {
    TokenId::new(id_in(request))
}

/// What the caller did wrong is told; what is wrong with the store is for the log.
#[allow(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
fn failed(error: AuthError) -> ApiError {
    let why = error.to_string();
    match error {
        AuthError::NoSuchToken(_) => ApiError::new(StatusCode::NOT_FOUND, "no_such_token", why),
        AuthError::NotLive(_) => ApiError::new(StatusCode::CONFLICT, "token_not_live", why),
        AuthError::TooMany(_) => ApiError::new(StatusCode::CONFLICT, "too_many_tokens", why),
        AuthError::BadToken(_) => ApiError::bad_request(why),
        AuthError::File { .. }
        | AuthError::Store { .. }
        | AuthError::Damaged { .. }
        | AuthError::OtherVersion { .. }
        | AuthError::Replaced(_)
        | AuthError::Locked { .. }
        | AuthError::BadKey(_)
        | AuthError::NoRandomness => ApiError::unavailable("token_store", why),
    }
}

fn scopes(_: &mut SchemaGenerator) -> Schema {
    let all = Scope::ALL.map(Scope::as_str);
    json_schema!({"type": "array", "items": {"type": "string", "enum": all}, "minItems": 1, "uniqueItems": true})
}

fn name(_: &mut SchemaGenerator) -> Schema {
    let plain = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$";
    let taken = json!({"const": clawdbot_auth::operator::NAME});
    json_schema!({"type": "string", "minLength": 1, "maxLength": 64, "pattern": plain, "not": taken})
}

/// Which tools there are depends on the gateway; an unknown one is a 404.
fn tools_or_null(_: &mut SchemaGenerator) -> Schema {
    let name = json!({"type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$"});
    json_schema!({"type": ["array", "null"], "items": name, "minItems": 1})
}

fn environment(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["dev", "prod"]})
}

fn environment_or_null(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"enum": ["dev", "prod", null]})
}
