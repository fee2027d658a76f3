//! One request: past the edge, through the router, into the log.

use crate::answer::{ApiError, ForTheLog};
use crate::caller::{Caller, Context};
use crate::refusals::Refused;
use crate::routes::Handled;
use crate::serve::Server;
use axum::body::Body;
use bytes::Bytes;
use clawdbot_agent::{Acted, Emitter, TurnError};
use clawdbot_domain::{Event, Outcome, Protocol, RequestId, UnixTime};
use clawdbot_providers::ProposedCall;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tower_service::Service as _;

/// Bodies of model routes: Anthropic documents 32 MB.
pub(crate) const MODEL_BODY: usize = 32 << 20;

/// Bodies of every other route.
const ADMIN_BODY: usize = 1 << 20;

/// How long a client may take to send its body.
const BODY_DEADLINE: Duration = Duration::from_secs(60);

/// How long a provider may take to list its models.
const MODELS_DEADLINE: Duration = Duration::from_secs(3);

/// The answer to one request, on its way.
pub(crate) type Answering =
    Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Takes one request through the edge and the router, and writes it down.
pub(crate) fn answer(server: Arc<Server>, peer: IpAddr, request: Request<Incoming>) -> Answering {
    Box::pin(async move { Ok(life_of_a_request(server, peer, request).await) })
}

async fn life_of_a_request(
    server: Arc<Server>,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let started = Instant::now();
    let rooms = server.live.current();
    let context = Arc::new(Context {
        address: rooms.edge.client(peer, request.headers()),
        id: request_id(),
        dialect: dialect_of(request.uri().path(), request.headers()),
        actor: OnceLock::new(),
        server: Arc::clone(&server),
        rooms,
    });
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut extra = HeaderMap::new();
    let mut response = match admit(&context, request, started, &mut extra) {
        Ok(Admitted::Request(request)) => {
            // The router's own error type is `Infallible`.
            server
                .router
                .clone()
                .call(request)
                .await
                .unwrap_or_default()
        }
        Ok(Admitted::Answered(response)) => response,
        Err(error) => error.into_response(context.dialect),
    };
    dress(&context, &mut response, extra, origin.as_ref());
    write_down(&context, &method, path, &mut response, started);
    response
}

enum Admitted {
    Request(Request<Body>),
    Answered(Response<Body>),
}

/// The edge: limit, site, preflight. The limit comes first, so that nothing costs more than it.
fn admit(
    context: &Arc<Context>,
    request: Request<Incoming>,
    now: Instant,
    extra: &mut HeaderMap,
) -> Result<Admitted, ApiError> {
    let rules = &context.rooms.edge;
    context
        .server
        .edge
        .admit_address(rules, context.address, now, extra)?;
    let (mut parts, body) = request.into_parts();
    if let Some(headers) = rules.preflight(&parts) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        *response.headers_mut() = headers;
        return Ok(Admitted::Answered(response));
    }
    rules.admit_site(&parts)?;
    parts.extensions.insert(Arc::clone(context));
    Ok(Admitted::Request(Request::from_parts(
        parts,
        Body::new(body),
    )))
}

