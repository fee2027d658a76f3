//! Where the words stand in an event of either dialect.

use clawdbot_domain::Protocol;
use serde_json::Value;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// What a part of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Words for people: may go as they come.
    Text,
    /// Arguments of a call: go when they are whole.
    Call,
    /// A field that nobody here knows the use of: like words, and its addresses are left alone.
    Other,
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
    /// Strings that are no text: ids, names and the like.
    pub(super) labels: Vec<String>,
    /// Choices or blocks that end with it.
    pub(super) ended: Vec<u64>,
    /// It carries nothing and keeps the connection alive.
    pub(super) idle: bool,
}

/// The fields of a choice's delta that are words for people.
const WORDS: [&str; 4] = ["content", "refusal", "reasoning_content", "reasoning"];

/// The fields that are no text, wherever they stand, unless they are longer than [`LABEL_BYTES`].
const LABELS: [&str; 8] = [
    "id",
    "type",
    "role",
    "object",
    "model",
    "name",
    "format",
    "tool_use_id",
];

/// The longest string under a label's name that is still believed to be a label.
const LABEL_BYTES: usize = 64;

/// What an event of this dialect says.
///
/// Fields that a dialect grows tomorrow are words today: clients join whatever comes in pieces.
pub(super) fn told(protocol: Protocol, event: &Value) -> Told {
    let mut told = match protocol {
        Protocol::OpenAi => openai(event),
        Protocol::Anthropic => anthropic(event),
    };
    let mut at = String::new();
    others(event, &mut at, Place::default(), &mut told);
    told
}

/// Where a string stands that no dialect names.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// The choice or block.
    index: u64,
    /// A hash of the names on the way to it.
    path: u64,
    /// Inside what comes piece by piece, and not beside it.
    inside: bool,
    label: bool,
}

impl Place {
    fn at(self, name: &str) -> Self {
        let mut hash = DefaultHasher::new();
        (self.path, name).hash(&mut hash);
        Self {
            path: hash.finish(),
            inside: self.inside || IN_PIECES.contains(&name),
            label: LABELS.contains(&name),
            ..self
        }
    }
}

/// The objects whose strings come in pieces.
const IN_PIECES: [&str; 3] = ["delta", "content_block", "logprobs"];

fn others(value: &Value, at: &mut String, place: Place, told: &mut Told) {
    let here = at.len();
    match value {
        Value::String(text) => {
            let known = || told.pieces.iter().any(|piece| piece.at == *at);
            if text.is_empty() || known() {
            } else if !place.inside || (place.label && text.len() <= LABEL_BYTES) {
                told.labels.push(text.clone());
            } else {
                told.pieces.push(Piece {
                    key: (place.index, "other", place.path),
                    kind: Kind::Other,
                    at: at.clone(),
                    text: text.clone(),
                });
            }
        }
        Value::Array(items) => {
            for (nth, item) in items.iter().enumerate() {
                let index = item.get("index").and_then(Value::as_u64);
                at.push('/');
                at.push_str(&nth.to_string());
                let name = index.unwrap_or(nth as u64).to_string();
                others(item, at, place.at(&name), told);
                at.truncate(here);
            }
        }
        Value::Object(fields) => {
            let index = fields.get("index").and_then(Value::as_u64);
            let place = match index {
                Some(index) if !place.inside => Place { index, ..place },
                _ => place,
            };
            for (name, field) in fields {
                at.push('/');
                at.push_str(&name.replace('~', "~0").replace('/', "~1"));
                others(field, at, place.at(name), told);
                at.truncate(here);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
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
            .flat_map(|n| WORDS.map(|name| format!("/choices/{n}/message/{name}")))
            .flat_map(parts)
            .collect(),
        Protocol::Anthropic => (0..count("content"))
            .flat_map(|n| ["text", "thinking"].map(|name| format!("/content/{n}/{name}")))
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
            let at = format!("/choices/{nth}/delta/tool_calls/{call_nth}/custom/input");
            let key = (index, "custom", number(call, "index"));
            let text = call.pointer("/custom/input");
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
