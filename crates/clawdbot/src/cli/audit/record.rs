//! A record of the log, and which records a person wants.

use clap::Args;
use serde_json::Value;

/// A record, as it stands in the log.
pub(super) struct Record(pub(super) Value);

/// What every record has; the rest tells its event apart.
const FRAME: &[&str] = &[
    "index", "time", "boot", "mono", "level", "event", "outcome", "begin", "actor", "session",
    "request", "address", "prev", "hash",
];

impl Record {
    /// `None` when the line is no record.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        value.get("event")?.as_str()?;
        Some(Self(value))
    }

    /// A field that is text; empty when it is not there.
    pub(super) fn text(&self, field: &str) -> &str {
        self.0.get(field).and_then(Value::as_str).unwrap_or("")
    }

    pub(super) fn number(&self, field: &str) -> Option<u64> {
        self.0.get(field).and_then(Value::as_u64)
    }

    /// The event's own fields, as one JSON object.
    pub(super) fn details(&self) -> String {
        let all = self.0.as_object().into_iter().flatten();
        let own = all.filter(|(key, _)| !FRAME.contains(&key.as_str()));
        let own: serde_json::Map<_, _> = own.map(|(k, v)| (k.clone(), v.clone())).collect();
        Value::Object(own).to_string()
    }
}

/// Which records.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only records from this time on, such as 2026-11-25 or 2026-11-25T22:00:00Z (UTC)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only records before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only events that begin so, such as `tool` or `security.`
    #[arg(long)]
    event: Option<String>,
    /// Only what this token did
    #[arg(long, value_name = "TOKEN")]
    actor: Option<String>,
    /// Only of this conversation
    #[arg(long)]
    session: Option<String>,
    /// Only what ended so: begin, ok, denied, failed, abandoned
    #[arg(long)]
    outcome: Option<String>,
}

impl Filter {
    pub(super) fn wants(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, field: &str| {
            wanted
                .as_deref()
                .is_none_or(|wanted| wanted == record.text(field))
        };
        // Times are all UTC in one form, so their order is that of their text.
        let time = record.text("time");
        self.since.as_deref().is_none_or(|since| time >= since)
            && self.until.as_deref().is_none_or(|until| time < until)
            && self
                .event
                .as_deref()
                .is_none_or(|event| record.text("event").starts_with(event))
            && is(&self.actor, "actor")
            && is(&self.session, "session")
            && is(&self.outcome, "outcome")
    }
}
