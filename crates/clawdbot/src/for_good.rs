//! A person's yes for good: one entry more in the settings file, on the way of every change of it.

use crate::home::Home;
use clawdbot_config::{Change, ConfigErrors, Draft, EditError, Key, Overrides, SettingsFile};
use clawdbot_domain::{ApprovedCall, Event};
use clawdbot_gateway::ForGood;
use serde_json::Value;

/// The key that holds the calls.
pub const KEY: &str = "gateway.tools.approvedCalls";

/// Adds a call to the list in the file; one that is there already changes nothing.
pub fn add(draft: &mut Draft, call: &ApprovedCall) -> Result<(), ConfigErrors> {
    let (mut calls, entry) = (listed(draft)?, call.to_json());
    if !calls.contains(&entry) {
        calls.push(entry);
    }
    draft.set(KEY, &Value::Array(calls))
}

/// Takes a call out of the list in the file.
pub fn remove(draft: &mut Draft, call: &ApprovedCall) -> Result<(), ConfigErrors> {
    let (mut calls, entry) = (listed(draft)?, call.to_json());
    calls.retain(|other| *other != entry);
    draft.set(KEY, &Value::Array(calls))
}

/// The list, in its canonical spelling.
fn listed(draft: &Draft) -> Result<Vec<Value>, ConfigErrors> {
    let values = draft.after()?;
    let calls = Key::find(KEY).map(|key| key.read(&values));
    Ok(match calls {
        Some(Value::Array(calls)) => calls,
        Some(_) | None => Vec::new(),
    })
}

/// How a change stands in the log.
pub fn event(change: &Change) -> Event {
    Event::ConfigChanged {
        key: change.key.to_owned(),
        from: change.from.clone(),
        to: change.to.clone(),
        weakens: change.weakens,
    }
}

/// The same for a running gateway: ready to be made, the lock of the file held.
///
/// # Errors
/// In words, why it cannot be.
pub fn prepare(home: &Home, call: &ApprovedCall) -> Result<ForGood, String> {
    let variable = Key::find(KEY).map(Key::env_var).unwrap_or_default();
    let overrides = Overrides::from_vars(std::env::vars_os());
    if overrides.env.iter().any(|(name, _)| *name == variable) {
        return Err(format!("{variable} is set and wins over the file"));
    }
    let say = |e: EditError| e.to_string();
    let mut draft = SettingsFile::new(home.config_file()).draft().map_err(say)?;
    add(&mut draft, call).map_err(|e| e.to_string())?;
    let changes = draft.changes().map_err(|e| e.to_string())?;
    Ok(ForGood {
        events: changes.iter().map(event).collect(),
        make: Box::new(move || draft.commit().map(drop).map_err(|e| e.to_string())),
    })
}
