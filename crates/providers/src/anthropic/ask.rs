//! Our words → a messages request.

use crate::{Message, ModelCall};
use clawdbot_domain::ToolSpec;
use serde_json::{Map, Value, json};

/// The request body of a streamed reply.
pub(crate) fn body(call: &ModelCall) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(call.model));
    body.insert("max_tokens".to_owned(), json!(call.max_tokens));
    if let Some(system) = &call.system {
        body.insert("system".to_owned(), json!(system.as_str()));
    }
    body.insert(
        "messages".to_owned(),
        Value::Array(messages(&call.messages)),
    );
    body.insert("stream".to_owned(), json!(true));
    if !call.tools.is_empty() {
        body.insert("tools".to_owned(), call.tools.iter().map(tool).collect());
    }
    Value::Object(body)
}

/// Roles must alternate, and all results of one round stand in one message: neighbours of one role
/// are joined.
fn messages(messages: &[Message]) -> Vec<Value> {
    let mut joined: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in messages {
        let (role, blocks) = blocks(message);
        match joined.last_mut() {
            Some((last, content)) if *last == role => content.extend(blocks),
            Some(_) | None => joined.push((role, blocks)),
        }
    }
    joined
        .into_iter()
        .map(|(role, content)| json!({"role": role, "content": content}))
        .collect()
}

fn blocks(message: &Message) -> (&'static str, Vec<Value>) {
    let text = |text: &str| json!({"type": "text", "text": text});
    match message {
        Message::User(words) => ("user", vec![text(words.as_str())]),
        Message::Assistant { text: words, calls } => {
            // An empty text block is refused by the API.
            let words = words
                .iter()
                .filter(|w| !w.as_str().is_empty())
                .map(|w| text(w.as_str()));
            let calls = calls.iter().map(|call| {
                json!({
                    "type": "tool_use", "id": call.id, "name": call.name.as_str(),
                    "input": Value::Object(call.arguments.clone()),
                })
            });
            ("assistant", words.chain(calls).collect())
        }
        Message::ToolResult {
            call_id,
            result,
            is_error,
        } => (
            "user",
            vec![json!({
                "type": "tool_result", "tool_use_id": call_id, "content": result.as_str(),
                "is_error": is_error,
            })],
        ),
    }
}

fn tool(spec: &ToolSpec) -> Value {
    json!({
        "name": spec.name.as_str(), "description": spec.description, "input_schema": spec.schema,
    })
}
