//! What the gateway says of itself.

use crate::body::json;
use crate::caller::{Caller, Context};
use crate::routes::Handled;
use axum::body::Body;
use clawdbot_domain::Scope;
use http::{HeaderValue, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use std::sync::Arc;

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
    let mut told = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": context.server.started.elapsed().as_secs(),
            "newest_record": context.rooms.agent.recorder().newest(),
            "parts": Value::Object(parts.collect()),
            "settings": Value::Object(posture.collect()),
    });
    // Paths and hosts are not for everyone who may read.
    if caller.principal().scopes.has(Scope::Admin) {
        let config = context.rooms.config.iter();
        let config = config.map(|(key, value)| ((*key).to_owned(), value.clone()));
        let config = Value::Object(config.collect());
        if let Some(told) = told.as_object_mut() {
            told.insert("config".to_owned(), config);
        }
    }
    Ok(json(StatusCode::OK, &told))
}

/// `GET /metrics`: what has happened since the gateway started, in the text format of Prometheus.
pub(crate) async fn metrics(caller: Caller, _: Request<Body>) -> Handled {
    let text = caller.rooms().agent.kept().counts.render();
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
