//! The text of a file, taken apart: what is JSON, what is a key, and where each value stands.

use crate::error::{ConfigError, ConfigErrors, Place};
use crate::keys::Key;
use crate::table::KEYS;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;

/// Larger than any real configuration; a bigger file is not one.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// A file that is JSON. It may still hold faults.
pub(crate) struct Document {
    /// The whole file.
    pub(crate) root: Map<String, Value>,
    /// Each value of a known key, not yet checked against its type.
    pub(crate) leaves: Vec<Leaf>,
    /// Unknown and repeated keys, and groups that are no objects.
    pub(crate) faults: Vec<ConfigError>,
    /// A key stands twice, so nobody can say what the file means.
    pub(crate) ambiguous: bool,
}

/// The value of one key, and where it stands.
pub(crate) struct Leaf {
    pub(crate) key: &'static Key,
    pub(crate) value: Value,
    pub(crate) place: Place,
}

impl Document {
    /// Takes a file apart; an error when it is no JSON object at all.
    pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Self, ConfigErrors> {
        let text = readable(bytes, path)?;
        let root = match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(root)) => root,
            Ok(_) => return Err(whole(path, "must be a JSON object: { … }").into()),
            Err(error) => return Err(syntax(&error, path).into()),
        };
        let top = serde_json::from_str::<&RawValue>(text).map_err(|e| syntax(&e, path))?;
        let mut walk = Walk {
            text,
            path,
            document: Self {
                root,
                leaves: Vec::new(),
                faults: Vec::new(),
                ambiguous: false,
            },
        };
        walk.group("", top).map_err(|e| syntax(&e, path))?;
        Ok(walk.document)
    }
}

/// Tells apart the ways in which a file is no text, because each has another cause.
fn readable<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a str, ConfigErrors> {
    const CUT: &str = "a write was cut off, perhaps by a crash: restore the file, or remove it to start from the defaults";
    if bytes.is_empty() {
        return Err(whole(path, "is empty, not even {}").remedy(CUT).into());
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(whole(path, "is larger than 1 MiB").into());
    }
    if bytes.contains(&0) {
        return Err(whole(path, "holds NUL bytes").remedy(CUT).into());
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(whole(path, "starts with a byte-order mark")
            .remedy("save it as plain UTF-8")
            .into());
    }
    std::str::from_utf8(bytes).map_err(|e| {
        let (line, column) = position(bytes, e.valid_up_to());
        let place = Place::At {
            path: path.to_owned(),
            line,
            column,
        };
        ConfigError::new(place, "is not UTF-8")
            .remedy("save it as plain UTF-8")
            .into()
    })
}

fn whole(path: &Path, problem: &str) -> ConfigError {
    ConfigError::new(Place::File(path.to_owned()), problem)
}

fn syntax(error: &serde_json::Error, path: &Path) -> ConfigError {
    let place = Place::At {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
    };
    let words = error.to_string();
    // serde_json ends with the position, which the place says already.
    let words = words
        .rsplit_once(" at line ")
        .map_or(words.as_str(), |(words, _)| words);
    ConfigError::new(place, format!("is not valid JSON: {words}"))
}

fn position(bytes: &[u8], offset: usize) -> (usize, usize) {
    let before = bytes.get(..offset).unwrap_or(bytes);
    let mut lines = before.split(|b| *b == b'\n');
    (
        lines.clone().count(),
        lines.next_back().map_or(0, <[u8]>::len) + 1,
    )
}

struct Walk<'a> {
    text: &'a str,
    path: &'a Path,
    document: Document,
}

impl<'a> Walk<'a> {
    fn group(&mut self, name: &str, raw: &'a RawValue) -> serde_json::Result<()> {
        let Entries(entries) = serde_json::from_str(raw.get())?;
        let mut seen = BTreeSet::new();
        for (part, value) in entries {
            let full = if name.is_empty() {
                part.clone()
            } else {
                format!("{name}.{part}")
            };
            let dotted = part.contains('.');
            if !seen.insert(part) {
                self.document.ambiguous = true;
                let error = ConfigError::new(self.place(value), "stands here a second time");
                self.document
                    .faults
                    .push(error.key(&full).remedy("keep one of the two"));
            } else if dotted {
                let error = ConfigError::new(self.place(value), "a name in the file has no '.'");
                let nested = "write it nested: {\"gateway\": {\"port\": …}}";
                self.document.faults.push(error.key(&full).remedy(nested));
            } else {
                self.entry(&full, value)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, full: &str, value: &'a RawValue) -> serde_json::Result<()> {
        let place = self.place(value);
        if let Some(key) = Key::find(full) {
            if let Some(name) = repeated(value) {
                self.document.ambiguous = true;
                let problem = format!("holds {name:?} twice in one object");
                let error = ConfigError::new(place, problem).key(full);
                self.document
                    .faults
                    .push(error.remedy("keep one of the two"));
                return Ok(());
            }
            let value = serde_json::from_str(value.get())?;
            self.document.leaves.push(Leaf { key, value, place });
        } else if !is_group(full) {
            self.document.faults.push(unknown(full, place));
        } else if value.get().starts_with('{') {
            self.group(full, value)?;
        } else {
            let error = ConfigError::new(place, "is a group of keys: must be an object { … }");
            self.document
                .faults
                .push(error.key(full).value(value.get()));
        }
        Ok(())
    }

    /// A raw value is a slice of the text it was read from: where it starts is where it stands.
    fn place(&self, value: &RawValue) -> Place {
        let offset = (value.get().as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        let (line, column) = position(self.text.as_bytes(), offset);
        Place::At {
            path: self.path.to_owned(),
            line,
            column,
        }
    }
}

/// A name that stands twice in one object, anywhere inside: of two such values the last one counts, and whoever
/// reads the file may have read the first.
pub(crate) fn repeated(raw: &RawValue) -> Option<String> {
    let text = raw.get();
    if text.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        return items.into_iter().find_map(repeated);
    }
    if !text.starts_with('{') {
        return None;
    }
    let Entries(entries) = serde_json::from_str(text).ok()?;
    let mut seen = BTreeSet::new();
    entries.into_iter().find_map(|(name, value)| {
        let again = seen.contains(&name).then(|| name.clone());
        seen.insert(name);
        again.or_else(|| repeated(value))
    })
}

/// True for the part of a key before one of its dots.
pub(crate) fn is_group(name: &str) -> bool {
    let below = |key: &Key| {
        key.name()
            .strip_prefix(name)
            .is_some_and(|r| r.starts_with('.'))
    };
    KEYS.iter().any(below)
}

/// An unknown key, with what was probably meant. A typo must never leave a control off.
pub(crate) fn unknown(name: &str, place: Place) -> ConfigError {
    let error = ConfigError::new(place, "there is no such key").key(name);
    let last = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
    if [
        "apikey",
        "api_key",
        "token",
        "secret",
        "password",
        "credential",
    ]
    .iter()
    .any(|s| last.contains(s))
    {
        return error.remedy(
            "secrets are never kept in the configuration: clawdbot models auth paste-token --provider PROVIDER",
        );
    }
    match Key::nearest(name) {
        Some(near) => error.remedy(format!("is {near} meant?")),
        None => error.remedy("`clawdbot config list` shows every key"),
    }
}

/// The entries of an object in their order, a repeated name as often as it stands there.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(All)
    }
}
