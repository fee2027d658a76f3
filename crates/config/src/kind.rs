//! What type a key has: how its value is read from JSON or from a word, and how it is shown.
//!
//! Each kind carries the place of its value in [`Values`], so a row in the table of keys that names
//! a field of the wrong type does not compile.

use crate::approved;
use crate::bind::{self, Bind};
use crate::check;
use crate::document::repeated;
use crate::settings::{ModelRef, SearchKind};
use crate::values::Values;
use clawdbot_domain::{
    ApprovedCall, Level, ProviderName, SandboxMode, TokenEnv, ToolName, ToolPolicyMode,
};
use ipnet::IpNet;
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt::Display;

/// The field of a key.
pub(crate) type At<T> = fn(&mut Values) -> &mut T;

/// The type of a key, and where its value is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Flag(At<bool>),
    Port(At<u16>),
    Count(At<u32>, u32, u32),
    Amount(At<u64>, u64, u64),
    Bind(At<Bind>),
    Env(At<TokenEnv>),
    Level(At<Level>),
    Mode(At<SandboxMode>),
    Policy(At<ToolPolicyMode>),
    Model(At<ModelRef>),
    BaseUrl(ProviderName),
    File(At<Option<String>>),
    Networks(At<Vec<IpNet>>),
    Hosts(At<Vec<String>>),
    Reach(At<Vec<String>>),
    Site(At<Option<String>>),
    Search(At<SearchKind>),
    Origins(At<Vec<String>>),
    Commands(At<Vec<String>>),
    Tools(At<Vec<ToolName>>),
    ToolsOrAll(At<Vec<String>>),
    Calls(At<Vec<ApprovedCall>>),
}

const ENVS: [(&str, TokenEnv); 2] = [("dev", TokenEnv::Dev), ("prod", TokenEnv::Prod)];
const LEVELS: [(&str, Level); 4] = [
    ("debug", Level::Debug),
    ("info", Level::Info),
    ("warn", Level::Warn),
    ("error", Level::Error),
];
const MODES: [(&str, SandboxMode); 3] = [
    ("strict", SandboxMode::Strict),
    ("moderate", SandboxMode::Moderate),
    ("permissive", SandboxMode::Permissive),
];
const SEARCHES: [(&str, SearchKind); 3] = [
    ("searxng", SearchKind::SearXng),
    ("brave", SearchKind::Brave),
    ("tavily", SearchKind::Tavily),
];
const POLICIES: [(&str, ToolPolicyMode); 3] = [
    ("restrictive", ToolPolicyMode::Restrictive),
    ("whitelist", ToolPolicyMode::Whitelist),
    ("permissive", ToolPolicyMode::Permissive),
];

/// The longest list and the longest entry that is taken.
pub(crate) const MAX_ENTRIES: usize = 256;
const MAX_TEXT: usize = 4_096;

impl Kind {
    /// Reads a JSON value into its field. The error says what is wrong and what is right.
    pub(crate) fn write(self, into: &mut Values, value: &Value) -> Result<(), String> {
        match self {
            Self::Flag(at) => *at(into) = value.as_bool().ok_or("must be true or false")?,
            Self::Port(at) => *at(into) = whole(value, 1, u16::MAX)?,
            Self::Count(at, min, max) => *at(into) = whole(value, min, max)?,
            Self::Amount(at, min, max) => *at(into) = whole(value, min, max)?,
            Self::Bind(at) => {
                let text = value
                    .as_str()
                    .ok_or_else(|| format!("must be {}", bind::ALLOWED))?;
                *at(into) = text.parse()?;
            }
            Self::Env(at) => *at(into) = pick(value, &ENVS)?,
            Self::Level(at) => *at(into) = pick(value, &LEVELS)?,
            Self::Mode(at) => *at(into) = pick(value, &MODES)?,
            Self::Policy(at) => *at(into) = pick(value, &POLICIES)?,
            Self::Search(at) => *at(into) = pick(value, &SEARCHES)?,
            Self::Model(at) => *at(into) = ModelRef::parse(word(value)?)?,
            Self::BaseUrl(provider) => {
                into.base_urls
                    .insert(provider, check::base_url(word(value)?)?);
            }
            Self::File(at) => *at(into) = Some(check::file(word(value)?)?),
            Self::Networks(at) => *at(into) = list(value, check::network)?,
            Self::Hosts(at) => *at(into) = list(value, check::host)?,
            Self::Reach(at) => *at(into) = list(value, check::reach)?,
            Self::Site(at) => {
                let text = word(value)?;
                *at(into) = if text == "none" {
                    None
                } else {
                    Some(check::base_url(text)?)
                };
            }
            Self::Origins(at) => *at(into) = list(value, check::origin)?,
            Self::Commands(at) => *at(into) = list(value, check::command)?,
            Self::Tools(at) => *at(into) = list(value, check::tool)?,
            Self::ToolsOrAll(at) => *at(into) = list(value, check::tool_or_all)?,
            Self::Calls(at) => *at(into) = approved::list(value)?,
        }
        Ok(())
    }

