//! Strict JSON: no key twice, no deep nests. What two readers could read differently is refused.

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// How deep arguments may nest.
const MOST_DEPTH: usize = 16;

/// Parses one value and nothing after it.
pub(crate) fn parse(text: &str) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Depth(MOST_DEPTH).deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// How many levels are left.
#[derive(Clone, Copy)]
struct Depth(usize);

impl Depth {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.0.checked_sub(1) {
            Some(left) => Ok(Self(left)),
            None => Err(E::custom(format_args!(
                "nested deeper than {MOST_DEPTH} levels"
            ))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        Deserialize::deserialize(reader)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(deeper)? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut all = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(deeper)?;
            if all.contains_key(&key) {
                return Err(A::Error::custom(format_args!("field {key:?} twice")));
            }
            all.insert(key, value);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_read_as_it_stands() {
        let text = r#"{"a":[1,-2,2.5,true,null,"x"],"b":{"c":"\u00e9"}}"#;
        assert_eq!(
            parse(text).unwrap(),
            json!({"a": [1, -2, 2.5, true, null, "x"], "b": {"c": "é"}})
        );
    }

    #[test]
    fn a_key_twice_is_refused_even_when_spelled_differently() {
        for text in [
            r#"{"path":"a","path":"b"}"#,
            r#"{"path":"a","\u0070ath":"b"}"#,
            r#"{"x":{"y":1,"y":1}}"#,
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("twice"), "{text}: {error}");
        }
    }

    #[test]
    fn cut_trailing_and_deep_texts_are_refused() {
        let deep = format!("{}{}", "[".repeat(17), "]".repeat(17));
        for text in [
            "",
            " ",
            "{",
            r#"{"a":1"#,
            "{}{}",
            "{} x",
            "NaN",
            "1e999",
            &deep,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&format!("{}{}", "[".repeat(16), "]".repeat(16))).is_ok());
    }
}
