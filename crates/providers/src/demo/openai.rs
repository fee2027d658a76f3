//! The script in OpenAI's dialect.

use super::script::{Act, Heard, words};
use clawdbot_domain::Usage;
use serde_json::{Value, json};

/// What a chat completion request says.
pub(crate) fn hear(body: &Value) -> Option<Heard> {
    let messages = body.get("messages")?.as_array()?;
    let mut heard = Heard {
        may_call: true,
        turn: messages.len(),
        ..Heard::default()
    };
    heard.offered = Some(offered(body));
    for message in messages {
        let text = text_of(message.get("content").unwrap_or(&Value::Null));
        match message.get("role").and_then(Value::as_str) {
            Some("user") => heard.asked(&text),
            Some("tool") => heard.told(&text, false),
            Some(_) | None => {}
        }
    }
    Some(heard)
}

fn offered(body: &Value) -> Vec<String> {
    let tools = body
        .get("tools")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let names = tools
        .iter()
        .filter_map(|tool| tool.get("function")?.get("name")?.as_str());
    names.map(str::to_owned).collect()
}

/// The text of a content field: a string, or the text parts of a list. Both dialects have both.
pub(crate) fn text_of(content: &Value) -> String {
    if let Some(text) = content.as_str() {
        return text.to_owned();
    }
    let parts = content.as_array().map(Vec::as_slice).unwrap_or_default();
    let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
    texts.collect::<Vec<_>>().join("\n")
}

fn calls(act: &Act) -> Vec<Value> {
    let calls = act.call.iter().map(|call| {
        json!({
            "index": 0, "id": call.id, "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        })
    });
    calls.collect()
}

fn finish(act: &Act) -> &'static str {
    if act.call.is_some() {
        "tool_calls"
    } else {
        "stop"
    }
}

fn used(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    })
}

/// The answer as one document.
pub(crate) fn document(model: &str, act: &Act, usage: Usage) -> String {
    let mut message = json!({"role": "assistant", "content": act.says, "refusal": null});
    if let (Some(fields), true) = (message.as_object_mut(), act.call.is_some()) {
        fields.insert("tool_calls".to_owned(), Value::Array(calls(act)));
    }
    json!({
        "id": "chatcmpl-demo", "object": "chat.completion", "created": 0, "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish(act), "logprobs": null}],
        "usage": used(usage),
    })
    .to_string()
}

/// The answer as a stream.
pub(crate) fn stream(model: &str, act: &Act, usage: Usage) -> Vec<String> {
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": 0, "model": model,
            "choices": choices, "usage": usage,
        });
        format!("data: {chunk}\n\n")
    };
    let delta = |delta: Value, finish: Option<&str>| {
        chunk(
            json!([{"index": 0, "delta": delta, "finish_reason": finish}]),
            Value::Null,
        )
    };
    let mut pieces = vec![delta(json!({"role": "assistant", "content": ""}), None)];
    pieces.extend(
        words(act)
            .into_iter()
            .map(|words| delta(json!({"content": words}), None)),
    );
    if act.call.is_some() {
        pieces.push(delta(json!({"tool_calls": calls(act)}), None));
    }
    pieces.push(delta(json!({}), Some(finish(act))));
    pieces.push(chunk(json!([]), used(usage)));
    pieces.push("data: [DONE]\n\n".to_owned());
    pieces
}

/// An error.
pub(crate) fn error(why: &str) -> String {
    json!({"error": {"message": why, "type": "invalid_request_error", "param": null, "code": null}})
        .to_string()
}