    /// The field as JSON; `null` for what is not set.
    pub(crate) fn read(self, from: &Values) -> Value {
        // One accessor serves both ways; it wants `&mut`, so reading works on a copy.
        let v = &mut from.clone();
        match self {
            Self::Flag(at) => Value::Bool(*at(v)),
            Self::Port(at) => (*at(v)).into(),
            Self::Count(at, ..) => (*at(v)).into(),
            Self::Amount(at, ..) => (*at(v)).into(),
            Self::Bind(at) => at(v).to_string().into(),
            Self::Env(at) => at(v).as_str().into(),
            Self::Level(at) => name_of(at(v), &LEVELS).into(),
            Self::Mode(at) => at(v).as_str().into(),
            Self::Policy(at) => at(v).as_str().into(),
            Self::Search(at) => name_of(at(v), &SEARCHES).into(),
            Self::Model(at) => at(v).to_string().into(),
            Self::BaseUrl(provider) => v
                .base_urls
                .remove(&provider)
                .map_or(Value::Null, Value::String),
            Self::File(at) => at(v).take().map_or(Value::Null, Value::String),
            Self::Networks(at) => texts(at(v)),
            Self::Hosts(at)
            | Self::Reach(at)
            | Self::Origins(at)
            | Self::Commands(at)
            | Self::ToolsOrAll(at) => texts(at(v)),
            Self::Site(at) => at(v).take().unwrap_or_else(|| "none".into()).into(),
            Self::Tools(at) => texts(at(v)),
            Self::Calls(at) => approved::to_json(at(v)),
        }
    }

