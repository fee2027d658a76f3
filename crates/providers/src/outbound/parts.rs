//! Where the words stand in an event of either dialect.

use clawdbot_domain::Protocol;
use serde_json::Value;

/// What a part of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Words for people: may go as they come.
    Text,
    /// Arguments of a call: go when they are whole.
    Call,
}

/// Which part of an answer: the choice or block, and the place in it.
pub(super) type Key = (u64, &'static str, u64);

/// A piece of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) key: Key,
    pub(super) kind: Kind,
    /// Where it stands, as a JSON pointer.
    pub(super) at: String,
    pub(super) text: String,
}

/// What an event says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) pieces: Vec<Piece>,
    /// Choices or blocks that end with it.
    pub(super) ended: Vec<u64>,
    /// It carries nothing and keeps the connection alive.
    pub(super) idle: bool,
}

/// The fields of a choice's delta that are words for people.
const WORDS: [&str; 4] = ["content", "refusal", "reasoning_content", "reasoning"];

/// What an event of this dialect says.
pub(super) fn told(protocol: Protocol, event: &Value) -> Told {
    match protocol {
        Protocol::OpenAi => openai(event),
        Protocol::Anthropic => anthropic(event),
    }
}

/// Where words for people stand in a whole answer.
pub(super) fn words_of(protocol: Protocol, answer: &Value) -> Vec<String> {
    let list = |name: &str| answer.get(name).and_then(Value::as_array);
    let count = |name| list(name).map_or(0, Vec::len);
    let parts = |at: String| match answer.pointer(&at) {
        Some(Value::Array(parts)) => (0..parts.len()).map(|n| format!("{at}/{n}/text")).collect(),
        _ => vec![at],
    };
    match protocol {
        Protocol::OpenAi => (0..count("choices"))
            .flat_map(|n| parts(format!("/choices/{n}/message/content")))
            .collect(),
        Protocol::Anthropic => (0..count("content"))
            .map(|n| format!("/content/{n}/text"))
            .collect(),
    }
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

fn piece(key: Key, kind: Kind, at: String, text: Option<&Value>) -> Option<Piece> {
    let text = text?.as_str().filter(|text| !text.is_empty())?.to_owned();
    Some(Piece {
        key,
        kind,
        at,
        text,
    })
}

fn openai(event: &Value) -> Told {
    let mut told = Told::default();
    let choices = event.get("choices").and_then(Value::as_array);
    for (nth, choice) in choices.into_iter().flatten().enumerate() {
        let index = number(choice, "index");
        let delta = choice.get("delta").unwrap_or(&Value::Null);
        for name in WORDS {
            let at = format!("/choices/{nth}/delta/{name}");
            let key = (index, name, 0);
            told.pieces
                .extend(piece(key, Kind::Text, at, delta.get(name)));
        }
        let at = format!("/choices/{nth}/delta/audio/transcript");
        let transcript = delta.pointer("/audio/transcript");
        let key = (index, "transcript", 0);
        told.pieces.extend(piece(key, Kind::Text, at, transcript));
        // How calls were told before there could be several.
        let at = format!("/choices/{nth}/delta/function_call/arguments");
        let arguments = delta.pointer("/function_call/arguments");
        let key = (index, "function_call", 0);
        told.pieces.extend(piece(key, Kind::Call, at, arguments));
        let calls = delta.get("tool_calls").and_then(Value::as_array);
        for (call_nth, call) in calls.into_iter().flatten().enumerate() {
            let at = format!("/choices/{nth}/delta/tool_calls/{call_nth}/function/arguments");
            let key = (index, "call", number(call, "index"));
            let text = call.pointer("/function/arguments");
            told.pieces.extend(piece(key, Kind::Call, at, text));
        }
        if choice.get("finish_reason").is_some_and(|f| !f.is_null()) {
            told.ended.push(index);
        }
    }
    told
}

fn anthropic(event: &Value) -> Told {
    let mut told = Told::default();
    let index = number(event, "index");
    let mut add = |kind, name, below: &str| {
        let at = format!("/{below}/{name}");
        let text = event.pointer(&at);
        told.pieces.extend(piece((index, name, 0), kind, at, text));
    };
    match event.get("type").and_then(Value::as_str) {
        Some("content_block_start") => {
            add(Kind::Text, "text", "content_block");
            add(Kind::Text, "thinking", "content_block");
        }
        Some("content_block_delta") => {
            add(Kind::Text, "text", "delta");
            add(Kind::Text, "thinking", "delta");
            add(Kind::Call, "partial_json", "delta");
        }
        Some("content_block_stop") => told.ended.push(index),
        Some("ping") => told.idle = true,
        Some(_) | None => {}
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_place_for_words_is_found_in_both_dialects() {
        let event = json!({"choices": [
            {"index": 1, "delta": {"content": "a", "tool_calls": [
                {"index": 2, "function": {"arguments": "{"}}]}, "finish_reason": null},
            {"index": 0, "delta": {"refusal": "b"}, "finish_reason": "stop"}]});
        let told = super::told(Protocol::OpenAi, &event);
        for piece in &told.pieces {
            assert_eq!(event.pointer(&piece.at), Some(&json!(piece.text)));
        }
        let keys: Vec<_> = told.pieces.iter().map(|p| (p.key, p.kind)).collect();
        assert_eq!(
            keys,
            [
                ((1, "content", 0), Kind::Text),
                ((1, "call", 2), Kind::Call),
                ((0, "refusal", 0), Kind::Text)
            ]
        );
        assert_eq!(told.ended, [0]);
        for (event, name, kind) in [
            (
                json!({"type": "content_block_start", "index": 3, "content_block": {"text": "x"}}),
                "text",
                Kind::Text,
            ),
            (
                json!({"type": "content_block_delta", "index": 3, "delta": {"thinking": "x"}}),
                "thinking",
                Kind::Text,
            ),
            (
                json!({"type": "content_block_delta", "index": 3, "delta": {"partial_json": "x"}}),
                "partial_json",
                Kind::Call,
            ),
        ] {
            let told = super::told(Protocol::Anthropic, &event);
            let [piece] = told.pieces.as_slice() else {
                panic!("{event}")
            };
            assert_eq!((piece.key, piece.kind), ((3, name, 0), kind));
            assert_eq!(event.pointer(&piece.at), Some(&json!("x")));
        }
    }
}
