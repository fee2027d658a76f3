//! One pass over the JSON of a body.
//!
//! A visitor of our own and not `serde_json::Value`: it borrows strings from the bytes, knows where
//! the model stands, and refuses what two parsers could read in two ways. A duplicate key is the
//! classic: the guard would look at one value and the provider act on the other.

use super::payload::{self, Payload};
use super::refusal::BodyRefusal;
use crate::detect;
use clawdbot_domain::Channel;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::HashSet, fmt, fmt::Write as _, ops::Range};

/// How deep a body may nest. Schemas of tools are the deepest honest thing, at some twenty.
const MAX_DEPTH: usize = 64;

/// The longest string under a label key that is still believed to be a label.
const LABEL_BYTES: usize = 64;

/// From how many keys on an object is checked for duplicates by hash.
const FEW_KEYS: usize = 16;

/// A key or a label of this length or more may carry words for a model.
const WORDY_BYTES: usize = 16;

/// A string a model would see.
#[derive(Debug)]
pub(super) struct Text<'a> {
    pub(super) words: Cow<'a, str>,
    pub(super) channel: Channel,
    /// Which message it stands in; texts outside the conversation have none.
    pub(super) message: Option<usize>,
    /// The channel comes from a `tool_result` block, and the message's role does not change it.
    fixed: bool,
    /// It stands under `data`; whether it is a payload is known once its object is whole.
    data: bool,
}

/// What a walk found.
#[derive(Debug)]
pub(super) struct Walked<'a> {
    pub(super) texts: Vec<Text<'a>>,
    pub(super) model: String,
    pub(super) model_at: Range<usize>,
    pub(super) stream: bool,
}

/// Walks a whole body.
pub(super) fn walk(input: &str) -> Result<Walked<'_>, BodyRefusal> {
    if input.starts_with('\u{feff}') {
        let why = "it begins with a byte order mark; JSON has none";
        return Err(BodyRefusal::at(b"", "$".to_owned(), why));
    }
    let mut walk = Walk {
        input,
        texts: Vec::new(),
        path: Vec::new(),
        message: None,
        model: None,
        stream: false,
        has_messages: false,
    };
    let mut json = serde_json::Deserializer::from_str(input);
    let node = Node {
        walk: &mut walk,
        place: Place::Root,
    };
    let parsed = node.deserialize(&mut json).and_then(|_| json.end());
    parsed.map_err(|e| BodyRefusal::not_json(&e, shown(&walk.path)))?;
    let missing = |what| BodyRefusal::at(input.as_bytes(), "$".to_owned(), what);
    if !walk.has_messages {
        return Err(missing("\"messages\" is missing: an array of messages"));
    }
    let (model, model_at) = walk
        .model
        .ok_or_else(|| missing("\"model\" is missing: a string"))?;
    Ok(Walked {
        texts: walk.texts,
        model,
        model_at,
        stream: walk.stream,
    })
}

struct Walk<'a> {
    input: &'a str,
    texts: Vec<Text<'a>>,
    /// Where the walk is. On an error nothing is taken off, so this is where it happened.
    path: Vec<Step<'a>>,
    message: Option<usize>,
    model: Option<(String, Range<usize>)>,
    stream: bool,
    has_messages: bool,
}

#[derive(Debug, Clone)]
enum Step<'a> {
    Key(Cow<'a, str>),
    Item(usize),
}

/// What is expected of a value, by where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Messages,
    Message,
    Stream,
    /// Under `role`, `type`, an id: a short word, not text.
    Label,
    /// Under `data`.
    Data,
    /// Under `url` and the like, where a data URL is a payload.
    Url,
    Any,
}

impl Place {
    fn under(self, key: &str) -> Self {
        match (self, key) {
            (Self::Root, "messages") => Self::Messages,
            (Self::Root, "stream") => Self::Stream,
            (_, "role" | "type" | "id" | "tool_use_id" | "tool_call_id" | "media_type") => {
                Self::Label
            }
            (_, "data") => Self::Data,
            (_, "url" | "image_url" | "file_data") => Self::Url,
            _ => Self::Any,
        }
    }
}

struct Node<'w, 'a> {
    walk: &'w mut Walk<'a>,
    place: Place,
}

/// A string under a label key is handed up, because `role` and `type` decide about their siblings.
type Label<'a> = Option<Cow<'a, str>>;

