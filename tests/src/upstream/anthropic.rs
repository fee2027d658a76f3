//! Anthropic's shapes.

use super::ToolUse;
use serde_json::{Value, json};

const MODEL: &str = "claude-mock";

pub(super) fn models() -> Value {
    let model = json!({
        "type": "model", "id": MODEL, "display_name": "Mock", "created_at": "2025-01-01T00:00:00Z",
    });
    json!({"data": [model], "has_more": false, "first_id": MODEL, "last_id": MODEL})
}

pub(super) fn error(status: u16) -> Value {
    let kind = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    let error = json!({"type": kind, "message": format!("the mock answers {status}")});
    json!({"type": "error", "error": error, "request_id": "req_upstream"})
}

/// Arguments in the small pieces they are streamed in.
pub(super) fn fragments(arguments: &str) -> Vec<String> {
    let chars = arguments.chars().collect::<Vec<_>>();
    // A huge argument is a few pieces too, or a test would wait for each.
    let size = (chars.len() / 8).max(7);
    chars
        .chunks(size)
        .map(|piece| piece.iter().collect())
        .collect()
}

fn stop(calls: &[ToolUse]) -> &'static str {
    if calls.is_empty() {
        "end_turn"
    } else {
        "tool_use"
    }
}

pub(super) fn whole(text: &str, calls: &[ToolUse]) -> Value {
    let words = (!text.is_empty()).then(|| json!({"type": "text", "text": text}));
    let uses = calls.iter().map(|call| {
        // What is no JSON cannot be written here at all; a stream can carry it.
        let input = serde_json::from_str::<Value>(&call.arguments).unwrap_or_else(|_| json!({}));
        json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
    });
    json!({
        "id": "msg_mock", "type": "message", "role": "assistant", "model": MODEL,
        "content": words.into_iter().chain(uses).collect::<Vec<_>>(),
        "stop_reason": stop(calls), "stop_sequence": null,
        "usage": {"input_tokens": 12, "output_tokens": 20},
    })
}

fn event(event: &Value) -> String {
    let name = event["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {event}\n\n")
}

fn block(index: usize, opened: &Value, deltas: impl Iterator<Item = Value>) -> Vec<String> {
    let open = json!({"type": "content_block_start", "index": index, "content_block": opened});
    let mut events = vec![event(&open)];
    let deltas = deltas.map(|delta| {
        event(&json!({"type": "content_block_delta", "index": index, "delta": delta}))
    });
    events.extend(deltas);
    events.push(event(
        &json!({"type": "content_block_stop", "index": index}),
    ));
    events
}

pub(super) fn stream(text: &str, calls: &[ToolUse]) -> Vec<String> {
    let mut message = whole("", &[]);
    message["stop_reason"] = Value::Null;
    let mut events = vec![event(&json!({"type": "message_start", "message": message}))];
    events.push(event(&json!({"type": "ping"})));
    let mut index = 0;
    if !text.is_empty() {
        let words = text
            .split_inclusive(' ')
            .map(|word| json!({"type": "text_delta", "text": word}));
        events.extend(block(index, &json!({"type": "text", "text": ""}), words));
        index += 1;
    }
    for call in calls {
        let opened = json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}});
        let pieces = fragments(&call.arguments).into_iter();
        let pieces = pieces.map(|piece| json!({"type": "input_json_delta", "partial_json": piece}));
        events.extend(block(index, &opened, pieces));
        index += 1;
    }
    let delta = json!({"stop_reason": stop(calls), "stop_sequence": null});
    let usage = json!({"output_tokens": 20});
    events.push(event(
        &json!({"type": "message_delta", "delta": delta, "usage": usage}),
    ));
    events.push(event(&json!({"type": "message_stop"})));
    events
}
