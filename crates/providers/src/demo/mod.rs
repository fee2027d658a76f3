//! The built-in provider: scripted, with no model behind it, and it says so in every answer.
//!
//! It needs no key, streams, and proposes tool calls, so that the whole path (screening, policy,
//! approval, sandbox, audit) can be seen before any account exists.

mod anthropic;
mod openai;
mod pieces;
mod script;

use crate::ending::Ending;
use crate::{
    BoxFuture, Finish, Message, ModelCall, Models, Provider, ProviderError, RelayBody, RelayCall,
    Relayed, Reply, ReplyEvent,
};
use clawdbot_audit::Recorded;
use clawdbot_domain::{Protocol, ProviderName, Usage};
use http::{HeaderValue, StatusCode, header};
use pieces::{Pieces, Telling};
use script::{Act, Heard};
use serde_json::Value;
use std::sync::Arc;

/// Every answer begins with it.
const LABEL: &str = "[demo provider: scripted, no model behind it] ";

/// The scripted provider.
pub fn demo() -> Arc<dyn Provider> {
    Arc::new(Demo)
}

struct Demo;

/// What a dialect makes of a request and of an answer.
struct Dialect {
    /// What a request says, if it can be read.
    hear: fn(&Value) -> Option<Heard>,
    /// The whole answer as one document.
    document: fn(&str, &Act, Usage) -> String,
    /// The whole answer as a stream, in pieces.
    stream: fn(&str, &Act, Usage) -> Vec<String>,
    /// An error.
    error: fn(&str) -> String,
}

const OPENAI: Dialect = Dialect {
    hear: openai::hear,
    document: openai::document,
    stream: openai::stream,
    error: openai::error,
};

const ANTHROPIC: Dialect = Dialect {
    hear: anthropic::hear,
    document: anthropic::document,
    stream: anthropic::stream,
    error: anthropic::error,
};

impl Provider for Demo {
    fn name(&self) -> ProviderName {
        ProviderName::Demo
    }

    fn speaks(&self, _: Protocol) -> bool {
        true
    }

    fn reply(&self, call: Recorded<ModelCall>) -> BoxFuture<'_, Result<Reply, ProviderError>> {
        let (call, record) = call.act();
        Box::pin(async move {
            let heard = heard(&call.messages);
            let act = script::answer(&heard);
            let usage = script::usage(&heard, &act);
            let mut events: Vec<_> = script::words(&act)
                .into_iter()
                .map(ReplyEvent::Text)
                .collect();
            let calls: Vec<_> = act.call.into_iter().collect();
            let finish = if calls.is_empty() {
                Finish::Stop
            } else {
                Finish::ToolCalls
            };
            events.push(ReplyEvent::Done {
                finish,
                calls,
                usage,
            });
            let telling = Telling::new(events, Ending::new(ProviderName::Demo, record), usage);
            Ok(Reply {
                model: call.model,
                events: Box::pin(telling),
            })
        })
    }

    fn relay(&self, call: Recorded<RelayCall>) -> BoxFuture<'_, Result<Relayed, ProviderError>> {
        let (call, record) = call.act();
        let ending = Ending::new(ProviderName::Demo, record);
        Box::pin(async move { Ok(relayed(&call, ending)) })
    }

    fn models(&self) -> BoxFuture<'_, Result<Models, ProviderError>> {
        Box::pin(async {
            Ok(Models {
                ids: vec!["demo".to_owned()],
            })
        })
    }
}

/// What an agent's conversation says. The call is proposed even when no such tool was offered, so
/// that refusals can be seen too.
fn heard(messages: &[Message]) -> Heard {
    let mut heard = Heard {
        may_call: true,
        ..Heard::default()
    };
    for message in messages {
        match message {
            Message::User(text) => heard.asked(text.as_str()),
            Message::ToolResult {
                result, is_error, ..
            } => heard.told(result.as_str(), *is_error),
            Message::Assistant { .. } => {}
        }
    }
    heard.turn = messages.len();
    heard
}

fn relayed(call: &RelayCall, mut ending: Ending) -> Relayed {
    let (path, dialect) = match call.protocol {
        Protocol::OpenAi => ("/chat/completions", OPENAI),
        Protocol::Anthropic => ("/v1/messages", ANTHROPIC),
    };
    let asked = call.path_and_query.split('?').next().unwrap_or_default();
    let heard = serde_json::from_slice(call.body.bytes()).ok();
    let heard = heard.as_ref().and_then(dialect.hear);
    let (status, kind, pieces) = match heard {
        _ if asked != path => {
            let why = format!("{LABEL}only {path} is scripted");
            (
                StatusCode::NOT_FOUND,
                "application/json",
                vec![(dialect.error)(&why)],
            )
        }
        None => {
            let why = format!("{LABEL}the request has no messages");
            (
                StatusCode::BAD_REQUEST,
                "application/json",
                vec![(dialect.error)(&why)],
            )
        }
        Some(heard) => {
            let act = script::answer(&heard);
            let usage = script::usage(&heard, &act);
            ending.usage = Some(usage);
            if call.body.stream() {
                let pieces = (dialect.stream)(call.body.model(), &act, usage);
                (StatusCode::OK, "text/event-stream", pieces)
            } else {
                let document = (dialect.document)(call.body.model(), &act, usage);
                (StatusCode::OK, "application/json", vec![document])
            }
        }
    };
    ending.status = Some(status.as_u16());
    let body: RelayBody = Box::pin(Pieces::new(pieces, ending));
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Relayed { response }
}
