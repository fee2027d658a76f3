//! Which changes weaken a control.

use crate::bind::Bind;
use crate::keys::{Key, show};
use crate::settings::{RateLimit, Settings};
use crate::table::KEYS;
use crate::values::Values;
use clawdbot_domain::Origin;
use serde_json::Value;

/// In which direction a key gets weaker. Told per key and without looking at the others: whoever
/// widens a list while its control is off hears of it then, not when the control comes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weaker {
    /// It is no control.
    Never,
    /// Turned on.
    On,
    /// Turned off.
    Off,
    /// A higher number.
    Higher,
    /// A lower number.
    Lower,
    /// An entry more.
    Longer,
    /// An entry less.
    Shorter,
    /// A host more. Where `*` stood, only one that may be inside is more.
    Reach,
    /// A tool more; where `*` stood there is none.
    Tools,
    /// A word further down the list of its words.
    Later,
    /// Reachable by more machines, or by others.
    Widened,
    /// Anything but this word.
    Changed(&'static str),
    /// Taken away.
    Unset,
    /// It was somewhere, and is no more or elsewhere.
    Moved,
    /// Another machine than before, that is neither this one nor the provider's own.
    Elsewhere,
}

/// One key whose value changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub key: &'static str,
    /// The value before, as people write it.
    pub from: String,
    /// The value after.
    pub to: String,
    /// A control gets weaker.
    pub weakens: bool,
    /// A running gateway takes it only after a restart.
    pub needs_restart: bool,
    /// Somebody must say that they accept the risk.
    pub needs_consent: bool,
}

/// What changes from one set of values to another, in the order of the reference.
pub(crate) fn changes(from: &Values, to: &Values) -> Vec<Change> {
    KEYS.iter()
        .filter_map(|key| change(key, from, to))
        .collect()
}

/// What changes for a running gateway: what it must write down.
pub fn differences(from: &Settings, to: &Settings) -> Vec<Change> {
    let (mut before, mut after) = (Values::from(from), Values::from(to));
    // While limiting is off nobody knows its numbers; only that it was turned off is news.
    if from.gateway.rate_limit == RateLimit::Off {
        (before.max_requests, before.window_ms) = (after.max_requests, after.window_ms);
    } else if to.gateway.rate_limit == RateLimit::Off {
        (after.max_requests, after.window_ms) = (before.max_requests, before.window_ms);
    }
    changes(&before, &after)
}

/// The changes that make a gateway weaker: what it must warn of.
pub fn weakening(from: &Settings, to: &Settings) -> Vec<Change> {
    let mut all = differences(from, to);
    all.retain(|change| change.weakens);
    all
}

fn change(key: &'static Key, from: &Values, to: &Values) -> Option<Change> {
    let (before, after) = (key.read(from), key.read(to));
    (before != after).then(|| {
        let weakens = key.weaker.between(key, &before, &after);
        Change {
            key: key.name(),
            from: show(&before),
            to: show(&after),
            weakens,
            needs_restart: key.needs_restart(),
            needs_consent: weakens && key.needs_consent(),
        }
    })
}

impl Weaker {
    /// Whether going from one value to a different one weakens.
    fn between(self, key: &Key, from: &Value, to: &Value) -> bool {
        let place = |v: &Value| key.kind.words().iter().position(|w| v.as_str() == Some(*w));
        match self {
            Self::Never => false,
            Self::On => to.as_bool() == Some(true),
            Self::Off => to.as_bool() == Some(false),
            Self::Higher => to.as_u64() > from.as_u64(),
            Self::Lower => to.as_u64() < from.as_u64(),
            Self::Longer => has_more(to, from),
            Self::Shorter => has_more(from, to),
            Self::Reach => reaches_more(from, to),
            Self::Tools => {
                let all = |v: &Value| v.as_array().is_some_and(|v| v.contains(&"*".into()));
                !all(from) && has_more(to, from)
            }
            Self::Later => place(to) > place(from),
            Self::Widened => widened(from, to),
            Self::Changed(safe) => to.as_str() != Some(safe),
            Self::Unset => to.is_null(),
            Self::Moved => !from.is_null(),
            Self::Elsewhere => elsewhere(from, to, &key.default_value()),
        }
    }

    /// In words, for the reference; empty when it is no control.
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::Never => "",
            Self::On => "turned on",
            Self::Off => "turned off",
            Self::Higher => "raised",
            Self::Lower => "lowered",
            Self::Longer => "an entry is added",
            Self::Shorter => "an entry is removed",
            Self::Reach => "a host is added",
            Self::Tools => "a tool is added",
            Self::Later => "set to a later word",
            Self::Widened => "more machines can reach it",
            Self::Changed(_) => "changed from its default",
            Self::Unset => "unset",
            Self::Moved => "moved or removed",
            Self::Elsewhere => "it leaves for another machine",
        }
    }
}

fn has_more(many: &Value, few: &Value) -> bool {
    let (many, few) = (many.as_array(), few.as_array());
    many.into_iter()
        .flatten()
        .any(|entry| few.is_none_or(|few| !few.contains(entry)))
}

/// A name with a dot was reached under `*` already, as far as its addresses are public.
fn reaches_more(from: &Value, to: &Value) -> bool {
    let all = from
        .as_array()
        .is_some_and(|from| from.contains(&"*".into()));
    let is_outside = |host: &str| {
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        host.contains('.')
            && !is_address
            && !matches!(host.rsplit('.').next(), Some("internal" | "local"))
    };
    let hosts = to
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let mut added = hosts.filter(|host| {
        !from
            .as_array()
            .is_some_and(|from| from.contains(&(*host).into()))
    });
    added.any(|host| !(all && is_outside(host)))
}

fn widened(from: &Value, to: &Value) -> bool {
    let bind = |v: &Value| v.as_str().and_then(|t| t.parse::<Bind>().ok());
    let (from, to) = (
        bind(from).map_or(0, Bind::width),
        bind(to).map_or(2, Bind::width),
    );
    // From one outside address to another is another network: nobody can say it is the safer one.
    to > from || (to == 1 && from == 1)
}

/// Every prompt goes where the base URL points.
fn elsewhere(from: &Value, to: &Value, default: &Value) -> bool {
    let origin = |v: &Value| {
        v.as_str()
            .and_then(|t| Origin::of_base_url(t).ok())
            .map(|(o, _)| o)
    };
    let Some(to) = origin(to) else { return false };
    !to.is_loopback() && Some(&to) != origin(from).as_ref() && Some(&to) != origin(default).as_ref()
}

#[cfg(test)]
mod tests;
