//! A tool, and a call of it.

use crate::TokenId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{fmt, sync::Arc};

/// The name of a tool: `[a-z][a-z0-9_]*`, at most 64 bytes. `server__tool` names an MCP tool.
///
/// Parsed once at the door; inside, a `ToolName` is simply right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolName(Arc<str>);

/// Why a text is no tool name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a tool name: lower-case letters, digits and '_', starting with a letter, at most 64"
)]
pub struct BadToolName(String);

impl ToolName {
    /// Parses a tool name.
    pub fn parse(text: &str) -> Result<Self, BadToolName> {
        let first_is_letter = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        let rest_is_word = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if first_is_letter && rest_is_word && text.len() <= 64 {
            Ok(Self(text.into()))
        } else {
            // The name comes from a model or a client: show a bounded part of it.
            Err(BadToolName(text.chars().take(80).collect()))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ToolName {
    type Error = BadToolName;

    fn try_from(text: String) -> Result<Self, BadToolName> {
        Self::parse(&text)
    }
}

impl From<ToolName> for String {
    fn from(name: ToolName) -> Self {
        name.0.as_ref().to_owned()
    }
}

/// What a tool does to the world, from harmless to far-reaching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Reads inside the workspace.
    Read,
    /// Changes files in the workspace.
    Write,
    /// Runs a program.
    Execute,
    /// Reaches the network.
    Network,
}

impl Effect {
    /// The word shown to people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Execute => "execute",
            Self::Network => "network",
        }
    }

    /// True when a call leaves something behind or sends something out.
    pub const fn changes_state(self) -> bool {
        !matches!(self, Self::Read)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a tool is: shown to the model, to people, and used to validate arguments.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolSpec {
    /// Its name.
    pub name: ToolName,
    /// One paragraph for the model.
    pub description: String,
    /// What a call does to the world.
    pub effect: Effect,
    /// JSON Schema of the arguments object.
    #[serde(rename = "input_schema")]
    pub schema: Value,
}

/// One call of a tool, complete and valid against the tool's schema.
///
/// Only the toolbox's validation makes these from what a model or client proposed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolCall {
    /// The caller's id of this call; echoed in the result.
    pub id: String,
    /// Which tool.
    pub name: ToolName,
    /// What it does to the world; copied from its spec.
    pub effect: Effect,
    /// The arguments, an object.
    pub arguments: Map<String, Value>,
}

impl ToolCall {
    /// The arguments as canonical JSON (keys sorted), so that equal arguments have one text and one hash.
    pub fn canonical_arguments(&self) -> String {
        canonical(&self.arguments)
    }

    /// SHA-256 of [`canonical_arguments`](Self::canonical_arguments), in hex: what an approval binds.
    pub fn arguments_sha256(&self) -> String {
        sha256_hex(self.canonical_arguments().as_bytes())
    }
}

/// A call that a person said yes to for good: this tool, with these arguments, of this token.
///
/// It names its token, and so ends with it: rotated, revoked or expired, 90 days by default.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovedCall {
    /// Of which tool.
    pub tool: ToolName,
    /// The whole arguments. No part of them is a pattern.
    pub arguments: Map<String, Value>,
    /// Whose calls.
    pub token: TokenId,
}

impl ApprovedCall {
    /// Of arguments as text; none when that is no JSON object.
    pub fn of_text(tool: &ToolName, arguments: &str, token: &TokenId) -> Option<Self> {
        Some(Self {
            tool: tool.clone(),
            arguments: serde_json::from_str(arguments).ok()?,
            token: token.clone(),
        })
    }

    /// Whether it is for this call. Arguments are compared as canonical text: `1` is not `1.0`.
    pub fn is_for(&self, token: &TokenId, tool: &ToolName, arguments: &Map<String, Value>) -> bool {
        self.token == *token
            && self.tool == *tool
            && canonical(&self.arguments) == canonical(arguments)
    }

    /// The arguments as canonical JSON, like a call's.
    pub fn canonical_arguments(&self) -> String {
        canonical(&self.arguments)
    }

