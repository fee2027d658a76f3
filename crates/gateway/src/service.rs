//! One request: past the edge, through the router, into the log.

use crate::answer::{ApiError, ForTheLog};
use crate::caller::Context;
use crate::edge;
use crate::serve::Server;
use axum::body::Body;
use clawdbot_domain::{Event, Outcome, Protocol, RequestId, TurnId};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tower_service::Service as _;

/// The answer to one request, on its way.
pub(crate) type Answering =
    Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Takes one request through the edge and the router, and writes it down.
pub(crate) fn answer(
    server: Arc<Server>,
    peer: IpAddr,
    local: Option<IpAddr>,
    request: Request<Incoming>,
) -> Answering {
    Box::pin(async move { Ok(life_of_a_request(server, peer, local, request).await) })
}

async fn life_of_a_request(
    server: Arc<Server>,
    peer: IpAddr,
    local: Option<IpAddr>,
    request: Request<Incoming>,
) -> Response<Body> {
    let started = Instant::now();
    let rooms = server.live.current();
    let random = request_id();
    let context = Arc::new(Context {
        address: rooms.edge.client(peer, request.headers()),
        turn: TurnId::new(format!("turn_{random}")),
        goes_on: OnceLock::new(),
        id: RequestId::new(format!("req_{random}")),
        dialect: dialect_of(request.uri().path(), request.headers()),
        actor: OnceLock::new(),
        session: OnceLock::new(),
        body: OnceLock::new(),
        server: Arc::clone(&server),
        rooms,
    });
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let mut extra = HeaderMap::new();
    let mut response = match admit(&context, local, request, started, &mut extra) {
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
    if chunked {
        // Whoever stands between may have seen another end of this body (RFC 9112, 6.1): what comes
        // after it on this connection is nobody's request.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
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
    local: Option<IpAddr>,
    request: Request<Incoming>,
    now: Instant,
    extra: &mut HeaderMap,
) -> Result<Admitted, ApiError> {
    let rules = &context.rooms.edge;
    context
        .server
        .edge
        .admit_address(rules, context.address, now, extra)?;
    // Whether it is alive may be asked always; it is what keeps it from being started anew.
    if context.server.live.is_closed() && request.uri().path() != "/health" {
        return Err(ApiError::incident());
    }
    let (mut parts, body) = request.into_parts();
    if let Some(headers) = rules.preflight(&parts) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        *response.headers_mut() = headers;
        return Ok(Admitted::Answered(response));
    }
    rules.admit_site(&parts, local)?;
    edge::check_target(&parts)?;
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
        ("cross-origin-resource-policy", "same-origin"),
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
        context.rooms.agent.kept().counts.refused(status, code);
        let refused = Event::RequestRefused {
            method,
            path: path.clone(),
            status,
            code,
            reason: why.clone(),
        };
        let (who, recorder) = (context.who(), context.rooms.agent.recorder());
        let address = who.address;
        // The log counts a flood in one record; the operational log must not fill up with it either.
        if recorder.note_later(who, Outcome::Denied, refused) {
            tracing::warn!(?address, status, path, why, "security: request refused");
        }
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

/// A request and its turn have one number, so that either leads to the other.
fn request_id() -> String {
    let mut random = [0; 12];
    // Without randomness an id is still unique enough to find a record by; it guards nothing.
    let _ = getrandom::fill(&mut random);
    clawdbot_domain::hex(&random)
}

/// In which dialect errors are told.
fn dialect_of(path: &str, headers: &HeaderMap) -> Protocol {
    if path.starts_with("/v1/messages") || headers.contains_key("anthropic-version") {
        Protocol::Anthropic
    } else {
        Protocol::OpenAi
    }
}
