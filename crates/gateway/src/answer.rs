//! What goes wrong, as the caller hears it: one table from cause to status and public words.
//!
//! Two messages for every failure: the caller hears little, the log hears who, what and which rule.
//! A policy denial is never a 429 or 5xx: the official SDKs would try again.

use axum::body::Body;
use clawdbot_agent::TurnError;
use clawdbot_domain::{Protocol, ProviderName};
use clawdbot_guard::BodyRefusal;
use clawdbot_providers::{NoProvider, ProviderError};
use clawdbot_sessions::SessionError;
use http::{HeaderValue, Response, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;

/// An error on its way to the caller.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// Machine-readable, stable.
    pub(crate) code: &'static str,
    /// For the caller.
    pub(crate) message: String,
    /// For the log; the message when there is nothing to add.
    pub(crate) log: Option<String>,
    pub(crate) retry_after: Option<Duration>,
}

/// What the log is told about an answer, carried beside it.
#[derive(Debug, Clone)]
pub(crate) struct ForTheLog {
    /// The kind of error.
    pub(crate) code: &'static str,
    /// What was wrong.
    pub(crate) why: String,
}

/// An error as JSON: OpenAI's shape, or with `type: "error"` around it Anthropic's.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(crate) struct ErrorBody<'a> {
    /// `error`, in Anthropic's dialect.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    /// What went wrong.
    error: ErrorDetail<'a>,
}

/// What went wrong.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ErrorDetail<'a> {
    /// In words, for people.
    message: &'a str,
    /// The kind of error, in the dialect's own words.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Always null; OpenAI's clients look for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<()>,
    /// Machine-readable and stable.
    code: &'static str,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            log: None,
            retry_after: None,
        }
    }

    /// With more for the log than for the caller.
    pub(crate) fn with_log(mut self, log: impl Into<String>) -> Self {
        self.log = Some(log.into());
        self
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    pub(crate) fn misdirected(why: impl Into<String>) -> Self {
        Self::new(
            StatusCode::MISDIRECTED_REQUEST,
            "misdirected",
            "this host is not served here",
        )
        .with_log(why)
    }

    pub(crate) fn foreign_origin(origin: &HeaderValue) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "origin_not_allowed",
            "this origin is not allowed",
        )
        .with_log(format!(
            "origin {origin:?} is not one of gateway.cors.allowedOrigins"
        ))
    }

    pub(crate) fn too_many(which: &str, retry_after: Duration) -> Self {
        let mut error = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limited",
            "too many requests; see Retry-After",
        )
        .with_log(which);
        error.retry_after = Some(retry_after);
        error
    }

    /// One answer for every reason why a token does not count.
    pub(crate) fn unauthenticated(why: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "invalid_token",
            "a valid token is needed: Authorization: Bearer <token>, or x-api-key",
        )
        .with_log(why)
    }

    pub(crate) fn scope(needed: clawdbot_domain::Scope) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "scope_missing",
            format!("this token does not have the scope {needed}"),
        )
    }

    /// A provider's 401 or 403 is about the gateway's credential; passed on, it would tell a client
    /// that its own token is wrong.
    pub(crate) fn our_credential(provider: ProviderName, status: StatusCode) -> Self {
        let message = format!("{provider} does not take the gateway's credential");
        let log = format!("{message} ({status}); see clawdbot models status --probe");
        Self::new(StatusCode::BAD_GATEWAY, "provider_credential", message).with_log(log)
    }

    /// Somebody looks into an incident, and the gateway does nothing for anybody.
    pub(crate) fn incident() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "incident",
            "this gateway is closed by its operator",
        )
        .with_log("closed while an incident is looked into: clawdbot incident resume")
    }

    /// Nothing was done, and it may be tried again; why is for the log.
    pub(crate) fn unavailable(code: &'static str, why: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            code,
            "this cannot be done at the moment; nothing was changed",
        )
        .with_log(why)
    }

    pub(crate) fn no_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "this endpoint does not take that method; see Allow",
        )
    }

    pub(crate) fn no_route() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no such endpoint",
        )
    }

    /// In the caller's dialect, after the public shapes of OpenAI and Anthropic.
    pub(crate) fn into_response(self, dialect: Protocol) -> Response<Body> {
        let body = self.body(dialect);
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(retry_after) = self.retry_after {
            // Rounded up: who comes back at that second is admitted.
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(retry_after.as_secs() + 1),
            );
        }
        let why = self.log.unwrap_or(self.message);
        response.extensions_mut().insert(ForTheLog {
            code: self.code,
            why,
        });
        response
    }

    /// The JSON of the error in a dialect.
    pub(crate) fn body(&self, dialect: Protocol) -> String {
        let (envelope, kind, param) = match dialect {
            Protocol::OpenAi => (None, self.openai_type(), Some(())),
            Protocol::Anthropic => (Some("error"), self.anthropic_type(), None),
        };
        let error = ErrorDetail {
            message: &self.message,
            kind,
            param,
            code: self.code,
        };
        let body = ErrorBody {
            kind: envelope,
            error,
        };
        serde_json::to_string(&body).unwrap_or_default()
    }

    fn openai_type(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        }
    }

    fn anthropic_type(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 | 529 => "overloaded_error",
            400..=499 => "invalid_request_error",
            _ => "api_error",
        }
    }
}

