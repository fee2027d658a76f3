//! Checks arguments against the very schema that is published: one table, no drift.

use crate::json;
use clawdbot_domain::ToolSpec;
use serde_json::{Map, Value};

/// Why a proposed call is no call. The text is fit to be shown to a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCall {
    /// No such tool.
    #[error("there is no tool {given:?}{}", meant(nearest.as_deref()))]
    UnknownTool {
        /// What was asked for, at most 80 characters of it.
        given: String,
        /// The known name that is nearest to it.
        nearest: Option<String>,
    },
    /// The arguments are too long to be looked at.
    #[error("{tool}: the arguments are {given} bytes; at most {most} are taken")]
    TooLong {
        /// Which tool.
        tool: String,
        /// Their length.
        given: usize,
        /// The most.
        most: usize,
    },
    /// The arguments are not JSON, or JSON with a key twice or nested too deep.
    #[error("{tool}: the arguments are not one JSON object: {why}")]
    NotJson {
        /// Which tool.
        tool: String,
        /// What the parser said.
        why: String,
    },
    /// The arguments do not fit the schema.
    #[error("{tool}: {why}")]
    DoesNotFit {
        /// Which tool.
        tool: String,
        /// Which field, and what it must be.
        why: String,
    },
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

/// The arguments of a call, if they fit.
pub(crate) fn arguments(
    spec: &ToolSpec,
    text: &str,
    most: usize,
) -> Result<Map<String, Value>, BadCall> {
    let tool = || spec.name.to_string();
    if text.len() > most {
        let given = text.len();
        return Err(BadCall::TooLong {
            tool: tool(),
            given,
            most,
        });
    }
    let value = json::parse(text).map_err(|error| BadCall::NotJson {
        tool: tool(),
        why: error.to_string(),
    })?;
    fits(&value, &spec.schema, "").map_err(|why| BadCall::DoesNotFit { tool: tool(), why })?;
    match value {
        Value::Object(arguments) => Ok(arguments),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(BadCall::DoesNotFit {
                tool: tool(),
                why: "the arguments must be an object".to_owned(),
            })
        }
    }
}

/// Says of the value at `at` what it must be, when it is not. A schema that this cannot judge fits
/// nothing: a missing answer is a no.
fn fits(value: &Value, schema: &Value, at: &str) -> Result<(), String> {
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or("");
    match (kind, value) {
        ("object", Value::Object(given)) => object_fits(given, schema, at),
        ("array", Value::Array(items)) => {
            count_fits(items.len(), schema, "Items", "items", at)?;
            let of = schema.get("items").unwrap_or(&Value::Null);
            let mut items = items.iter().enumerate();
            items.try_for_each(|(n, item)| fits(item, of, &format!("{at}[{n}]")))
        }
        ("string", Value::String(text)) => {
            count_fits(text.chars().count(), schema, "Length", "characters", at)
        }
        ("integer", Value::Number(number)) => match number.as_i64() {
            Some(number) => range_fits(number, schema, at),
            None => Err(format!("{} must be a whole number", named(at))),
        },
        ("boolean", Value::Bool(_)) => Ok(()),
        (kind, _) => Err(format!("{} must be {}", named(at), article(kind))),
    }
}

fn object_fits(given: &Map<String, Value>, schema: &Value, at: &str) -> Result<(), String> {
    let none = Map::new();
    let known = schema.get("properties").and_then(Value::as_object);
    let known = known.unwrap_or(&none);
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !given.contains_key(name) {
            return Err(format!("{} is missing", named(&inside(at, name))));
        }
    }
    for (name, value) in given {
        let Some(schema) = known.get(name) else {
            let known: Vec<_> = known.keys().map(|known| format!("`{known}`")).collect();
            let shown: String = name.chars().take(80).collect();
            return Err(format!(
                "there is no field {shown:?}; the fields are {}",
                known.join(", ")
            ));
        };
        fits(value, schema, &inside(at, name))?;
    }
    Ok(())
}

fn count_fits(
    count: usize,
    schema: &Value,
    suffix: &str,
    unit: &str,
    at: &str,
) -> Result<(), String> {
    let bound = |which: &str| {
        let bound = schema.get(format!("{which}{suffix}"))?.as_u64()?;
        usize::try_from(bound).ok()
    };
    match (bound("min"), bound("max")) {
        (Some(least), _) if count < least => {
            Err(format!("{} needs at least {least} {unit}", named(at)))
        }
        (_, Some(most)) if count > most => Err(format!(
            "{} has {count} {unit}; at most {most} are taken",
            named(at)
        )),
        (_, _) => Ok(()),
    }
}

