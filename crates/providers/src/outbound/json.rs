//! JSON as it stands in an answer: read in one pass, texts lent from its bytes and not copied.

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// A value, as far as anyone asks for it.
#[derive(Debug)]
pub(super) enum Json<'a> {
    Null,
    Text(Cow<'a, str>),
    Count(u64),
    List(Vec<Self>),
    /// The fields in the order of their names, each once.
    Object(Vec<Field<'a>>),
    /// True, false, and numbers that count nothing.
    Other,
}

/// A field: its name and its value.
type Field<'a> = (Cow<'a, str>, Json<'a>);

/// What begins the names that `serde_json` gives to its own fields, and reads as something else.
const PRIVATE: &str = "$serde_json::private::";

impl<'a> Json<'a> {
    /// Reads what `serde_json` reads as a value of its own, and refuses what that refuses.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// A field.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(fields) = self else {
            return None;
        };
        let nth = fields.binary_search_by(|(key, _)| key.as_ref().cmp(name));
        fields.get(nth.ok()?).map(|(_, value)| value)
    }

    /// A field of a field.
    pub(super) fn within(&self, outer: &str, name: &str) -> Option<&Self> {
        self.get(outer)?.get(name)
    }

    /// The items of a field that is a list.
    pub(super) fn list(&self, name: &str) -> &[Self] {
        match self.get(name) {
            Some(Self::List(items)) => items,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// A field that counts.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Some(Self::Count(count)) => Some(*count),
            _ => None,
        }
    }

    /// Puts other words into a value that was read from the same answer: each is told by where the text
    /// it replaces begins, for the same may be said twice. An empty text is never changed.
    pub(super) fn write_anew(&self, value: &mut Value, words: &HashMap<*const u8, String>) {
        match (self, value) {
            (Self::Text(text), value) if !text.is_empty() => {
                if let Some(now) = words.get(&text.as_ptr()) {
                    *value = Value::String(now.clone());
                }
            }
            (Self::List(items), Value::Array(values)) => {
                for (item, value) in items.iter().zip(values) {
                    item.write_anew(value, words);
                }
            }
            (Self::Object(fields), Value::Object(values)) => {
                for (name, field) in fields {
                    if let Some(value) = values.get_mut(name.as_ref()) {
                        field.write_anew(value, words);
                    }
                }
            }
            _ => {}
        }
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Json<'de>, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<Json<'de>, E> {
        Ok(Json::Count(count))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Json<'de>, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Json<'de>, E> {
        Ok(Json::Other)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Json<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Json<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some(Key(key)) = from.next_key()? {
            if key.starts_with(PRIVATE) {
                return Err(A::Error::custom("a field that is read in two ways"));
            }
            fields.push((key, from.next_value()?));
        }
        // Of two with one name the last counts, as it does for those who read the answer next. Sorting
        // is stable, and unlike a look through all for each it stays quick however many there are.
        fields.sort_by(|(one, _): &Field<'_>, (other, _)| one.cmp(other));
        fields.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            if is_same {
                std::mem::swap(&mut later.1, &mut kept.1);
            }
            is_same
        });
        Ok(Json::Object(fields))
    }
}

