//! File, environment and flags, laid over the defaults.

use crate::document::{Document, unknown};
use crate::error::{ConfigError, ConfigErrors, Place};
use crate::file::Stamp;
use crate::keys::Key;
use crate::nearest::nearest;
use crate::settings::Settings;
use crate::table::KEYS;
use crate::values::Values;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

/// What is laid over the file: `CLAWDBOT_*` variables, and flags over those.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Variables by name; those that name no key are errors (see [`Overrides::from_vars`]).
    pub env: Vec<(String, String)>,
    /// Keys by name, as given on the command line.
    pub flags: Vec<(String, String)>,
}

impl Overrides {
    /// Picks what is meant for the configuration out of an environment: names that start with
    /// `CLAWDBOT_GATEWAY_` or `CLAWDBOT_MODELS_`. An empty variable counts as not set, since that is
    /// what compose files make of a missing one.
    pub fn from_vars(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let ours = |(name, text): (OsString, OsString)| {
            let name = name.into_string().ok()?;
            let text = text.to_string_lossy().into_owned();
            let prefixed = ["CLAWDBOT_GATEWAY_", "CLAWDBOT_MODELS_"]
                .iter()
                .any(|p| name.starts_with(p));
            (prefixed && !text.is_empty() && !is_service_link(&name, &text)).then_some((name, text))
        };
        Self {
            env: vars.into_iter().filter_map(ours).collect(),
            flags: Vec::new(),
        }
    }
}

/// Kubernetes describes a service called `clawdbot-gateway` to every pod beside it, in variables
/// that start like ours (`CLAWDBOT_GATEWAY_PORT=tcp://10.0.0.1:18789`). They configure nothing.
fn is_service_link(name: &str, text: &str) -> bool {
    let Some(rest) = name.strip_prefix("CLAWDBOT_GATEWAY_") else {
        return false;
    };
    let numbered = rest
        .strip_prefix("PORT_")
        .is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()));
    let address = rest == "PORT" && (text.starts_with("tcp://") || text.starts_with("udp://"));
    rest.starts_with("SERVICE_") || numbered || address
}

/// Which source won.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The file.
    File,
    /// An environment variable, by name.
    Env(String),
    /// A flag of the command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File => f.write_str("file"),
            Self::Env(name) => write!(f, "environment ({name})"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// A configuration in which nothing is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What holds.
    pub settings: Settings,
    /// The same, key by key.
    pub values: Values,
    /// Where each key's value came from; every key is in it.
    pub origins: BTreeMap<&'static str, Origin>,
    /// The state of the file that was read.
    pub stamp: Stamp,
}

/// Lays everything over the defaults and gathers what cannot be taken.
pub(crate) struct Layers {
    pub(crate) values: Values,
    pub(crate) origins: BTreeMap<&'static str, Origin>,
    pub(crate) errors: Vec<ConfigError>,
}

impl Layers {
    pub(crate) fn new() -> Self {
        Self {
            values: Values::default(),
            origins: KEYS
                .iter()
                .map(|key| (key.name(), Origin::Default))
                .collect(),
            errors: Vec::new(),
        }
    }

    pub(crate) fn file(&mut self, document: Document) {
        self.errors.extend(document.faults);
        for leaf in document.leaves {
            self.put(
                leaf.key,
                &leaf.value,
                &leaf.value.to_string(),
                Origin::File,
                leaf.place,
            );
        }
    }

    pub(crate) fn overrides(&mut self, overrides: &Overrides) {
        for (name, text) in &overrides.env {
            let place = Place::Env(name.clone());
            match KEYS.iter().find(|key| key.env_var() == *name) {
                Some(key) => self.word(key, text, Origin::Env(name.clone()), place),
                None => self.errors.push(unknown_variable(name, place)),
            }
        }
        for (name, text) in &overrides.flags {
            let place = Place::Flag(name.clone());
            match Key::find(name) {
                Some(key) => self.word(key, text, Origin::Flag, place),
                None => self.errors.push(unknown(name, place)),
            }
        }
    }

    fn word(&mut self, key: &'static Key, text: &str, origin: Origin, place: Place) {
        match key.value_of_word(text) {
            Ok(value) => self.put(key, &value, text, origin, place),
            Err(problem) => {
                self.errors
                    .push(ConfigError::new(place, problem).key(key.name()).value(text));
            }
        }
    }

    fn put(&mut self, key: &'static Key, value: &Value, shown: &str, origin: Origin, place: Place) {
        match key.kind.write(&mut self.values, value) {
            Ok(()) => {
                self.origins.insert(key.name(), origin);
            }
            Err(problem) => {
                self.errors.push(
                    ConfigError::new(place, problem)
                        .key(key.name())
                        .value(shown),
                );
            }
        }
    }

    pub(crate) fn done(self, stamp: Stamp) -> Result<Loaded, ConfigErrors> {
        ConfigErrors::none_of(self.errors)?;
        let settings = Settings::from(&self.values);
        Ok(Loaded {
            settings,
            values: self.values,
            origins: self.origins,
            stamp,
        })
    }
}

fn unknown_variable(name: &str, place: Place) -> ConfigError {
    let names: Vec<String> = KEYS.iter().map(Key::env_var).collect();
    let error = ConfigError::new(place, "no key has this variable");
    match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => error.remedy(format!("is {near} meant?")),
        None => error.remedy("`clawdbot config list --json` shows the variable of every key"),
    }
}

#[cfg(test)]
mod tests;
