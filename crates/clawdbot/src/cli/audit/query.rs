//! `clawdbot audit query`.

use super::{show, unreadable};
use crate::cli::{CliResult, Exit};
use crate::home::Home;
use clap::Args;
use clawdbot_audit::Tail;
use serde_json::Value;

#[derive(Debug, Args)]
pub struct QueryArgs {
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
    /// The records as they stand in the log, one JSON object a line
    #[arg(long)]
    json: bool,
}

pub fn run(args: &QueryArgs, home: &Home) -> CliResult {
    let (_, lines) = Tail::open(&home.logs(), usize::MAX).map_err(unreadable)?;
    let found: Vec<String> = lines.into_iter().filter(|line| args.wants(line)).collect();
    show(&found, args.json);
    Ok(Exit::Done)
}

impl QueryArgs {
    fn wants(&self, line: &str) -> bool {
        let Ok(record) = serde_json::from_str::<Value>(line) else {
            return false;
        };
        let text = |field: &str| record.get(field).and_then(Value::as_str).unwrap_or("");
        let is = |wanted: &Option<String>, field: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == text(field))
        };
        // Times are all UTC in one form, so their order is that of their text.
        let time = text("time");
        self.since.as_deref().is_none_or(|since| time >= since)
            && self.until.as_deref().is_none_or(|until| time < until)
            && self
                .event
                .as_deref()
                .is_none_or(|event| text("event").starts_with(event))
            && is(&self.actor, "actor")
            && is(&self.session, "session")
            && is(&self.outcome, "outcome")
    }
}
