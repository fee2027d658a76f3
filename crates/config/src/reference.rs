//! The reference and the JSON schema, written from the table.

use crate::keys::{BUILT_IN_TOOLS, Key, show};
use crate::kind::{Kind, MAX_ENTRIES};
use crate::table::KEYS;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// JSON Schema (2020-12) of the configuration file, for editors. `config validate` checks more:
/// what a network, an origin or a command may be is not all sayable in a schema.
pub fn json_schema() -> Value {
    let mut root = group();
    for key in &KEYS {
        place(&mut root, key.name(), schema_of(key));
    }
    root.insert(
        "$schema".into(),
        "https://json-schema.org/draft/2020-12/schema".into(),
    );
    root.insert("title".into(), "Clawdbot configuration".into());
    Value::Object(root)
}

fn group() -> Map<String, Value> {
    let mut group = Map::new();
    group.insert("type".into(), "object".into());
    group.insert("additionalProperties".into(), false.into());
    group.insert("properties".into(), Value::Object(Map::new()));
    group
}

fn place(group_schema: &mut Map<String, Value>, name: &str, schema: Value) {
    let Some(properties) = group_schema
        .get_mut("properties")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    match name.split_once('.') {
        None => {
            properties.insert(name.to_owned(), schema);
        }
        Some((first, rest)) => {
            let inner = properties
                .entry(first)
                .or_insert_with(|| Value::Object(group()));
            if let Some(inner) = inner.as_object_mut() {
                place(inner, rest, schema);
            }
        }
    }
}

fn schema_of(key: &Key) -> Value {
    let mut schema = type_of(key.kind);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".into(), key.about().into());
        let default = key.default_value();
        if !default.is_null() {
            schema.insert("default".into(), default);
        }
    }
    schema
}

fn type_of(kind: Kind) -> Value {
    let list = |items: Value| json!({"type": "array", "items": items, "uniqueItems": true, "maxItems": MAX_ENTRIES});
    match kind {
        Kind::Flag(_) => json!({"type": "boolean"}),
        Kind::Port(_) => json!({"type": "integer", "minimum": 1, "maximum": u16::MAX}),
        Kind::Count(_, min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Amount(_, min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Env(_) | Kind::Level(_) | Kind::Mode(_) | Kind::Policy(_) | Kind::Search(_) => {
            json!({"type": "string", "enum": kind.words()})
        }
        Kind::Bind(_) => json!({"type": "string", "minLength": 1}),
        Kind::Model(_) => json!({"type": "string", "pattern": "^[a-z]+/\\S+$"}),
        Kind::BaseUrl(_) => json!({"type": "string", "pattern": "^https?://[^\\s?#@]+$"}),
        Kind::File(_) => json!({"type": "string", "pattern": "^/.*[^/]$"}),
        Kind::Networks(_) | Kind::Hosts(_) | Kind::Commands(_) => {
            list(json!({"type": "string", "pattern": "^[^\\s*]+$"}))
        }
        Kind::Reach(_) => list(json!({"type": "string", "pattern": "^(\\*|(\\*\\.)?[^\\s*]+)$"})),
        Kind::Site(_) => json!({"type": "string", "pattern": "^(none|https?://[^\\s?#@]+)$"}),
        Kind::Origins(_) => list(json!({"type": "string", "pattern": "^https?://[^\\s/*?#@]+$"})),
        Kind::ToolsOrAll(_) => {
            let all = ["*"].iter().chain(&BUILT_IN_TOOLS).collect::<Vec<_>>();
            list(json!({"type": "string", "enum": all}))
        }
        Kind::Tools(_) => list(json!({"type": "string", "enum": BUILT_IN_TOOLS})),
        Kind::Calls(_) => list(json!({
            "type": "object", "additionalProperties": false, "required": ["tool", "arguments", "token"],
            "properties": {
                "tool": {"type": "string", "enum": BUILT_IN_TOOLS},
                "arguments": {"type": "object"},
                "token": {"type": "string", "pattern": "^[A-Za-z0-9]{12}$"},
            },
        })),
    }
}

/// The reference of all keys, as Markdown.
pub fn markdown() -> String {
    let mut page = String::from(HEAD);
    let mut section = "";
    for key in &KEYS {
        let group = key.name().rsplit_once('.').map_or("", |(group, _)| group);
        if group != section && !group.starts_with("models.providers.") {
            let _ = write!(page, "\n## {group}\n");
        }
        section = group;
        let _ = write!(page, "\n{}", entry(key));
    }
    page
}

const HEAD: &str = "\
# Configuration

<!-- Written from the table in crates/config/src/table.rs. Do not edit; a test compares it. -->

Every key there is, with its default. `clawdbot config set KEY VALUE` changes one; a list is written as a
JSON array (`'[\"ls\", \"cat\"]'`, `\"[]\"` for none). Any other key, and any other value, is refused.

The file is `$CLAWDBOT_HOME/config/gateway.json`; a missing file means all defaults. An environment variable
overrides the file and a flag overrides both: `clawdbot config get KEY --why` says which one holds. A running
gateway takes a change within two seconds unless the key says that it needs a restart.

*Weakens* says in which direction a change makes a control weaker: it is made, but with a warning and with a
`security.config.changed` event in the audit log, which is written before the file is.
";

fn entry(key: &Key) -> String {
    let default = key.default_value();
    let default = if default.is_null() {
        "unset".to_owned()
    } else {
        format!("`{}`", show(&default))
    };
    let mut text = format!("### `{}`\n\n{}\n\n", key.name(), key.about());
    let _ = writeln!(text, "- Value: {}", key.allowed());
    let _ = writeln!(text, "- Default: {default}");
    let _ = writeln!(text, "- Environment: `{}`", key.env_var());
    let weakens = key.weaker.in_words();
    if !weakens.is_empty() {
        let consent = if key.needs_consent() {
            "; takes `--i-accept-the-risk`"
        } else {
            ""
        };
        let _ = writeln!(text, "- Weakens: when {weakens}{consent}");
    }
    if key.needs_restart() {
        text.push_str("- Needs a restart of the gateway\n");
    }
    text
}

#[cfg(test)]
mod tests;