impl From<TurnError> for ApiError {
    fn from(error: TurnError) -> Self {
        match error {
            TurnError::NotRecorded(why) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "audit_unavailable",
                "the audit log cannot be written, so nothing was done",
            )
            .with_log(why.to_string()),
            TurnError::Guarded(report) => {
                Self::new(StatusCode::FORBIDDEN, "prompt_injection", report.public())
            }
            TurnError::Body(refusal @ BodyRefusal::Malformed { .. }) => {
                Self::bad_request(refusal.to_string())
            }
            TurnError::Body(BodyRefusal::Finding(report)) => {
                Self::new(StatusCode::FORBIDDEN, "prompt_injection", report.public())
            }
            TurnError::Stopped(stopped) => {
                Self::new(StatusCode::FORBIDDEN, "answer_stopped", stopped.public())
                    .with_log(stopped.log())
            }
            TurnError::Secret => Self::new(
                StatusCode::FORBIDDEN,
                "secret_in_request",
                TurnError::Secret.to_string(),
            ),
            TurnError::NoFinding(id) => Self::new(
                StatusCode::BAD_REQUEST,
                "finding_not_found",
                TurnError::NoFinding(id).to_string(),
            ),
            TurnError::Provider(error) => error.into(),
            TurnError::Budget(spent) => Self::new(
                StatusCode::BAD_REQUEST,
                "budget_spent",
                format!("the turn was stopped: {spent}"),
            ),
            TurnError::Session(error) => error.into(),
            TurnError::Question(why) => Self::bad_request(why),
        }
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        let why = error.to_string();
        match error {
            SessionError::NoSuchSession(_) => {
                Self::new(StatusCode::NOT_FOUND, "no_such_session", why)
            }
            SessionError::NoSuchApproval(_) => {
                Self::new(StatusCode::NOT_FOUND, "no_such_approval", why)
            }
            SessionError::NoSuchTurn(_) => Self::new(StatusCode::NOT_FOUND, "no_such_turn", why),
            // No 409: the official clients would try it again.
            SessionError::OtherCall(_) | SessionError::NotSo { .. } => {
                Self::new(StatusCode::FORBIDDEN, "approval_refused", why)
            }
            SessionError::TooManyWaiting(_) | SessionError::NoRoomToWait => {
                Self::new(StatusCode::FORBIDDEN, "too_many_waiting", why)
            }
            SessionError::StillWaiting { .. } => {
                Self::new(StatusCode::FORBIDDEN, "turn_waiting", why)
            }
            SessionError::File { .. }
            | SessionError::Store { .. }
            | SessionError::Version { .. }
            | SessionError::BadKey(_)
            | SessionError::NoRandomness => Self::unavailable("session_store", why),
        }
    }
}

impl From<ProviderError> for ApiError {
    fn from(error: ProviderError) -> Self {
        let log = error.to_string();
        let (status, code, message) = match &error {
            ProviderError::NoCredential { .. } => (
                StatusCode::BAD_REQUEST,
                "no_provider_configured",
                log.clone(),
            ),
            ProviderError::Unreachable { provider, .. } => (
                StatusCode::BAD_GATEWAY,
                "provider_unreachable",
                format!("{provider} cannot be reached"),
            ),
            ProviderError::TimedOut { .. } => {
                (StatusCode::GATEWAY_TIMEOUT, "provider_timeout", log.clone())
            }
            ProviderError::Refused { status, .. } => {
                (passed_on(*status), "provider_error", log.clone())
            }
            ProviderError::Malformed { provider, .. } => (
                StatusCode::BAD_GATEWAY,
                "provider_malformed",
                format!("{provider} sent an answer that is not its protocol"),
            ),
            ProviderError::Cut { .. } => (StatusCode::BAD_GATEWAY, "provider_cut", log.clone()),
        };
        let mut answer = Self::new(status, code, message).with_log(log);
        if let ProviderError::Refused {
            retry_after: Some(seconds),
            ..
        } = error
        {
            answer.retry_after = Some(Duration::from_secs(seconds.saturating_sub(1)));
        }
        answer
    }
}

/// A provider's refusal as ours. Its 401 and 403 are about *our* credential, not the caller's token.
fn passed_on(status: u16) -> StatusCode {
    match status {
        400 | 404 | 413 | 422 | 429 | 529 => {
            StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY)
        }
        _ => StatusCode::BAD_GATEWAY,
    }
}

impl From<NoProvider> for ApiError {
    fn from(error: NoProvider) -> Self {
        let message = error.to_string();
        match error {
            NoProvider::NotConfigured => {
                Self::new(StatusCode::BAD_REQUEST, "no_provider_configured", message)
            }
            NoProvider::WrongDialect { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "wrong_endpoint", message)
            }
            NoProvider::Unknown { .. } => {
                Self::new(StatusCode::NOT_FOUND, "model_not_found", message)
            }
        }
    }
}
