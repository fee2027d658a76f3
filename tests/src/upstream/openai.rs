//! OpenAI's shapes.

use super::ToolUse;
use serde_json::{Value, json};

const MODEL: &str = "gpt-mock";

pub(super) fn models() -> Value {
    let model = |id: &str| json!({"id": id, "object": "model", "created": 1, "owned_by": "mock"});
    json!({"object": "list", "data": [model(MODEL), model("gpt-mock-mini")]})
}

pub(super) fn error(status: u16) -> Value {
    let kind = match status {
        401 => "authentication_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    };
    let message = format!("the mock answers {status}");
    json!({"error": {"message": message, "type": kind, "param": null, "code": "mock"}})
}

fn finish(calls: &[ToolUse]) -> &'static str {
    if calls.is_empty() {
        "stop"
    } else {
        "tool_calls"
    }
}

fn call(call: &ToolUse) -> Value {
    let function = json!({"name": call.name, "arguments": call.arguments});
    json!({"id": call.id, "type": "function", "function": function})
}

pub(super) fn whole(text: &str, calls: &[ToolUse]) -> Value {
    let content = if text.is_empty() {
        Value::Null
    } else {
        text.into()
    };
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if !calls.is_empty() {
        message["tool_calls"] = calls.iter().map(call).collect();
    }
    let choice =
        json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish(calls)});
    json!({
        "id": "chatcmpl-mock", "object": "chat.completion", "created": 1_700_000_000, "model": MODEL,
        "choices": [choice], "usage": usage(), "system_fingerprint": "fp_mock",
    })
}

fn usage() -> Value {
    json!({"prompt_tokens": 12, "completion_tokens": 20, "total_tokens": 32})
}

fn chunk(choices: &Value, usage: Value) -> String {
    let mut chunk = json!({
        "id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1_700_000_000,
        "model": MODEL, "system_fingerprint": "fp_mock", "choices": choices,
    });
    if !usage.is_null() {
        chunk["usage"] = usage;
    }
    format!("data: {chunk}\n\n")
}

fn delta(delta: &Value, finish: Option<&str>) -> String {
    chunk(
        &json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]),
        Value::Null,
    )
}

pub(super) fn stream(text: &str, calls: &[ToolUse], with_usage: bool) -> Vec<String> {
    let mut events = vec![delta(&json!({"role": "assistant", "content": ""}), None)];
    let words = text
        .split_inclusive(' ')
        .map(|word| delta(&json!({"content": word}), None));
    events.extend(words);
    for (index, call) in calls.iter().enumerate() {
        let function = json!({"name": call.name, "arguments": ""});
        let opened =
            json!({"index": index, "id": call.id, "type": "function", "function": function});
        events.push(delta(&json!({"tool_calls": [opened]}), None));
        for piece in super::anthropic::fragments(&call.arguments) {
            let fragment = json!({"index": index, "function": {"arguments": piece}});
            events.push(delta(&json!({"tool_calls": [fragment]}), None));
        }
    }
    events.push(delta(&json!({}), Some(finish(calls))));
    if with_usage {
        events.push(chunk(&json!([]), usage()));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}
