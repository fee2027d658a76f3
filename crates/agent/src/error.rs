//! How a turn can fail.

use crate::budget::Spent;
use clawdbot_audit::NotRecorded;
use clawdbot_guard::{BodyRefusal, Report, Stopped};
use clawdbot_providers::ProviderError;
use clawdbot_sessions::SessionError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// The log could not take the record, so the step did not happen.
    #[error("the audit log cannot be written, so nothing was done: {0}")]
    NotRecorded(#[from] NotRecorded),
    /// The guard refused what was said.
    #[error("{}", .0.public())]
    Guarded(Box<Report>),
    /// The body is not a request of that API.
    #[error("{0}")]
    Body(BodyRefusal),
    /// The answer was stopped on its way out.
    #[error("{}", .0.public())]
    Stopped(Box<Stopped>),
    /// The request holds a secret of the gateway.
    #[error(
        "the request holds a credential or token of this gateway, so nothing was sent; take it out and, \
         if it was sent elsewhere, replace it"
    )]
    Secret,
    /// Nobody was refused what this asks to allow.
    #[error(
        "there is no finding {0} to allow: it was used, is older than 15 minutes, or never was"
    )]
    NoFinding(String),
    /// The provider failed.
    #[error("{0}")]
    Provider(#[from] ProviderError),
    /// The turn reached one of its caps.
    #[error("the turn was stopped: {0}")]
    Budget(#[from] Spent),
    /// The session is not there, or cannot be kept.
    #[error("{0}")]
    Session(#[from] SessionError),
    /// There is nothing to answer.
    #[error("{0}")]
    Question(&'static str),
}

impl TurnError {
    /// In one word, for a counter.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::NotRecorded(_) => "not_recorded",
            Self::Guarded(_) => "guarded",
            Self::Body(_) | Self::Question(_) => "malformed",
            Self::Stopped(_) => "stopped",
            Self::Secret => "secret",
            Self::NoFinding(_) => "no_finding",
            Self::Session(_) => "session",
            Self::Provider(_) => "provider",
            Self::Budget(_) => "budget",
        }
    }
}