    /// As people write it, keys sorted.
    pub fn to_json(&self) -> Value {
        let mut entry = Map::new();
        entry.insert("arguments".into(), sorted(&self.arguments));
        entry.insert("token".into(), self.token.as_str().into());
        entry.insert("tool".into(), self.tool.as_str().into());
        Value::Object(entry)
    }

    /// A short name to tell it by.
    pub fn id(&self) -> String {
        let mut hash = sha256_hex(self.to_json().to_string().as_bytes());
        hash.truncate(12);
        hash
    }
}

/// Canonical JSON: keys sorted on every level.
fn canonical(arguments: &Map<String, Value>) -> String {
    sorted(arguments).to_string()
}

fn sorted(map: &Map<String, Value>) -> Value {
    let mut keys: Vec<_> = map.iter().collect();
    keys.sort_by(|a, b| a.0.cmp(b.0));
    let entries = keys.into_iter().map(|(k, v)| (k.clone(), sorted_value(v)));
    Value::Object(entries.collect())
}

fn sorted_value(value: &Value) -> Value {
    match value {
        Value::Object(map) => sorted(map),
        Value::Array(items) => Value::Array(items.iter().map(sorted_value).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// SHA-256 in lower-case hex: how texts and arguments stand in records.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    hex(&Sha256::digest(bytes))
}

/// Bytes in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_name_is_parsed_or_refused() {
        for good in ["ls", "read_file", "server__tool", "a1"] {
            assert_eq!(
                ToolName::parse(good).map(|n| n.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in [
            "",
            "Read",
            "../x",
            "read file",
            "1a",
            "a-b",
            "é",
            &"a".repeat(65),
        ] {
            assert!(ToolName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn equal_arguments_have_one_hash_whatever_their_order() {
        let call = |text: &str| ToolCall {
            id: "1".into(),
            name: ToolName::parse("read_file").unwrap(),
            effect: Effect::Read,
            arguments: serde_json::from_str(text).unwrap(),
        };
        let (a, b) = (
            call(r#"{"a":1,"b":{"d":2,"c":3}}"#),
            call(r#"{"b":{"c":3,"d":2},"a":1}"#),
        );
        assert_eq!(a.canonical_arguments(), r#"{"a":1,"b":{"c":3,"d":2}}"#);
        assert_eq!(a.arguments_sha256(), b.arguments_sha256());
    }

    #[test]
    fn a_call_approved_for_good_is_that_call_and_none_that_looks_like_it() {
        let arguments = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let (token, tool) = (TokenId::new("t1"), ToolName::parse("write_file").unwrap());
        let approved = ApprovedCall {
            tool: tool.clone(),
            arguments: arguments(r#"{"a":"x","n":1,"in":{"b":2,"a":[1]}}"#),
            token: token.clone(),
        };
        let other_order = arguments(r#"{"in":{"a":[1],"b":2},"n":1,"a":"x"}"#);
        assert!(approved.is_for(&token, &tool, &other_order));
        for other in [
            r#"{"a":"x ","n":1,"in":{"b":2,"a":[1]}}"#,
            r#"{"a":"х","n":1,"in":{"b":2,"a":[1]}}"#,
            r#"{"a":"x","n":1.0,"in":{"b":2,"a":[1]}}"#,
            r#"{"a":"x","n":"1","in":{"b":2,"a":[1]}}"#,
            r#"{"a":"x","n":1,"in":{"b":2,"a":[1,1]}}"#,
            r#"{"a":"x","n":1,"in":{"b":2,"a":[1]},"m":null}"#,
            r#"{"a":"*","n":1,"in":{"b":2,"a":[1]}}"#,
            "{}",
        ] {
            assert!(
                !approved.is_for(&token, &tool, &arguments(other)),
                "{other}"
            );
        }
        assert!(!approved.is_for(&TokenId::new("t2"), &tool, &other_order));
        let edit = ToolName::parse("edit_file").unwrap();
        assert!(!approved.is_for(&token, &edit, &other_order));
    }
}