    /// Reads a word from the command line or the environment as the JSON it stands for.
    pub(crate) fn of_word(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Flag(_) => text.parse().map(Value::Bool).map_err(|_| self.must_be()),
            Self::Port(_) | Self::Count(..) | Self::Amount(..) => {
                let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                let number = text.parse::<u64>().ok().filter(|_| digits);
                number.map(Value::from).ok_or_else(|| self.must_be())
            }
            Self::Bind(_)
            | Self::Env(_)
            | Self::Level(_)
            | Self::Mode(_)
            | Self::Policy(_)
            | Self::Search(_)
            | Self::Model(_)
            | Self::Site(_)
            | Self::BaseUrl(_)
            | Self::File(_) => Ok(Value::String(text.to_owned())),
            Self::Networks(_)
            | Self::Hosts(_)
            | Self::Reach(_)
            | Self::Origins(_)
            | Self::Commands(_)
            | Self::ToolsOrAll(_)
            | Self::Tools(_) => match serde_json::from_str(text) {
                Ok(array @ Value::Array(_)) => Ok(array),
                Ok(_) | Err(_) => Err(array_form(text)),
            },
            Self::Calls(_) => match serde_json::from_str::<&RawValue>(text) {
                Ok(raw) if raw.get().starts_with('[') => match repeated(raw) {
                    Some(name) => Err(format!("holds {name:?} twice in one object")),
                    None => serde_json::from_str(text).map_err(|e| e.to_string()),
                },
                Ok(_) | Err(_) => Err(self.must_be()),
            },
        }
    }

    fn must_be(self) -> String {
        format!("must be {}", self.allowed())
    }

    /// What it may be, in words: for errors, help and the reference.
    pub(crate) fn allowed(self) -> String {
        match self {
            Self::Flag(_) => "true or false".into(),
            Self::Port(_) => "a whole number from 1 to 65535".into(),
            Self::Count(_, min, max) => format!("a whole number from {min} to {max}"),
            Self::Amount(_, min, max) => format!("a whole number from {min} to {max}"),
            Self::Bind(_) => bind::ALLOWED.into(),
            Self::Env(_) | Self::Level(_) | Self::Mode(_) | Self::Policy(_) | Self::Search(_) => {
                format!("one of {}", self.words().join(", "))
            }
            Self::Model(_) => "provider/model".into(),
            Self::BaseUrl(_) => "https://… (http://… on this machine only)".into(),
            Self::File(_) => "an absolute path".into(),
            Self::Networks(_) => "a list of networks such as 10.0.0.0/8".into(),
            Self::Hosts(_) => "a list of host names or addresses".into(),
            Self::Reach(_) => {
                "a list of host names or addresses, `*.example.org`, or `*` for all public hosts"
                    .into()
            }
            Self::Site(_) => "none, or https://… (http://… on this machine only)".into(),
            Self::Origins(_) => "a list of exact origins such as https://example.com".into(),
            Self::Commands(_) => "a list of program names or absolute paths".into(),
            Self::Tools(_) => "a list of tool names".into(),
            Self::ToolsOrAll(_) => "a list of tool names, or [\"*\"] for all".into(),
            Self::Calls(_) => approved::allowed(),
        }
    }

    /// The words of a kind that is a choice; empty for all others.
    pub(crate) fn words(self) -> Vec<&'static str> {
        fn names<T>(all: &[(&'static str, T)]) -> Vec<&'static str> {
            all.iter().map(|(name, _)| *name).collect()
        }
        match self {
            Self::Env(_) => names(&ENVS),
            Self::Level(_) => names(&LEVELS),
            Self::Mode(_) => names(&MODES),
            Self::Policy(_) => names(&POLICIES),
            Self::Search(_) => names(&SEARCHES),
            Self::Flag(_)
            | Self::Port(_)
            | Self::Count(..)
            | Self::Amount(..)
            | Self::Bind(_)
            | Self::Model(_)
            | Self::BaseUrl(_)
            | Self::File(_)
            | Self::Networks(_)
            | Self::Hosts(_)
            | Self::Reach(_)
            | Self::Site(_)
            | Self::Origins(_)
            | Self::Commands(_)
            | Self::ToolsOrAll(_)
            | Self::Calls(_)
            | Self::Tools(_) => Vec::new(),
        }
    }
}

fn word(value: &Value) -> Result<&str, String> {
    let text = value.as_str().ok_or("must be text in quotes")?;
    if text.len() > MAX_TEXT {
        return Err(format!("must be at most {MAX_TEXT} bytes"));
    }
    Ok(text)
}

fn whole<T: TryFrom<u64> + Into<u64> + Copy + Display>(
    value: &Value,
    min: T,
    max: T,
) -> Result<T, String> {
    let within = |n: &u64| (min.into()..=max.into()).contains(n);
    value
        .as_u64()
        .filter(within)
        .and_then(|n| T::try_from(n).ok())
        .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
}

fn pick<T: Copy>(value: &Value, all: &[(&str, T)]) -> Result<T, String> {
    let found = all.iter().find(|(name, _)| value.as_str() == Some(*name));
    found.map(|(_, item)| *item).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        format!("must be one of {}", names.join(", "))
    })
}

fn name_of<T: PartialEq>(item: &T, all: &[(&'static str, T)]) -> &'static str {
    all.iter()
        .find(|(_, i)| i == item)
        .map_or("", |(name, _)| name)
}

fn list<T: PartialEq + Display>(
    value: &Value,
    check: fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let entries = value
        .as_array()
        .ok_or_else(|| array_form(value.as_str().unwrap_or("")))?;
    if entries.len() > MAX_ENTRIES {
        return Err(format!("must have at most {MAX_ENTRIES} entries"));
    }
    let mut items = Vec::with_capacity(entries.len());
    for (at, entry) in entries.iter().enumerate() {
        let item = word(entry)
            .and_then(check)
            .map_err(|why| format!("entry {} ({}): {why}", at + 1, short(&entry.to_string())))?;
        if items.contains(&item) {
            return Err(format!("lists {item} twice"));
        }
        items.push(item);
    }
    Ok(items)
}

fn texts<T: ToString>(items: &[T]) -> Value {
    items
        .iter()
        .map(|item| Value::String(item.to_string()))
        .collect()
}

/// Shows the JSON form with the very words that were given, when they are simple enough.
fn array_form(given: &str) -> String {
    let words: Vec<_> = given
        .split([',', ' '])
        .map(|w| w.trim_matches(['"', '\'', '[', ']']))
        .filter(|w| !w.is_empty())
        .collect();
    let plain = |w: &&str| {
        w.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-./:".contains(&b))
    };
    let example = if words.is_empty() || words.len() > 8 || !words.iter().all(plain) {
        r#"["first","second"]"#.to_owned()
    } else {
        Value::from(words).to_string()
    };
    format!("must be a JSON array such as '{example}', or \"[]\" for none")
}

/// At most 80 characters of a text that somebody else wrote, without control characters.
pub(crate) fn short(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut cut: String = text.chars().take(80).map(clean).collect();
    if text.chars().nth(80).is_some() {
        cut.push('…');
    }
    cut
}
