//! What a model answers, and how asking can fail.

use bytes::Bytes;
use clawdbot_domain::{ProviderName, Usage};
use futures_util::Stream;
use std::pin::Pin;

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// It was done.
    Stop,
    /// It wants its calls answered.
    ToolCalls,
    /// It ran into the token limit.
    Length,
    /// The provider filtered it.
    Filtered,
}

/// A tool call as the model proposed it: whole, but not validated and not permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposedCall {
    /// The provider's id of the call.
    pub id: String,
    /// The name the model gave; perhaps no tool at all.
    pub name: String,
    /// The arguments as the model wrote them; perhaps no JSON.
    pub arguments: String,
}

/// One piece of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyEvent {
    /// More text.
    Text(String),
    /// The reply has ended well. Always the last event, and the only one that carries calls.
    Done {
        /// Why.
        finish: Finish,
        /// The calls the model proposes, in order.
        calls: Vec<ProposedCall>,
        /// What it used, when the provider told.
        usage: Usage,
    },
}

/// The pieces of a reply; ends after `Done` or the first error.
pub type ReplyStream = Pin<Box<dyn Stream<Item = Result<ReplyEvent, ProviderError>> + Send>>;

/// A reply that has begun.
pub struct Reply {
    /// The model that answers, as the provider names it.
    pub model: String,
    /// What it says.
    pub events: ReplyStream,
}

/// The bytes of a relayed answer. A frame holds everything that one read returned.
pub type RelayBody = Pin<Box<dyn http_body::Body<Data = Bytes, Error = ProviderError> + Send>>;

/// A relayed answer: status and headers as the provider sent them (hop-by-hop headers left out).
pub struct Relayed {
    /// The provider's status, headers and body.
    pub response: http::Response<RelayBody>,
}

/// What a provider offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Models {
    /// Ids of its models.
    pub ids: Vec<String>,
}

/// How asking a provider can fail. None of it holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It has no credential, or the credential belongs to another host.
    #[error("{provider}: no usable credential: {why}")]
    NoCredential {
        /// Which provider.
        provider: ProviderName,
        /// What is missing and how to mend it.
        why: String,
    },
    /// It could not be reached.
    #[error("{provider}: cannot reach {origin}: {why}")]
    Unreachable {
        /// Which provider.
        provider: ProviderName,
        /// Where it should be.
        origin: String,
        /// What happened.
        why: String,
    },
    /// It did not answer in time.
    #[error("{provider}: no answer within {seconds} s")]
    TimedOut {
        /// Which provider.
        provider: ProviderName,
        /// The limit.
        seconds: u64,
    },
    /// It answered with an error.
    #[error("{provider}: answered {status}: {message}")]
    Refused {
        /// Which provider.
        provider: ProviderName,
        /// HTTP status.
        status: u16,
        /// Its message, bounded.
        message: String,
        /// `Retry-After` in seconds, when it gave a sane one.
        retry_after: Option<u64>,
    },
    /// It answered with something that is not its protocol.
    #[error("{provider}: malformed answer: {why}")]
    Malformed {
        /// Which provider.
        provider: ProviderName,
        /// What was wrong.
        why: String,
    },
    /// The answer was cut before its end.
    #[error("{provider}: the answer was cut before its end")]
    Cut {
        /// Which provider.
        provider: ProviderName,
    },
}
