//! Anthropic's messages, as far as an agent turn needs them. Relayed requests are not decoded.

use crate::answer::ApiError;
use crate::openapi::names_model;
use crate::sse::{self, Dialect, Events};
use clawdbot_agent::{Answer, Said};
use clawdbot_domain::Protocol;
use clawdbot_providers::Finish;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// The fields of a request that a turn looks at.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicRequest")]
#[schemars(transform = names_model)]
pub(crate) struct Request {
    messages: Vec<Message>,
    max_tokens: u32,
    #[serde(default)]
    system: Option<Content>,
    #[serde(default)]
    pub(crate) stream: bool,
    #[serde(default)]
    tools: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicMessage")]
struct Message {
    role: String,
    content: Content,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicContent")]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicBlock")]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
}

impl Content {
    fn text(&self, place: &str) -> Result<String, ApiError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Blocks(blocks) => {
                let texts = blocks.iter().map(|block| block.text(place));
                Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
            }
        }
    }
}

impl Block {
    fn text(&self, place: &str) -> Result<&str, ApiError> {
        let wrong = || {
            ApiError::bad_request(format!(
                "{place}: an agent reads text blocks only, not {:?}",
                self.kind.chars().take(40).collect::<String>()
            ))
        };
        self.text
            .as_deref()
            .filter(|_| self.kind == "text")
            .ok_or_else(wrong)
    }
}

impl Request {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let request: Self = serde_json::from_slice(body)
            .map_err(|e| ApiError::bad_request(format!("not a messages request: {e}")))?;
        if request
            .tools
            .as_ref()
            .is_some_and(|tools| !tools.is_empty())
        {
            return Err(ApiError::bad_request(
                "an agent uses the gateway's own tools: leave `tools` out, or name a provider's model",
            ));
        }
        Ok(request)
    }

    pub(crate) fn max_tokens(&self) -> u32 {
        self.max_tokens
    }

    pub(crate) fn said(&self) -> Result<Vec<Said>, ApiError> {
        let system = self
            .system
            .iter()
            .map(|s| s.text("system").map(Said::System));
        let messages = self.messages.iter().enumerate().map(|(at, message)| {
            let text = message.content.text(&format!("messages[{at}].content"))?;
            match message.role.as_str() {
                "user" => Ok(Said::User(text)),
                "assistant" => Ok(Said::Assistant(text)),
                "system" => Ok(Said::System(text)),
                other => Err(ApiError::bad_request(format!(
                    "messages[{at}].role: {:?} is not user or assistant",
                    other.chars().take(40).collect::<String>()
                ))),
            }
        });
        system.chain(messages).collect()
    }
}

const fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::ToolCalls => "end_turn",
        Finish::Length => "max_tokens",
        Finish::Filtered => "refusal",
    }
}

/// What stays the same over one answer.
pub(crate) struct Telling {
    pub(crate) id: String,
    pub(crate) model: String,
}

fn usage(answer: &Answer) -> Value {
    json!({
        "input_tokens": answer.usage.input_tokens, "output_tokens": answer.usage.output_tokens,
    })
}

impl sse::Telling for Telling {
    fn whole(&self, answer: &Answer) -> Value {
        json!({
            "id": format!("msg_{}", self.id), "type": "message", "role": "assistant",
            "model": self.model, "content": [{"type": "text", "text": answer.text}],
            "stop_reason": stop_reason(answer.finish), "stop_sequence": null,
            "usage": usage(answer),
        })
    }
}

impl Dialect for Telling {
    fn open(&mut self, out: &mut Events) {
        out.named(
            "message_start",
            &json!({"type": "message_start", "message": {
                "id": format!("msg_{}", self.id), "type": "message", "role": "assistant",
                "model": self.model, "content": [], "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": 0, "output_tokens": 0},
            }}),
        );
        out.named(
            "content_block_start",
            &json!({"type": "content_block_start", "index": 0,
                "content_block": {"type": "text", "text": ""}}),
        );
    }

    fn text(&mut self, text: &str, out: &mut Events) {
        out.named(
            "content_block_delta",
            &json!({"type": "content_block_delta", "index": 0,
                "delta": {"type": "text_delta", "text": text}}),
        );
    }

    fn done(&mut self, answer: &Answer, out: &mut Events) {
        out.named(
            "content_block_stop",
            &json!({"type": "content_block_stop", "index": 0}),
        );
        out.named(
            "message_delta",
            &json!({"type": "message_delta", "usage": usage(answer),
                "delta": {"stop_reason": stop_reason(answer.finish), "stop_sequence": null}}),
        );
        out.named("message_stop", &json!({"type": "message_stop"}));
    }

    fn failed(&mut self, error: &ApiError, out: &mut Events) {
        let body = serde_json::from_str(&error.body(Protocol::Anthropic)).unwrap_or(Value::Null);
        out.named("error", &body);
    }
}
