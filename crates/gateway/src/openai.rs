//! OpenAI's chat completions, as far as an agent turn needs them. Relayed requests are not decoded.

use crate::answer::ApiError;
use crate::openapi::names_model;
use crate::sse::{self, Dialect, Events};
use clawdbot_agent::{Answer, Said};
use clawdbot_domain::{Protocol, UnixTime};
use clawdbot_providers::Finish;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// The fields of a request that a turn looks at. Others (temperature, user, …) mean nothing to an
/// agent and are left alone, as the public API leaves what it does not know.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "OpenAiRequest")]
#[schemars(transform = names_model)]
pub(crate) struct Request {
    messages: Vec<Message>,
    #[serde(default)]
    pub(crate) stream: bool,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    max_tokens: Option<u32>,
    #[serde(default)]
    max_completion_tokens: Option<u32>,
    #[serde(default)]
    n: Option<u32>,
    #[serde(default)]
    tools: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "OpenAiStreamOptions")]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "OpenAiMessage")]
struct Message {
    role: String,
    #[serde(default)]
    content: Option<Content>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "OpenAiContent")]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "OpenAiPart")]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
}

impl Request {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let request: Self = serde_json::from_slice(body)
            .map_err(|e| ApiError::bad_request(format!("not a chat completion request: {e}")))?;
        if request
            .tools
            .as_ref()
            .is_some_and(|tools| !tools.is_empty())
        {
            return Err(ApiError::bad_request(
                "an agent uses the gateway's own tools: leave `tools` out, or name a provider's model",
            ));
        }
        if request.n.is_some_and(|n| n != 1) {
            return Err(ApiError::bad_request(
                "an agent gives one answer: `n` must be 1",
            ));
        }
        Ok(request)
    }

    pub(crate) fn max_tokens(&self) -> Option<u32> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    pub(crate) fn includes_usage(&self) -> bool {
        self.stream_options
            .as_ref()
            .is_some_and(|o| o.include_usage)
    }

    pub(crate) fn said(&self) -> Result<Vec<Said>, ApiError> {
        self.messages
            .iter()
            .enumerate()
            .map(|(at, message)| message.said(at))
            .collect()
    }
}

impl Message {
    fn said(&self, at: usize) -> Result<Said, ApiError> {
        let text = match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => {
                let texts = parts.iter().map(|part| part.text(at));
                texts.collect::<Result<Vec<_>, _>>()?.join("\n")
            }
        };
        match self.role.as_str() {
            "system" | "developer" => Ok(Said::System(text)),
            "user" => Ok(Said::User(text)),
            "assistant" => Ok(Said::Assistant(text)),
            other => Err(ApiError::bad_request(format!(
                "messages[{at}].role: {:?} is not for an agent; it is system, developer, user or assistant",
                other.chars().take(40).collect::<String>()
            ))),
        }
    }
}

impl Part {
    fn text(&self, at: usize) -> Result<&str, ApiError> {
        let wrong = || {
            ApiError::bad_request(format!(
                "messages[{at}].content: an agent reads text parts only, not {:?}",
                self.kind.chars().take(40).collect::<String>()
            ))
        };
        self.text
            .as_deref()
            .filter(|_| self.kind == "text")
            .ok_or_else(wrong)
    }
}

const fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::ToolCalls => "stop",
        Finish::Length => "length",
        Finish::Filtered => "content_filter",
    }
}

/// What stays the same over one answer.
pub(crate) struct Telling {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) usage: bool,
}

fn usage(answer: &Answer) -> Value {
    let usage = answer.usage;
    json!({
        "prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    })
}

impl Telling {
    fn chunk(&self, choices: &Value) -> Value {
        json!({
            "id": format!("chatcmpl-{}", self.id), "object": "chat.completion.chunk",
            "created": UnixTime::now().as_secs(), "model": self.model, "choices": choices,
        })
    }

    fn delta(&self, delta: &Value, finish: Option<&str>) -> Value {
        self.chunk(
            &json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]),
        )
    }
}

impl sse::Telling for Telling {
    fn whole(&self, answer: &Answer) -> Value {
        json!({
            "id": format!("chatcmpl-{}", self.id), "object": "chat.completion",
            "created": UnixTime::now().as_secs(), "model": self.model,
            "choices": [{
                "index": 0, "logprobs": null, "finish_reason": finish_reason(answer.finish),
                "message": {"role": "assistant", "content": answer.text, "refusal": null},
            }],
            "usage": usage(answer),
        })
    }
}

impl Dialect for Telling {
    fn open(&mut self, out: &mut Events) {
        out.data(&self.delta(&json!({"role": "assistant", "content": ""}), None));
    }

    fn text(&mut self, text: &str, out: &mut Events) {
        out.data(&self.delta(&json!({"content": text}), None));
    }

    fn done(&mut self, answer: &Answer, out: &mut Events) {
        out.data(&self.delta(&json!({}), Some(finish_reason(answer.finish))));
        if self.usage {
            let mut last = self.chunk(&json!([]));
            if let Some(fields) = last.as_object_mut() {
                fields.insert("usage".to_owned(), usage(answer));
            }
            out.data(&last);
        }
        out.raw("[DONE]");
    }

    fn failed(&mut self, error: &ApiError, out: &mut Events) {
        // No [DONE]: the answer is not whole, and a client must not take it for whole.
        out.raw(&error.body(Protocol::OpenAi));
    }
}
