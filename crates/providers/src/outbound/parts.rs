//! Where the words stand in an event of either dialect.

use super::json::Json;
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
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) key: Key,
    pub(super) kind: Kind,
    /// Its words, which are never empty.
    pub(super) text: &'a str,
}

/// What an event says.
#[derive(Debug, Default)]
pub(super) struct Told<'a> {
    pub(super) pieces: Vec<Piece<'a>>,
    /// Strings that are no text: ids, names and the like.
    pub(super) labels: Vec<&'a str>,
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
pub(super) fn told<'a>(protocol: Protocol, event: &'a Json<'_>) -> Told<'a> {
    let mut told = match protocol {
        Protocol::OpenAi => openai(event),
        Protocol::Anthropic => anthropic(event),
    };
    // Sorted, so that an event of very many words is not looked through once for each.
    let mut known: Vec<_> = told.pieces.iter().map(|p| p.text.as_ptr()).collect();
    known.sort_unstable();
    others(event, &known, Place::default(), &mut told);
    told
}

/// Where a string stands that no dialect names.
#[derive(Debug, Clone, Copy, Default)]
struct Place<'p> {
    /// The place it stands in, and its name there; nothing for the event itself.
    within: Option<(&'p Self, Name<'p>)>,
    /// Its path, if that was reckoned.
    hash: Option<u64>,
    /// The choice or block.
    index: u64,
    /// Inside what comes piece by piece, and not beside it.
    inside: bool,
    label: bool,
}

/// The name of a place in the one around it.
#[derive(Debug, Clone, Copy)]
enum Name<'p> {
    Field(&'p str),
    Item(u64),
}

impl<'p> Place<'p> {
    fn field(&'p self, name: &'p str) -> Self {
        Self {
            within: Some((self, Name::Field(name))),
            hash: None,
            index: self.index,
            inside: self.inside || IN_PIECES.contains(&name),
            label: LABELS.contains(&name),
        }
    }

    fn item(&'p self, name: u64) -> Self {
        Self {
            within: Some((self, Name::Item(name))),
            hash: None,
            label: false,
            ..*self
        }
    }

    /// Where the path is reckoned once for all that stands here, or many strings that stand deep would
    /// each be asked for the whole of it.
    fn reckoned(self) -> Self {
        let hash = self.inside.then(|| self.path());
        Self { hash, ..self }
    }

    /// A hash of the names on the way to it: few places are asked for it.
    fn path(&self) -> u64 {
        if let Some(hash) = self.hash {
            return hash;
        }
        let Some((outer, name)) = self.within else {
            return 0;
        };
        let mut hash = DefaultHasher::new();
        outer.path().hash(&mut hash);
        match name {
            Name::Field(name) => name.hash(&mut hash),
            Name::Item(name) => name.to_string().hash(&mut hash),
        }
        hash.finish()
    }
}

/// The objects whose strings come in pieces.
const IN_PIECES: [&str; 3] = ["delta", "content_block", "logprobs"];

fn others<'a>(value: &'a Json<'_>, known: &[*const u8], place: Place<'_>, told: &mut Told<'a>) {
    match value {
        Json::Text(text) => {
            let text = text.as_ref();
            if text.is_empty() || known.binary_search(&text.as_ptr()).is_ok() {
            } else if !place.inside || (place.label && text.len() <= LABEL_BYTES) {
                told.labels.push(text);
            } else {
                told.pieces.push(Piece {
                    key: (place.index, "other", place.path()),
                    kind: Kind::Other,
                    text,
                });
            }
        }
        Json::List(items) => {
            let place = place.reckoned();
            for (nth, item) in items.iter().enumerate() {
                let name = item.count("index").unwrap_or(nth as u64);
                others(item, known, place.item(name), told);
            }
        }
        Json::Object(fields) => {
            let place = match value.count("index") {
                Some(index) if !place.inside => Place { index, ..place },
                _ => place,
            };
            let place = place.reckoned();
            for (name, field) in fields {
                others(field, known, place.field(name), told);
            }
        }
        Json::Null | Json::Count(_) | Json::Other => {}
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

impl<'a> Told<'a> {
    /// Adds a piece, if there are words.
    fn add(&mut self, key: Key, kind: Kind, text: Option<&'a Json<'_>>) {
        if let Some(text) = text.and_then(Json::text).filter(|text| !text.is_empty()) {
            self.pieces.push(Piece { key, kind, text });
        }
    }
}

fn openai<'a>(event: &'a Json<'_>) -> Told<'a> {
    let mut told = Told::default();
    for choice in event.list("choices") {
        let index = choice.count("index").unwrap_or(0);
        let delta = choice.get("delta").unwrap_or(&Json::Null);
        for name in WORDS {
            told.add((index, name, 0), Kind::Text, delta.get(name));
        }
        let transcript = delta.within("audio", "transcript");
        told.add((index, "transcript", 0), Kind::Text, transcript);
        // How calls were told before there could be several.
        let arguments = delta.within("function_call", "arguments");
        told.add((index, "function_call", 0), Kind::Call, arguments);
        for call in delta.list("tool_calls") {
            let nth = call.count("index").unwrap_or(0);
            let arguments = call.within("function", "arguments");
            told.add((index, "call", nth), Kind::Call, arguments);
            let input = call.within("custom", "input");
            told.add((index, "custom", nth), Kind::Call, input);
        }
        let finish = choice.get("finish_reason");
        if finish.is_some_and(|f| !matches!(f, Json::Null)) {
            told.ended.push(index);
        }
    }
    told
}

fn anthropic<'a>(event: &'a Json<'_>) -> Told<'a> {
    let mut told = Told::default();
    let index = event.count("index").unwrap_or(0);
    let mut add = |kind, name, below| told.add((index, name, 0), kind, event.within(below, name));
    match event.get("type").and_then(Json::text) {
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
        let text = event.to_string();
        let read = Json::of(&text).unwrap();
        let told = super::told(Protocol::OpenAi, &read);
        let keys: Vec<_> = told
            .pieces
            .iter()
            .map(|p| (p.key, p.kind, p.text))
            .collect();
        assert_eq!(
            keys,
            [
                ((1, "content", 0), Kind::Text, "a"),
                ((1, "call", 2), Kind::Call, "{"),
                ((0, "refusal", 0), Kind::Text, "b")
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
            let text = event.to_string();
            let read = Json::of(&text).unwrap();
            let told = super::told(Protocol::Anthropic, &read);
            let [piece] = told.pieces.as_slice() else {
                panic!("{event}")
            };
            assert_eq!((piece.key, piece.kind), ((3, name, 0), kind));
            assert_eq!(piece.text, "x");
        }
    }
}