/// Headers every answer has.
fn dress(
    context: &Context,
    response: &mut Response<Body>,
    extra: HeaderMap,
    origin: Option<&HeaderValue>,
) {
    let headers = response.headers_mut();
    headers.extend(extra);
    if let Ok(id) = HeaderValue::from_str(context.id.as_str()) {
        // A relayed answer keeps its provider's ids; ours stands beside them.
        headers.insert("x-clawdbot-request-id", id.clone());
        headers.entry("x-request-id").or_insert_with(|| id.clone());
        if context.dialect == Protocol::Anthropic {
            headers.entry("request-id").or_insert(id);
        }
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
        ("referrer-policy", "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    context.rooms.edge.cors_headers(origin, headers);
}

/// Every API request has a record; refused ones are security events. Liveness probes have none:
/// `/`, `/health` and `/ready` tell nothing and are asked every few seconds.
fn write_down(
    context: &Context,
    method: &Method,
    path: String,
    response: &mut Response<Body>,
    started: Instant,
) {
    let error = response.extensions_mut().remove::<ForTheLog>();
    let status = response.status().as_u16();
    let method = method.to_string();
    let path = shortened(path);
    // A refusal of ours always has a reason; a relayed 429 is the provider's and is an answer.
    let refusal = error
        .as_ref()
        .filter(|_| matches!(status, 401 | 403 | 413 | 421 | 429));
    if let Some(ForTheLog { code, why }) = refusal {
        let (who, reason) = (context.who(), why.clone());
        let refused = Refused {
            who,
            method,
            path,
            status,
            code,
            reason,
        };
        context
            .server
            .refusals
            .note(&context.rooms, refused, Instant::now());
        return;
    }
    let error = error.map(|error| error.why);
    if matches!(path.as_str(), "/" | "/health" | "/ready") {
        return;
    }
    if let Some(error) = &error {
        tracing::warn!(request = %context.id, status, path, error, "request failed");
    }
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let outcome = if error.is_some() {
        Outcome::Failed
    } else {
        Outcome::Ok
    };
    let event = Event::Request {
        method,
        path,
        status,
        micros,
        error,
    };
    context
        .rooms
        .agent
        .recorder()
        .note_later(context.who(), outcome, event);
}

/// A path is the client's text: a bounded part of it is enough to know it again.
fn shortened(mut path: String) -> String {
    if let Some((cut, _)) = path.char_indices().nth(200) {
        path.truncate(cut);
    }
    path
}

fn request_id() -> RequestId {
    let mut random = [0; 12];
    // Without randomness an id is still unique enough to find a record by; it guards nothing.
    let _ = getrandom::fill(&mut random);
    RequestId::new(format!("req_{}", clawdbot_domain::hex(&random)))
}

/// In which dialect errors are told.
fn dialect_of(path: &str, headers: &HeaderMap) -> Protocol {
    if path.starts_with("/v1/messages") || headers.contains_key("anthropic-version") {
        Protocol::Anthropic
    } else {
        Protocol::OpenAi
    }
}

/// Reads a whole body, within its size and its time.
pub(crate) async fn body_of(request: Request<Body>, most: usize) -> Result<Bytes, ApiError> {
    let encoding = request.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|e| !e.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "encoding_not_supported",
            "send the body without Content-Encoding",
        ));
    }
    let collected = Limited::new(request.into_body(), most).collect();
    match tokio::time::timeout(BODY_DEADLINE, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body is larger than {most} bytes"),
        )),
        Ok(Err(_)) => Err(ApiError::bad_request("the body ended before its end")),
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_too_slow",
            format!(
                "the body did not arrive within {} s",
                BODY_DEADLINE.as_secs()
            ),
        )),
    }
}

pub(crate) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// `GET /`: some clients ask it before anything else.
pub(crate) async fn root(_: Arc<Context>, _: Request<Body>) -> Handled {
    Ok(json(StatusCode::OK, &json!({"name": "clawdbot"})))
}

/// `GET /health`: the process answers.
pub(crate) async fn health(_: Arc<Context>, _: Request<Body>) -> Handled {
    Ok(json(StatusCode::OK, &json!({"status": "ok"})))
}

/// `GET /ready`: every control works. Which one does not is told; why is in the log.
pub(crate) async fn ready(context: Arc<Context>, _: Request<Body>) -> Handled {
    let parts = (context.rooms.ready)();
    let all = parts.iter().all(|(_, state)| state.is_ok());
    let mut told = serde_json::Map::new();
    for (part, state) in parts {
        if let Err(why) = &state {
            tracing::error!(part, why, "not ready");
        }
        told.insert(part.to_owned(), json!(state.is_ok()));
    }
    let status = if all {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Ok(json(status, &json!({"ready": all, "parts": told})))
}

/// `GET /status`: what is in force, for an operator.
pub(crate) async fn status(caller: Caller, _: Request<Body>) -> Handled {
    let context = caller.context();
    let parts = (context.rooms.ready)();
    let parts = parts.into_iter().map(|(part, state)| {
        (
            part.to_owned(),
            state.map_or_else(Value::from, |()| Value::from("ok")),
        )
    });
    let posture = context.rooms.posture.iter();
    let posture = posture.map(|(key, value)| ((*key).to_owned(), Value::from(value.as_str())));
    Ok(json(
        StatusCode::OK,
        &json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": context.server.started.elapsed().as_secs(),
            "newest_record": context.rooms.agent.recorder().newest(),
            "parts": Value::Object(parts.collect()),
            "settings": Value::Object(posture.collect()),
        }),
    ))
}

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

/// The arguments stay as they were written: the toolbox validates the very bytes.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Invocation {
    name: String,
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

#[allow(
    clippy::needless_pass_by_value,
    reason = "it is the argument of `map_err`"
)]
fn not_json(error: serde_json::Error) -> ApiError {
    ApiError::bad_request(format!("the body is not valid JSON: {error}"))
}
