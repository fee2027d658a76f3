//! The script in Anthropic's dialect.

use super::openai::text_of;
use super::script::{Act, Heard, words};
use clawdbot_domain::Usage;
use serde_json::{Value, json};

/// What a messages request says.
pub(crate) fn hear(body: &Value) -> Option<Heard> {
    let messages = body.get("messages")?.as_array()?;
    let mut heard = Heard {
        may_call: true,
        turn: messages.len(),
        ..Heard::default()
    };
    let tools = body
        .get("tools")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let names = tools.iter().filter_map(|tool| tool.get("name")?.as_str());
    heard.offered = Some(names.map(str::to_owned).collect());
    for message in messages {
        if message.get("role").and_then(Value::as_str) == Some("user") {
            hear_user(message.get("content").unwrap_or(&Value::Null), &mut heard);
        }
    }
    Some(heard)
}

/// Tool results come in a message of the user.
fn hear_user(content: &Value, heard: &mut Heard) {
    let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
    let is = |block: &Value, kind| block.get("type").and_then(Value::as_str) == Some(kind);
    let results: Vec<_> = blocks
        .iter()
        .filter(|block| is(block, "tool_result"))
        .collect();
    if results.is_empty() {
        heard.asked(&text_of(content));
    }
    for result in results {
        let is_error = result
            .get("is_error")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        heard.told(
            &text_of(result.get("content").unwrap_or(&Value::Null)),
            is_error,
        );
    }
}

fn blocks(act: &Act) -> Vec<Value> {
    let call = act.call.iter().map(|call| {
        let input: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
        json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
    });
    std::iter::once(json!({"type": "text", "text": act.says}))
        .chain(call)
        .collect()
}

fn stop_reason(act: &Act) -> &'static str {
    if act.call.is_some() {
        "tool_use"
    } else {
        "end_turn"
    }
}

/// The answer as one document.
pub(crate) fn document(model: &str, act: &Act, usage: Usage) -> String {
    json!({
        "id": "msg_demo", "type": "message", "role": "assistant", "model": model,
        "content": blocks(act), "stop_reason": stop_reason(act), "stop_sequence": null,
        "usage": usage,
    })
    .to_string()
}

/// The answer as a stream.
pub(crate) fn stream(model: &str, act: &Act, usage: Usage) -> Vec<String> {
    let begun = json!({
        "id": "msg_demo", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": usage.input_tokens, "output_tokens": 1},
    });
    let mut pieces = vec![
        event(&json!({"type": "message_start", "message": begun})),
        event(&json!({
            "type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""},
        })),
    ];
    pieces.extend(words(act).into_iter().map(|words| {
        event(&json!({
            "type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": words},
        }))
    }));
    pieces.push(event(&json!({"type": "content_block_stop", "index": 0})));
    if let Some(call) = &act.call {
        let block = json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}});
        let delta = json!({"type": "input_json_delta", "partial_json": call.arguments});
        pieces.extend([
            event(&json!({"type": "content_block_start", "index": 1, "content_block": block})),
            event(&json!({"type": "content_block_delta", "index": 1, "delta": delta})),
            event(&json!({"type": "content_block_stop", "index": 1})),
        ]);
    }
    pieces.push(event(&json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason(act), "stop_sequence": null},
        "usage": {"output_tokens": usage.output_tokens},
    })));
    pieces.push(event(&json!({"type": "message_stop"})));
    pieces
}

fn event(data: &Value) -> String {
    let name = data.get("type").and_then(Value::as_str).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n")
}

/// An error.
pub(crate) fn error(why: &str) -> String {
    json!({"type": "error", "error": {"type": "invalid_request_error", "message": why}}).to_string()
}
