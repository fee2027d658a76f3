//! Bodies: a request's read within its size and its time, an answer's made of JSON.

use crate::answer::ApiError;
use crate::caller::Context;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Bodies of model routes: Anthropic documents 32 MB.
pub(crate) const MODEL_BODY: usize = 32 << 20;

/// Bodies of every other route.
pub(crate) const ADMIN_BODY: usize = 1 << 20;
/// Up to here every whole number is one of its own in a double: 2^53.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// How long a client may take to send its body.
const BODY_DEADLINE: Duration = Duration::from_secs(60);

/// Reads a whole body, within its size and its time. A body that is not said to be JSON is not read:
/// no form and no script of another site can say so without asking first.
pub(crate) async fn body_of(request: Request<Body>, most: usize) -> Result<Bytes, ApiError> {
    let (parts, body) = request.into_parts();
    if !body.is_end_stream() {
        check_kind(&parts.headers)?;
    }
    let announced = body.size_hint().exact().map(usize::try_from);
    let bytes = match announced {
        Some(Ok(bytes)) if bytes <= most => bytes,
        Some(_) => return Err(too_large(most)),
        None => most,
    };
    if let Some(context) = parts.extensions.get::<Arc<Context>>() {
        context.hold(context.server.caps.body(bytes)?);
    }
    let collected = Limited::new(body, most).collect();
    match tokio::time::timeout(BODY_DEADLINE, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(most)),
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

fn check_kind(headers: &HeaderMap) -> Result<(), ApiError> {
    let unsupported = |code, message| {
        Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code,
            message,
        ))
    };
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|e| !e.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return unsupported(
            "encoding_not_supported",
            "send the body without Content-Encoding",
        );
    }
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let essence = kind.and_then(|kind| kind.split(|b| *b == b';').next());
    if !essence.is_some_and(|e| e.trim_ascii().eq_ignore_ascii_case(b"application/json")) {
        return unsupported(
            "not_json",
            "send the body with the header Content-Type: application/json",
        );
    }
    Ok(())
}

fn too_large(most: usize) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("the body is larger than {most} bytes"),
    )
}

/// An answer of one of our own types.
pub(crate) fn json_of(status: StatusCode, told: &impl Serialize) -> Response<Body> {
    json(status, &serde_json::to_value(told).unwrap_or(Value::Null))
}

/// An answer.
pub(crate) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A whole number, however it is written: to JSON, and to JSON Schema, `60` and `60.0` are the same.
pub(crate) fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(from)?;
    let exact = |n: f64| (0.0..=MAX_EXACT).contains(&n) && n.fract() == 0.0;
    let written_as_double = || {
        let exact = number.as_f64().filter(|n| exact(*n));
        exact.and_then(|n| format!("{n:.0}").parse().ok())
    };
    let whole = number.as_u64().or_else(written_as_double);
    whole.ok_or_else(|| D::Error::custom(format!("{number} is not a whole number from 0 up")))
}

/// The same, or nothing.
pub(crate) fn whole_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    struct Whole(#[serde(deserialize_with = "whole")] u64);
    Ok(Option::<Whole>::deserialize(from)?.map(|Whole(number)| number))
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "it is the argument of `map_err`"
)]
pub(crate) fn not_json(error: serde_json::Error) -> ApiError {
    ApiError::bad_request(format!("the body is not valid JSON: {error}"))
}
