//! Bodies: a request's read within its size and its time, an answer's made of JSON.

use crate::answer::ApiError;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;
use std::time::Duration;

/// Bodies of model routes: Anthropic documents 32 MB.
pub(crate) const MODEL_BODY: usize = 32 << 20;

/// Bodies of every other route.
pub(crate) const ADMIN_BODY: usize = 1 << 20;

/// How long a client may take to send its body.
const BODY_DEADLINE: Duration = Duration::from_secs(60);

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

#[allow(
    clippy::needless_pass_by_value,
    reason = "it is the argument of `map_err`"
)]
pub(crate) fn not_json(error: serde_json::Error) -> ApiError {
    ApiError::bad_request(format!("the body is not valid JSON: {error}"))
}
