//! What the provider answers, and how that looks on the wire.

use super::body::{End, Paced};
use super::{anthropic, openai};
use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};
use std::time::Duration;

/// A public API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's chat completions.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
}

/// How an answer is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As one JSON object.
    Whole,
    /// As events.
    Events {
        /// With what it used, as OpenAI's `stream_options.include_usage` asks; Anthropic's always have it.
        usage: bool,
    },
}

/// A tool call that the model proposes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolUse {
    /// Its id.
    pub id: String,
    /// The tool's name, or whatever the model thinks is one.
    pub name: String,
    /// The arguments as the model wrote them; perhaps no JSON.
    pub arguments: String,
}

/// What to answer.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Some words, and perhaps calls, as a whole or as a stream, as was asked.
    Says {
        /// The words; none when empty.
        text: String,
        /// The calls.
        calls: Vec<ToolUse>,
    },
    /// An error in the dialect of the request.
    Fails {
        /// The status.
        status: u16,
        /// More headers.
        headers: Vec<(String, String)>,
    },
    /// These very bytes.
    Verbatim {
        /// The status.
        status: u16,
        /// The content type.
        kind: String,
        /// More headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// The beginning of another reply; then the connection breaks.
    Cut {
        /// How many bytes of the body come through.
        after: usize,
        /// The reply that is cut.
        of: Box<Reply>,
    },
    /// Another reply, after a while.
    After(Duration, Box<Reply>),
    /// Nothing, for as long as anyone waits.
    Never,
}

impl Reply {
    /// Some words.
    pub fn say(text: &str) -> Self {
        Self::Says {
            text: text.to_owned(),
            calls: Vec::new(),
        }
    }

    /// One call.
    pub fn call(name: &str, arguments: &Value) -> Self {
        Self::call_text(name, &arguments.to_string())
    }

    /// One call, its arguments as text.
    pub fn call_text(name: &str, arguments: &str) -> Self {
        Self::calls([(name, arguments.to_owned())])
    }

    /// Some calls, their arguments as text.
    pub fn calls<N: Into<String>>(calls: impl IntoIterator<Item = (N, String)>) -> Self {
        let calls = calls
            .into_iter()
            .enumerate()
            .map(|(nth, (name, arguments))| ToolUse {
                id: format!("call_{nth}"),
                name: name.into(),
                arguments,
            });
        Self::Says {
            text: String::new(),
            calls: calls.collect(),
        }
    }

    /// An error of this status.
    pub fn fail(status: u16) -> Self {
        Self::Fails {
            status,
            headers: Vec::new(),
        }
    }

    /// These bytes with status 200.
    pub fn verbatim(kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::Verbatim {
            status: 200,
            kind: kind.to_owned(),
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// This reply, cut after so many bytes of its body.
    #[must_use]
    pub fn cut(self, after: usize) -> Self {
        Self::Cut {
            after,
            of: Box::new(self),
        }
    }

    /// The bytes of its body.
    pub fn bytes(&self, dialect: Dialect, form: Form) -> Vec<u8> {
        self.clone().wire(dialect, form).pieces.concat()
    }

    pub(super) fn wire(self, dialect: Dialect, form: Form) -> Wire {
        match self {
            Self::Says { text, calls } => match (dialect, form) {
                (Dialect::OpenAi, Form::Whole) => Wire::json(200, &openai::whole(&text, &calls)),
                (Dialect::OpenAi, Form::Events { usage }) => {
                    Wire::events(openai::stream(&text, &calls, usage))
                }
                (Dialect::Anthropic, Form::Whole) => {
                    Wire::json(200, &anthropic::whole(&text, &calls))
                }
                (Dialect::Anthropic, Form::Events { .. }) => {
                    Wire::events(anthropic::stream(&text, &calls))
                }
            },
            Self::Fails { status, headers } => {
                let body = match dialect {
                    Dialect::OpenAi => openai::error(status),
                    Dialect::Anthropic => anthropic::error(status),
                };
                Wire {
                    headers,
                    ..Wire::json(status, &body)
                }
            }
            Self::Verbatim {
                status,
                kind,
                headers,
                body,
            } => Wire {
                status,
                kind,
                headers,
                ..Wire::of(vec![body.into()])
            },
            Self::Cut { after, of } => of.wire(dialect, form).cut(after),
            Self::After(wait, reply) => Wire {
                wait,
                ..reply.wire(dialect, form)
            },
            Self::Never => Wire {
                wait: Duration::from_secs(3600),
                ..Wire::json(200, &json!({}))
            },
        }
    }
}

/// An answer in pieces, as they are written to the socket.
pub(super) struct Wire {
    status: u16,
    kind: String,
    headers: Vec<(String, String)>,
    pieces: Vec<Bytes>,
    end: End,
    wait: Duration,
}

impl Wire {
    fn of(pieces: Vec<Bytes>) -> Self {
        Self {
            status: 200,
            kind: "application/json".to_owned(),
            headers: Vec::new(),
            pieces,
            end: End::Clean,
            wait: Duration::ZERO,
        }
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            ..Self::of(vec![body.to_string().into()])
        }
    }

    fn events(events: Vec<String>) -> Self {
        let pieces = events.into_iter().map(Bytes::from).collect();
        Self {
            kind: "text/event-stream".to_owned(),
            ..Self::of(pieces)
        }
    }

    fn cut(mut self, after: usize) -> Self {
        let mut left = after;
        for piece in &mut self.pieces {
            piece.truncate(left);
            left -= piece.len();
        }
        self.pieces.retain(|piece| !piece.is_empty());
        self.end = End::Broken;
        self
    }

    pub(super) async fn respond(self) -> Response<Paced> {
        if !self.wait.is_zero() {
            tokio::time::sleep(self.wait).await;
        }
        let mut response = Response::builder()
            .status(self.status)
            .header("content-type", self.kind)
            .header("x-request-id", "req_upstream")
            .header("request-id", "req_upstream");
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        response
            .body(Paced::new(self.pieces, self.end))
            .expect("a scripted answer is well formed")
    }
}
