//! Our words → a chat completion request.

use crate::{Message, ModelCall};
use clawdbot_domain::{ProviderName, ToolSpec};
use serde_json::{Map, Value, json};

/// The request body of a streamed reply.
pub(crate) fn body(call: &ModelCall) -> Value {
    let mut messages = Vec::with_capacity(call.messages.len() + 1);
    if let Some(system) = &call.system {
        messages.push(json!({"role": "system", "content": system.as_str()}));
    }
    messages.extend(call.messages.iter().map(message));
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(call.model));
    body.insert("messages".to_owned(), Value::Array(messages));
    body.insert("stream".to_owned(), json!(true));
    body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    // OpenAI's newer models refuse `max_tokens`; most other servers know nothing else.
    let limit = if call.provider == ProviderName::OpenAi {
        "max_completion_tokens"
    } else {
        "max_tokens"
    };
    body.insert(limit.to_owned(), json!(call.max_tokens));
    if !call.tools.is_empty() {
        body.insert("tools".to_owned(), call.tools.iter().map(tool).collect());
    }
    Value::Object(body)
}

fn message(message: &Message) -> Value {
    match message {
        Message::User(text) => json!({"role": "user", "content": text.as_str()}),
        Message::Assistant { text, calls } => {
            let text = text.as_ref().map(clawdbot_guard::Screened::as_str);
            let mut said = json!({"role": "assistant", "content": text});
            if !calls.is_empty() {
                let calls: Vec<Value> = calls
                    .iter()
                    .map(|call| {
                        let arguments = call.canonical_arguments();
                        json!({
                            "id": call.id, "type": "function",
                            "function": {"name": call.name.as_str(), "arguments": arguments},
                        })
                    })
                    .collect();
                if let Some(fields) = said.as_object_mut() {
                    fields.insert("tool_calls".to_owned(), Value::Array(calls));
                }
            }
            said
        }
        // The dialect has no mark for a failed call; the text says that it was.
        Message::ToolResult {
            call_id, result, ..
        } => {
            json!({"role": "tool", "tool_call_id": call_id, "content": result.as_str()})
        }
    }
}

fn tool(spec: &ToolSpec) -> Value {
    json!({
        "type": "function",
        "function": {
            "name": spec.name.as_str(), "description": spec.description, "parameters": spec.schema,
        },
    })
}
