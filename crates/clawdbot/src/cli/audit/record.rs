//! A record of the log, and which records a person wants.

use super::{unreadable, when};
use crate::cli::{Exit, Failure};
use crate::home::Home;
use clap::Args;
use clawdbot_audit::{Between, Records};
use clawdbot_domain::UnixTime;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;

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

    /// The event's own fields.
    pub(super) fn own(&self) -> impl Iterator<Item = (&String, &Value)> {
        let all = self.0.as_object().into_iter().flatten();
        all.filter(|(key, _)| !FRAME.contains(&key.as_str()))
    }

    /// The event's own fields, as one JSON object.
    pub(super) fn details(&self) -> String {
        let own: serde_json::Map<_, _> = self.own().map(|(k, v)| (k.clone(), v.clone())).collect();
        Value::Object(own).to_string()
    }
}

/// Text that is not copied unless it has to be.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// As much of a record as is needed to know whether it is wanted, an order of magnitude cheaper than all.
#[derive(Debug, Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(default)]
    pub(super) index: u64,
    #[serde(default)]
    pub(super) begin: Option<u64>,
    #[serde(borrow)]
    event: Text<'a>,
    #[serde(borrow, default)]
    time: Text<'a>,
    #[serde(borrow, default)]
    actor: Text<'a>,
    #[serde(borrow, default)]
    session: Text<'a>,
    #[serde(borrow, default)]
    outcome: Text<'a>,
}

impl<'a> Frame<'a> {
    /// `None` when the line is no record.
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    pub(super) fn time(&self) -> &str {
        &self.time.0
    }

    pub(super) fn actor(&self) -> &str {
        &self.actor.0
    }
}

/// Which records.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only from then on: 2h, "3 days ago", today, yesterday, "last night", 22:00, 2026-11-25 (UTC)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only before then
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
    /// The records to look at, those of other times left out.
    pub(super) fn open(&self, home: &Home) -> Result<Records, Failure> {
        let now = UnixTime::now();
        let parse = |said: &Option<String>| {
            let time = said.as_deref().map(|said| when::parse(said, now));
            time.transpose()
                .map_err(|why| Failure::new(Exit::Usage, why))
        };
        let (since, until) = (parse(&self.since)?, parse(&self.until)?);
        Records::between(&home.logs(), Between { since, until }).map_err(unreadable)
    }

    /// Whether a line of them is wanted; what is no record is not.
    pub(super) fn wants(&self, line: &str) -> bool {
        let is = |wanted: &Option<String>, text: &Text<'_>| {
            wanted.as_deref().is_none_or(|wanted| wanted == text.0)
        };
        let event = self.event.as_deref().unwrap_or("");
        Frame::parse(line).is_some_and(|frame| {
            frame.event.0.starts_with(event)
                && is(&self.actor, &frame.actor)
                && is(&self.session, &frame.session)
                && is(&self.outcome, &frame.outcome)
        })
    }
}
