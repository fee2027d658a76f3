//! What both dialects have in common when a reply is read.

use crate::sse::{Broken, SseEvent};
use crate::{Finish, ProposedCall, ReplyEvent};
use clawdbot_domain::Usage;
use serde_json::Value;

/// The most calls of one reply, and the highest index of one.
pub(crate) const CALLS: usize = 128;

/// The longest id or name of a call.
const NAME_BYTES: usize = 256;

/// The most argument text of one reply.
const ARGUMENT_BYTES: usize = 8 << 20;

/// Reads one dialect's events. Hands out text as it comes, and keeps calls until all is said.
pub(crate) trait Reader: Send {
    /// Takes in one event; text goes to `out`.
    fn take(&mut self, event: SseEvent<'_>, out: &mut Vec<ReplyEvent>) -> Result<(), Broken>;

    /// True once the provider said that this was all.
    fn is_over(&self) -> bool;

    /// The end, when the reply may end here. `None`: it was cut.
    fn finish(&mut self, clean: bool) -> Result<Option<Ended>, Broken>;
}

/// A reply that has ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) finish: Finish,
    pub(crate) calls: Vec<ProposedCall>,
    pub(crate) usage: Usage,
}

impl From<Ended> for ReplyEvent {
    fn from(ended: Ended) -> Self {
        let Ended {
            finish,
            calls,
            usage,
        } = ended;
        Self::Done {
            finish,
            calls,
            usage,
        }
    }
}

/// A call that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

impl Draft {
    /// Sets id and name, or checks that they are what they were: two calls under one index would
    /// run one with the other's arguments.
    pub(crate) fn is(&mut self, id: &str, name: &str) -> Result<(), Broken> {
        for (field, told) in [(&mut self.id, id), (&mut self.name, name)] {
            if told.len() > NAME_BYTES || told.chars().any(char::is_control) {
                return Err(Broken::new("a tool call has a monstrous id or name"));
            }
            if field.is_empty() {
                told.clone_into(field);
            } else if !told.is_empty() && field != told {
                return Err(Broken::new("two tool calls share one index"));
            }
        }
        Ok(())
    }

    /// Adds to the arguments.
    pub(crate) fn add(&mut self, fragment: &str) -> Result<(), Broken> {
        if self.arguments.len() + fragment.len() > ARGUMENT_BYTES {
            return Err(Broken::new("a tool call has too long arguments"));
        }
        self.arguments.push_str(fragment);
        Ok(())
    }
}

/// Drafts as whole calls: each has a name, and an id that is its own.
pub(crate) fn whole(
    drafts: impl Iterator<Item = (usize, Draft)>,
) -> Result<Vec<ProposedCall>, Broken> {
    let mut calls: Vec<ProposedCall> = Vec::new();
    for (index, draft) in drafts {
        if draft.name.is_empty() {
            return Err(Broken::new("a tool call has no name"));
        }
        // Some local servers give none; the conversation needs one to tell the result by.
        let id = if draft.id.is_empty() {
            format!("call_{index}")
        } else {
            draft.id
        };
        if calls.iter().any(|call| call.id == id) {
            return Err(Broken::new("two tool calls share one id"));
        }
        let arguments = if draft.arguments.is_empty() {
            "{}".to_owned()
        } else {
            draft.arguments
        };
        calls.push(ProposedCall {
            id,
            name: draft.name,
            arguments,
        });
    }
    Ok(calls)
}

/// What a reply that finished for `finish` amounts to. Cut off by a limit or a filter, the last
/// call may be half a call that happens to parse: none of them counts.
pub(crate) fn ended(finish: Finish, calls: Vec<ProposedCall>, usage: Usage) -> Ended {
    match finish {
        Finish::Stop | Finish::ToolCalls if calls.is_empty() => Ended {
            finish: Finish::Stop,
            calls,
            usage,
        },
        Finish::Stop | Finish::ToolCalls => Ended {
            finish: Finish::ToolCalls,
            calls,
            usage,
        },
        Finish::Length | Finish::Filtered => Ended {
            finish,
            calls: Vec::new(),
            usage,
        },
    }
}

/// An error object as either dialect writes it, in an answer of its own or amid a stream.
pub(crate) fn refusal(error: &Value) -> Broken {
    let told = error
        .get("code")
        .or_else(|| error.get("status"))
        .and_then(Value::as_u64);
    let told = told
        .and_then(|code| u16::try_from(code).ok())
        .filter(|c| (400..600).contains(c));
    let kind = error
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let status = told.unwrap_or(match kind {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "overloaded_error" => 529,
        _ => 500,
    });
    Broken::Refused {
        status,
        message: message_of(error).unwrap_or(kind).to_owned(),
    }
}

/// The words of an error object.
pub(crate) fn message_of(error: &Value) -> Option<&str> {
    error
        .as_str()
        .or_else(|| error.get("message").and_then(Value::as_str))
}