/// `Cow` by itself is always copied.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_same(ours: &Json<'_>, theirs: &Value) -> bool {
        match (ours, theirs) {
            (Json::Null, Value::Null) | (Json::Other, Value::Bool(_)) => true,
            (Json::Text(ours), Value::String(theirs)) => ours == theirs,
            (Json::Count(ours), Value::Number(theirs)) => theirs.as_u64() == Some(*ours),
            (Json::Other, Value::Number(theirs)) => theirs.as_u64().is_none(),
            (Json::List(ours), Value::Array(theirs)) => {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(o, t)| is_same(o, t))
            }
            (Json::Object(fields), Value::Object(theirs)) => {
                let field = |(key, value): (&String, &Value)| {
                    ours.get(key).is_some_and(|ours| is_same(ours, value))
                };
                fields.len() == theirs.len() && theirs.iter().all(field)
            }
            _ => false,
        }
    }

    #[test]
    fn of_two_fields_with_one_name_the_last_counts() {
        let read = Json::of(r#"{"a": 1, "\u0061": "\n", "b": [-1, 1.0, {}]}"#).unwrap();
        assert_eq!(read.get("a").and_then(Json::text), Some("\n"));
        assert_eq!((read.count("a"), read.list("b").len()), (None, 3));
        let Json::Object(fields) = &read else {
            panic!("{read:?}")
        };
        assert_eq!(fields.len(), 2);
    }

    #[test]
    fn what_others_refuse_or_read_in_two_ways_is_refused() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for text in [
            "NaN",
            "[1e999]",
            "[-1e999]",
            r#"["\ud800"]"#,
            r#"{"\udfff": 1}"#,
            "\u{feff}{}",
            "{} {}",
            "[1,]",
            "[\"\n\"]",
            "",
            &deep,
            r#"{"$serde_json::private::RawValue": 5}"#,
        ] {
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
            assert!(Json::of(text).is_none(), "{text}");
        }
        assert!(Json::of(r#"{"$serde_json::private::RawValue": "[\"x\"]"}"#).is_none());
    }

    #[test]
    fn words_are_changed_where_they_stand_and_not_where_another_says_the_same() {
        let text = r#"{"n": 1.50, "a": "z", "b": ["x", {"a": "x"}], "c": "", "a": "\u0078"}"#;
        let mut value: Value = serde_json::from_str(text).unwrap();
        let read = Json::of(text).unwrap();
        let [Json::Text(_), inner] = read.list("b") else {
            panic!("{read:?}")
        };
        let at = |json: &Json<'_>| json.get("a").and_then(Json::text).unwrap().as_ptr();
        let words = [(at(&read), "1".to_owned()), (at(inner), "2".to_owned())];
        read.write_anew(&mut value, &words.into());
        let now = r#"{"n":1.5,"a":"1","b":["x",{"a":"2"}],"c":""}"#;
        assert_eq!(value.to_string(), now);
    }

    proptest! {
        #[test]
        fn it_reads_what_everybody_reads(text in "([\\[{]\"[ab\\\\nu0]{0,4}\"[:,]([0-9.e-]{0,3}|1e999|NaN|null|true|\"\\\\ud83d(\\\\ude00)?\"|\"x\")[,}\\]]?){0,4}[}\\]]{0,4}") {
            let (ours, theirs) = (Json::of(&text), serde_json::from_str::<Value>(&text).ok());
            prop_assert_eq!(ours.is_some(), theirs.is_some(), "{}", text);
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                prop_assert!(is_same(&ours, &theirs), "{}", text);
            }
        }

        #[test]
        fn it_reads_an_object_as_everybody_does(fields in prop::collection::vec((
            prop::sample::select(vec!["a", "\\u0061", "b", "", "$"]),
            prop::sample::select(vec!["1", "-0", "\"x\"", "\"\\u0079\"", "{\"a\":1,\"a\":\"y\"}", "[null]", "1e3", "1e999", "\"\\ud800\""]),
        ), 0..6)) {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let text = format!("{{{}}}", fields.join(","));
            let (ours, theirs) = (Json::of(&text), serde_json::from_str::<Value>(&text).ok());
            prop_assert_eq!(ours.is_some(), theirs.is_some(), "{}", text);
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                prop_assert!(is_same(&ours, &theirs), "{}", text);
            }
        }

        #[test]
        fn it_reads_honest_json(texts in prop::collection::vec("\\PC{0,6}", 1..6), numbers in any::<(u64, i64, f64)>()) {
            let value = serde_json::json!({"texts": texts, &texts[0]: {"n": [numbers.0, numbers.1, numbers.2, null]}});
            let text = value.to_string();
            prop_assert!(is_same(&Json::of(&text).unwrap(), &serde_json::from_str(&text).unwrap()));
        }
    }
}
