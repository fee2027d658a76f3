//! What has happened since the gateway started, in numbers, for whoever watches it.

use clawdbot_domain::Event;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

/// The most series; what would be one more is not counted.
const MOST: usize = 512;

/// A counter: its name, and its labels as they are written.
type Series = (&'static str, String);

/// What each counter is for.
const HELP: [(&str, &str); 4] = [
    (
        "clawdbot_guard_findings_total",
        "Texts the guard found something in, by the channel they came in and what was done.",
    ),
    (
        "clawdbot_requests_refused_total",
        "Requests turned away, by status and kind of error.",
    ),
    (
        "clawdbot_tool_calls_total",
        "Tool calls proposed, by tool and verdict.",
    ),
    ("clawdbot_turns_total", "Agent turns, by how they ended."),
];

/// Counters. Labels come from lists of ours, never from what somebody wrote.
#[derive(Debug, Default)]
pub struct Counts(Mutex<BTreeMap<Series, u64>>);

impl Counts {
    /// An event that is also counted.
    pub(crate) fn event(&self, event: &Event) {
        if let Event::GuardFinding {
            channel, action, ..
        } = event
        {
            let channel = serde_json::to_value(channel).unwrap_or_default();
            let channel = channel.as_str().unwrap_or_default().to_owned();
            self.add(
                "clawdbot_guard_findings_total",
                &[("channel", &channel), ("action", action)],
            );
        }
    }

    /// A proposed call. `tool` is the name of a tool there is.
    pub(crate) fn call(&self, tool: Option<&str>, verdict: &str) {
        let tool = tool.unwrap_or("unknown");
        self.add(
            "clawdbot_tool_calls_total",
            &[("tool", tool), ("verdict", verdict)],
        );
    }

    /// A turn that ended.
    pub(crate) fn turn(&self, ended: &'static str) {
        self.add("clawdbot_turns_total", &[("ended", ended)]);
    }

    /// A request that was turned away.
    pub fn refused(&self, status: u16, code: &'static str) {
        let status = status.to_string();
        self.add(
            "clawdbot_requests_refused_total",
            &[("status", &status), ("code", code)],
        );
    }

    fn add(&self, name: &'static str, labels: &[(&str, &str)]) {
        let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = all.len() < MOST;
        let series = (name, labels.join(","));
        if let Some(count) = all.get_mut(&series) {
            *count += 1;
        } else if room {
            all.insert(series, 1);
        }
    }

    /// In the text format of Prometheus.
    pub fn render(&self) -> String {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        for (name, help) in HELP {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
            for ((_, labels), count) in all.iter().filter(|((n, _), _)| *n == name) {
                let _ = writeln!(out, "{name}{{{labels}}} {count}");
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told_in_the_text_format() {
        let counts = Counts::default();
        counts.turn("well");
        counts.turn("well");
        counts.call(None, "deny");
        counts.refused(403, "scope_missing");
        let text = counts.render();
        for line in [
            "# TYPE clawdbot_turns_total counter",
            "clawdbot_turns_total{ended=\"well\"} 2",
            "clawdbot_tool_calls_total{tool=\"unknown\",verdict=\"deny\"} 1",
            "clawdbot_requests_refused_total{status=\"403\",code=\"scope_missing\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