fn range_fits(number: i64, schema: &Value, at: &str) -> Result<(), String> {
    let bound = |which: &str| schema.get(which).and_then(Value::as_i64);
    match (bound("minimum"), bound("maximum")) {
        (Some(least), _) if number < least => {
            Err(format!("{} must be at least {least}", named(at)))
        }
        (_, Some(most)) if number > most => Err(format!("{} must be at most {most}", named(at))),
        (_, _) => Ok(()),
    }
}

fn named(at: &str) -> String {
    if at.is_empty() {
        "the arguments".to_owned()
    } else {
        format!("field `{at}`")
    }
}

fn inside(at: &str, name: &str) -> String {
    if at.is_empty() {
        name.to_owned()
    } else {
        format!("{at}.{name}")
    }
}

fn article(kind: &str) -> String {
    match kind {
        "object" | "array" | "integer" => format!("an {kind}"),
        "" => "something its schema does not say".to_owned(),
        kind => format!("a {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clawdbot_domain::{Effect, ToolName};
    use serde_json::json;

    fn spec() -> ToolSpec {
        ToolSpec {
            name: ToolName::parse("t").unwrap(),
            description: String::new(),
            effect: Effect::Read,
            schema: json!({
                "type": "object",
                "properties": {
                    "path": { "type": "string", "minLength": 1, "maxLength": 4 },
                    "n": { "type": "integer", "minimum": 1, "maximum": 9 },
                    "deep": { "type": "boolean" },
                    "argv": {
                        "type": "array", "minItems": 1, "maxItems": 2,
                        "items": { "type": "string" }
                    }
                },
                "required": ["path"],
                "additionalProperties": false
            }),
        }
    }

    #[test]
    fn arguments_that_fit_pass_unchanged() {
        let text = r#"{"path":"éüöä","n":9,"deep":false,"argv":["a","b"]}"#;
        let passed = Value::Object(arguments(&spec(), text, 1000).unwrap());
        assert_eq!(passed, serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn what_does_not_fit_is_told_by_field_and_remedy() {
        for (text, why) in [
            ("{}", "t: field `path` is missing"),
            ("[]", "t: the arguments must be an object"),
            ("null", "t: the arguments must be an object"),
            (r#"{"path":7}"#, "t: field `path` must be a string"),
            (r#"{"path":null}"#, "t: field `path` must be a string"),
            (
                r#"{"path":""}"#,
                "t: field `path` needs at least 1 characters",
            ),
            (
                r#"{"path":"abcde"}"#,
                "t: field `path` has 5 characters; at most 4 are taken",
            ),
            (r#"{"path":"a","n":0}"#, "t: field `n` must be at least 1"),
            (r#"{"path":"a","n":10}"#, "t: field `n` must be at most 9"),
            (
                r#"{"path":"a","n":1.5}"#,
                "t: field `n` must be a whole number",
            ),
            (
                r#"{"path":"a","n":99999999999999999999}"#,
                "t: field `n` must be a whole number",
            ),
            (r#"{"path":"a","n":"1"}"#, "t: field `n` must be an integer"),
            (
                r#"{"path":"a","deep":0}"#,
                "t: field `deep` must be a boolean",
            ),
            (
                r#"{"path":"a","argv":"ls"}"#,
                "t: field `argv` must be an array",
            ),
            (
                r#"{"path":"a","argv":["a",["b"]]}"#,
                "t: field `argv[1]` must be a string",
            ),
            (
                r#"{"path":"a","argv":[]}"#,
                "t: field `argv` needs at least 1 items",
            ),
            (
                r#"{"path":"a","mode":1}"#,
                r#"t: there is no field "mode"; the fields are `path`, `n`, `deep`, `argv`"#,
            ),
        ] {
            let error = arguments(&spec(), text, 1000).unwrap_err();
            assert_eq!(error.to_string(), why, "{text}");
        }
    }

    #[test]
    fn a_schema_that_cannot_be_judged_fits_nothing() {
        for schema in [
            json!({}),
            json!({"type": "thing"}),
            json!(null),
            json!(true),
        ] {
            assert!(fits(&json!({}), &schema, "").is_err(), "{schema}");
        }
    }

    #[test]
    fn arguments_that_are_too_long_are_not_even_parsed() {
        let text = format!(r#"{{"path":"{}"}}"#, "a".repeat(1000));
        let error = arguments(&spec(), &text, 1000).unwrap_err();
        assert_eq!(
            error,
            BadCall::TooLong {
                tool: "t".into(),
                given: 1011,
                most: 1000
            }
        );
    }
}
