//! Security events in the operational log as well: it is what a person watches, and what a container
//! engine or a service manager keeps where the gateway cannot take it back.

use crate::line::Entry;
use crate::show::visible;
use clawdbot_domain::{Class, Event, Level, Outcome, Who};
use serde::Serialize;

/// So many characters of an event are told; all of it is in the log itself.
const MOST: usize = 2_000;

#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    event: &'a Event,
    outcome: Outcome,
    #[serde(flatten)]
    who: &'a Who,
}

/// Tells of a record that is durable, if it is of the class that is always written. Every line says
/// `security`, so that a search for that word finds all of them.
pub(crate) fn tell(entry: &Entry) {
    if entry.event.class() != Class::Security {
        return;
    }
    let told = Told {
        event: &entry.event,
        outcome: entry.outcome,
        who: &entry.who,
    };
    // What cannot be shown is in the log itself.
    let text = serde_json::to_string(&told).unwrap_or_default();
    let (index, shown) = (entry.index, text.chars().take(MOST));
    let text = visible(&shown.collect::<String>());
    match entry.level() {
        Level::Debug | Level::Info => tracing::info!(index, "security: {text}"),
        Level::Warn => tracing::warn!(index, "security: {text}"),
        Level::Error => tracing::error!(index, "security: {text}"),
    }
}
