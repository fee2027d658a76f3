//! How a turn can fail.

use crate::budget::Spent;
use clawdbot_audit::NotRecorded;
use clawdbot_guard::{BodyRefusal, Report};
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
