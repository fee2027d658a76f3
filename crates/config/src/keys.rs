//! What a key is. A new setting is one row in the table and one field in [`Values`]; command line,
//! validation, reference and JSON schema follow.

use crate::document::unknown;
use crate::error::{ConfigErrors, Place};
use crate::kind::Kind;
use crate::nearest::nearest;
use crate::table::KEYS;
use crate::values::Values;
use crate::weaken::Weaker;
use serde_json::Value;

/// The tools that are built in.
pub const BUILT_IN_TOOLS: [&str; 8] = [
    "read_file",
    "list_directory",
    "search_files",
    "write_file",
    "edit_file",
    "run_command",
    "fetch_url",
    "search_web",
];

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    name: &'static str,
    pub(crate) kind: Kind,
    about: &'static str,
    pub(crate) weaker: Weaker,
    restart: bool,
    consent: bool,
}

pub(crate) const fn key(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key {
        name,
        kind,
        about,
        weaker: Weaker::Never,
        restart: false,
        consent: false,
    }
}

impl Key {
    pub(crate) const fn weaker(mut self, when: Weaker) -> Self {
        self.weaker = when;
        self
    }

    /// Read once at the start.
    pub(crate) const fn restart(mut self) -> Self {
        self.restart = true;
        self
    }

    /// Weakening it takes `--i-accept-the-risk`.
    pub(crate) const fn consent(mut self) -> Self {
        self.consent = true;
        self
    }

    /// Its full name, such as `gateway.sandbox.mode`.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it is for.
    pub const fn about(&self) -> &'static str {
        self.about
    }

    /// What it may be, in words.
    pub fn allowed(&self) -> String {
        self.kind.allowed()
    }

    /// True when a running gateway takes a change only after a restart.
    pub const fn needs_restart(&self) -> bool {
        self.restart
    }

    /// True when weakening it needs somebody to say that they accept the risk.
    pub const fn needs_consent(&self) -> bool {
        self.consent
    }

    /// The environment variable that overrides the file.
    pub fn env_var(&self) -> String {
        let mut name = "CLAWDBOT_".to_owned();
        for c in self.name.chars() {
            if c.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(if c == '.' {
                '_'
            } else {
                c.to_ascii_uppercase()
            });
        }
        name
    }

    /// Its value among these, as JSON; `null` when it has none.
    pub fn read(&self, values: &Values) -> Value {
        self.kind.read(values)
    }

    /// Its default, as JSON; `null` when it has none.
    pub fn default_value(&self) -> Value {
        self.read(&Values::default())
    }

    /// Reads a word from a command line or the environment as the JSON it stands for.
    ///
    /// # Errors
    /// Says what the key may be.
    pub fn value_of_word(&self, text: &str) -> Result<Value, String> {
        self.kind.of_word(text)
    }

    /// The key of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The key of this name, or the keys of this group.
    ///
    /// # Errors
    /// A name that is neither, with the nearest key.
    pub fn under(name: &str) -> Result<Vec<&'static Self>, ConfigErrors> {
        let below = |key: &&Self| {
            let rest = key.name.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let keys: Vec<_> = KEYS.iter().filter(below).collect();
        if keys.is_empty() {
            return Err(unknown(name, Place::Request).into());
        }
        Ok(keys)
    }

    /// The known key nearest to a misspelt one.
    pub(crate) fn nearest(name: &str) -> Option<&'static str> {
        let keys = KEYS.iter().map(|key| key.name);
        // A group of keys too, in a file: who mistypes that means no single key of it.
        let groups = KEYS.iter().flat_map(|key| {
            let ends = key.name.match_indices('.').map(|(at, _)| at);
            ends.filter_map(|end| key.name.get(..end))
        });
        nearest(name, keys.chain(groups.filter(|group| *group != name)))
    }
}

/// A value as people write it: a bare word, or JSON for a list; `(unset)` for none. JSON hides nothing from who
/// reads it: characters that a screen would not show, or obey, are written out.
pub fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "(unset)".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            clawdbot_domain::shown(&value.to_string())
        }
    }
}