impl<'a> DeserializeSeed<'a> for Node<'_, 'a> {
    type Value = Label<'a>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Label<'a>, D::Error> {
        if self.walk.path.len() > MAX_DEPTH {
            return Err(D::Error::custom(format_args!(
                "it nests deeper than {MAX_DEPTH} levels"
            )));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'a> Node<'_, 'a> {
    fn text<E: serde::de::Error>(self, text: Cow<'a, str>) -> Result<Label<'a>, E> {
        match self.place {
            Place::Label if text.len() <= LABEL_BYTES => {
                if text.len() >= WORDY_BYTES && detect::is_wordy(&text) {
                    self.walk.keep(text.clone(), false);
                }
                return Ok(Some(text));
            }
            Place::Root | Place::Messages | Place::Message | Place::Stream => {
                return Err(self.unexpected());
            }
            Place::Label | Place::Url | Place::Data | Place::Any => {}
        }
        let data = self.place == Place::Data;
        let url = (self.place == Place::Url).then(|| payload::of_url(&text));
        let inside = url
            .flatten()
            .map(|(media, letters)| payload::of(media, letters));
        match inside {
            Some(Payload::Opaque) => {}
            Some(Payload::Words(words)) => self.walk.keep(Cow::Owned(words), false),
            Some(Payload::Text) | None => self.walk.keep(text, data),
        }
        Ok(None)
    }

    fn scalar<E: serde::de::Error>(self) -> Result<Label<'a>, E> {
        match self.place {
            Place::Root | Place::Messages | Place::Message | Place::Stream => {
                Err(self.unexpected())
            }
            Place::Label | Place::Url | Place::Data | Place::Any => Ok(None),
        }
    }

    fn unexpected<E: serde::de::Error>(&self) -> E {
        E::custom(match self.place {
            Place::Root => "the body must be an object",
            Place::Messages => "\"messages\" must be an array of messages",
            Place::Message => "each message must be an object",
            Place::Stream => "\"stream\" must be true or false",
            Place::Label | Place::Data | Place::Url | Place::Any => "unexpected value",
        })
    }
}

impl<'a> Visitor<'a> for Node<'_, 'a> {
    type Value = Label<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<Label<'a>, E> {
        if self.place == Place::Stream {
            self.walk.stream = on;
            return Ok(None);
        }
        self.scalar()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Label<'a>, E> {
        // `"stream": null` is how some clients leave it out.
        if self.place == Place::Stream {
            return Ok(None);
        }
        self.scalar()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Label<'a>, E> {
        self.scalar()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Label<'a>, E> {
        self.scalar()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Label<'a>, E> {
        self.scalar()
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'a str) -> Result<Label<'a>, E> {
        self.text(Cow::Borrowed(text))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Label<'a>, E> {
        self.text(Cow::Owned(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<Label<'a>, A::Error> {
        let inner = match self.place {
            Place::Messages => Place::Message,
            Place::Root | Place::Message | Place::Stream => return Err(self.unexpected()),
            Place::Label | Place::Data | Place::Url | Place::Any => Place::Any,
        };
        let Self { walk, place } = self;
        for at in 0.. {
            walk.path.push(Step::Item(at));
            if place == Place::Messages {
                walk.message = Some(at);
            }
            let item = items.next_element_seed(Node { walk, place: inner })?;
            walk.path.pop();
            if item.is_none() {
                break;
            }
        }
        if place == Place::Messages {
            walk.message = None;
        }
        Ok(None)
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Label<'a>, A::Error> {
        if matches!(self.place, Place::Messages | Place::Stream) {
            return Err(self.unexpected());
        }
        let Self { walk, place } = self;
        let first = walk.texts.len();
        let (mut role, mut kind, mut media) = (None, None, None);
        let mut keys = Keys::default();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            walk.path.push(Step::Key(key.clone()));
            if !keys.add(key.clone()) {
                return Err(A::Error::custom("the key appears twice in one object"));
            }
            let inner = place.under(&key);
            if place == Place::Root {
                walk.root_key::<A::Error>(&key)?;
            } else if place == Place::Message {
                one_spelling::<A::Error>(&key, &["role", "content"])?;
            }
            let before = walk.texts.len();
            if place == Place::Root && key == "model" {
                walk.take_model(map.next_value::<&'a RawValue>()?)?;
            } else {
                let label = map.next_value_seed(Node { walk, place: inner })?;
                match key.as_ref() {
                    "role" => role = label,
                    "type" => kind = label,
                    "media_type" => media = label,
                    _ => {}
                }
            }
            if place == Place::Root && matches!(key.as_ref(), "tools" | "functions") {
                walk.mark(before, Channel::ToolDescription, false);
            }
            if key.len() >= WORDY_BYTES {
                walk.keep(key, false);
            }
            walk.path.pop();
        }
        let label = Labels {
            role: role.as_deref(),
            kind: kind.as_deref(),
            media: media.as_deref(),
        };
        walk.close_object(place, first, label);
        Ok(None)
    }
}

impl<'a> Walk<'a> {
    fn keep(&mut self, text: Cow<'a, str>, data: bool) {
        if !text.is_empty() {
            self.texts.push(Text {
                words: text,
                channel: Channel::User,
                message: self.message,
                fixed: false,
                data,
            });
        }
    }

    fn root_key<E: serde::de::Error>(&mut self, key: &str) -> Result<(), E> {
        one_spelling(key, &["model", "messages", "stream", "system", "tools"])?;
        self.has_messages |= key == "messages";
        Ok(())
    }

    fn take_model<E: serde::de::Error>(&mut self, raw: &'a RawValue) -> Result<(), E> {
        let quoted = raw.get();
        let model: String =
            serde_json::from_str(quoted).map_err(|_| E::custom("\"model\" must be a string"))?;
        // The raw value is a part of the input, so the difference of their addresses is its offset.
        let start = quoted.as_ptr().addr() - self.input.as_ptr().addr();
        self.model = Some((model, start..start + quoted.len()));
        Ok(())
    }

    fn mark(&mut self, from: usize, channel: Channel, fix: bool) {
        for text in self.texts.iter_mut().skip(from).filter(|t| !t.fixed) {
            text.channel = channel;
            text.fixed = fix;
        }
    }

    /// An object is whole: its `type` and `role` say what the texts in it are.
    fn close_object(&mut self, place: Place, first: usize, labels: Labels<'_>) {
        let Labels { role, kind, media } = labels;
        if let Some("base64" | "redacted_thinking") = kind {
            // What a provider encrypted is read by nobody else.
            let media = match kind {
                Some("base64") => media.unwrap_or_default(),
                _ => "image/",
            };
            for mut text in self.texts.split_off(first) {
                if text.data {
                    match payload::of(media, &text.words) {
                        Payload::Opaque => continue,
                        Payload::Words(words) => text.words = Cow::Owned(words),
                        Payload::Text => {}
                    }
                }
                self.texts.push(text);
            }
        }
        for text in self.texts.iter_mut().skip(first) {
            text.data = false;
        }
        if self.message.is_none() {
            return;
        }
        if let Some("tool_result" | "web_search_tool_result" | "function_call_output") = kind {
            self.mark(first, Channel::Tool, true);
        }
        if place == Place::Message {
            let channel = match role {
                Some("assistant") => Channel::Model,
                Some("tool" | "function") => Channel::Tool,
                // A role nobody knows is judged like a person: that is the stricter consequence.
                _ => Channel::User,
            };
            self.mark(first, channel, true);
        }
    }
}

/// Some providers read keys without regard to case, so a `Model` beside the `model` would be a second
/// reading of the body.
fn one_spelling<E: serde::de::Error>(key: &str, known: &[&str]) -> Result<(), E> {
    match known
        .iter()
        .find(|known| key != **known && key.eq_ignore_ascii_case(known))
    {
        None => Ok(()),
        Some(known) => Err(E::custom(format_args!(
            "the key differs from \"{known}\" in case only"
        ))),
    }
}

/// What an object says of itself.
#[derive(Clone, Copy)]
struct Labels<'l> {
    role: Option<&'l str>,
    kind: Option<&'l str>,
    media: Option<&'l str>,
}

/// The keys of one object.
#[derive(Default)]
struct Keys<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Keys<'a> {
    /// False when it was there.
    fn add(&mut self, key: Cow<'a, str>) -> bool {
        if self.few.contains(&key) {
            return false;
        }
        if self.few.len() < FEW_KEYS {
            self.few.push(key);
            return true;
        }
        self.many.insert(key)
    }
}

struct KeySeed;

impl<'a> DeserializeSeed<'a> for KeySeed {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for KeySeed {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, key: &'a str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

fn shown(path: &[Step<'_>]) -> String {
    let mut out = String::from("$");
    for step in path {
        match step {
            Step::Key(key) => {
                let short: String = key.chars().take(40).flat_map(char::escape_debug).collect();
                out.push('.');
                out.push_str(&short);
            }
            // Writing to a string cannot fail.
            Step::Item(at) => drop(write!(out, "[{at}]")),
        }
    }
    out
}
