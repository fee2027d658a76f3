//! `clawdbot audit report`: what happened, on a page.

mod page;

use super::record::{Frame, Record};
use super::unreadable;
use crate::cli::{CliResult, Exit, Failure, security};
use crate::home::Home;
use crate::{note, say};
use clap::Args;
use clawdbot_audit::Records;
use clawdbot_domain::UnixTime;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// So many different lines one table keeps; a flood of new ones is counted together.
const KINDS: usize = 1_000;
/// So many actors are told apart.
const ACTORS: usize = 100_000;
/// So many slow requests are shown.
const SLOWEST: usize = 10;
/// What is counted together beyond [`KINDS`].
const OTHERS: &str = "(others)";

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The last 24 hours, as when neither is given
    #[arg(long, conflicts_with = "week")]
    day: bool,
    /// The last 7 days
    #[arg(long)]
    week: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ReportArgs, home: &Home) -> CliResult {
    let span = if args.week { WEEK } else { DAY };
    let report = read(home, span)?;
    if args.json {
        let text = serde_json::to_string(&report).map_err(|e| Failure::new(Exit::Bug, e))?;
        say!("{text}");
    } else {
        say!("{}", page::of(&report).trim_end());
    }
    if args.week {
        note_review(home);
    }
    Ok(Exit::Done)
}

/// A review is maintenance that was done. What is only read, such as evidence, is reviewed all the same.
fn note_review(home: &Home) {
    if let Err(why) = security::note_done(home, security::REVIEW) {
        let why = why.message();
        note!("warning: that the log was reviewed is not written down: {why}");
    }
}

fn read(home: &Home, span: Duration) -> Result<Report, Failure> {
    let now = UnixTime::now().as_nanos();
    let ago = i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
    let since = UnixTime::from_nanos(now.saturating_sub(ago)).to_string();
    let mut report = Report {
        since,
        ..Report::default()
    };
    // All of it, not only that time: an actor is new when no record before names it.
    let mut records = Records::open(&home.logs()).map_err(unreadable)?;
    while let Some(line) = records.read().map_err(unreadable)? {
        report.take(line);
    }
    Ok(report)
}

/// A request that took long.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
struct Slow {
    micros: u64,
    index: u64,
    method: String,
    path: String,
}

/// What the records of a time come to.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// Records from this time on.
    since: String,
    records: u64,
    /// By event, then by outcome.
    events: BTreeMap<String, BTreeMap<String, u64>>,
    /// What was not allowed and why.
    denials: BTreeMap<String, u64>,
    /// Actors with no record before, as far back as the log goes.
    new_actors: Vec<String>,
    /// Calls begun, by tool.
    tools: BTreeMap<String, u64>,
    slowest: Vec<Slow>,
    /// Where the log was interrupted, switched off or could not be kept.
    gaps: Vec<String>,
    /// Lines that are no record.
    unreadable: u64,
    #[serde(skip)]
    actors: HashSet<String>,
    #[serde(skip)]
    next: Option<u64>,
}

impl Report {
    fn take(&mut self, line: &str) {
        let Some(frame) = Frame::parse(line) else {
            self.unreadable += 1;
            return;
        };
        self.count_on(frame.index);
        let wanted = frame.time() >= self.since.as_str();
        let actor = frame.actor();
        let new = !actor.is_empty() && self.actors.len() < ACTORS && !self.actors.contains(actor);
        if new {
            self.actors.insert(actor.to_owned());
        }
        if !wanted {
            return;
        }
        let Some(record) = Record::parse(line) else {
            return;
        };
        if new && self.new_actors.len() < KINDS {
            self.new_actors.push(actor.to_owned());
        }
        self.records += 1;
        self.count(&record);
    }

    /// Numbers that are missing between two records; whatever their time is, it is told.
    fn count_on(&mut self, index: u64) {
        if let Some(next) = self.next.filter(|next| *next != index) {
            self.gap(format!("record {next} should follow, but {index} does"));
        }
        self.next = index.checked_add(1);
    }

    fn count(&mut self, record: &Record) {
        let (event, outcome) = (record.text("event"), record.text("outcome"));
        let full = self.events.len() >= KINDS && !self.events.contains_key(event);
        let event_shown = if full { OTHERS } else { event };
        let outcomes = self.events.entry(event_shown.to_owned()).or_default();
        // A record of repeats stands for so many; one without, or with none, for itself.
        let times = record.number("repeats").unwrap_or(0).max(1);
        add(outcomes, outcome, times);
        if outcome == "denied"
            || record
                .0
                .get("refused")
                .is_some_and(serde_json::Value::is_string)
        {
            add(&mut self.denials, &why(record), times);
        }
        match event {
            "tool.begin" => add(&mut self.tools, record.text("tool"), 1),
            "request" => self.slow(record),
            "audit.outage"
            | "audit.full"
            | "audit.lost"
            | "audit.recovered"
            | "security.clock.jumped" => self.gap(told(record)),
            "security.audit.settings"
                if record.0.get("enabled") == Some(&serde_json::Value::Bool(false)) =>
            {
                self.gap(told(record));
            }
            _ => {}
        }
    }

    fn slow(&mut self, record: &Record) {
        self.slowest.push(Slow {
            micros: record.number("micros").unwrap_or_default(),
            index: record.number("index").unwrap_or_default(),
            method: record.text("method").to_owned(),
            path: record.text("path").to_owned(),
        });
        self.slowest
            .sort_by_key(|slow| std::cmp::Reverse(slow.micros));
        self.slowest.truncate(SLOWEST);
    }

    fn gap(&mut self, text: String) {
        if self.gaps.len() < KINDS {
            self.gaps.push(text);
        }
    }
}

fn add(table: &mut BTreeMap<String, u64>, key: &str, times: u64) {
    let full = table.len() >= KINDS && !table.contains_key(key);
    let key = if full { OTHERS } else { key };
    let count = table.entry(key.to_owned()).or_default();
    // What somebody put into the log must not end the report.
    *count = count.saturating_add(times);
}

/// What was not allowed and, as far as the event says, why.
fn why(record: &Record) -> String {
    let rules = record.0.get("rules").and_then(|rules| rules.as_array());
    let rules = rules.map(|all| {
        let all: Vec<&str> = all.iter().filter_map(|rule| rule.as_str()).collect();
        all.join(", ")
    });
    let reason = [record.text("refused"), record.text("reason")];
    let reason = reason.into_iter().find(|reason| !reason.is_empty());
    let reason = reason.map(str::to_owned).or(rules).unwrap_or_default();
    let tool = record.text("tool");
    let parts = [record.text("event"), tool, &reason];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(": ")
}

fn told(record: &Record) -> String {
    let index = record.number("index").unwrap_or_default();
    let (event, time) = (record.text("event"), record.text("time"));
    format!("record {index}, {time}: {event} {}", record.details())
}

#[cfg(test)]
mod tests {
    use super::Report;

    fn line(index: u64, rest: &str) -> String {
        format!(r#"{{"index":{index},"time":"2026-11-25T00:00:0{index}Z",{rest}}}"#)
    }

    fn report(lines: &[String]) -> Report {
        let mut report = Report {
            since: "2026-11-25T00:00:02".to_owned(),
            ..Report::default()
        };
        for line in lines {
            report.take(line);
        }
        report
    }

    #[test]
    fn a_page_tells_denials_new_actors_tools_slow_requests_and_gaps() {
        let found = report(&[
            line(
                1,
                r#""event":"request","outcome":"ok","actor":"old","micros":9,"method":"GET","path":"/early""#,
            ),
            line(
                2,
                r#""event":"request","outcome":"ok","actor":"old","micros":5,"method":"GET","path":"/a""#,
            ),
            line(
                3,
                r#""event":"request","outcome":"ok","actor":"new","micros":7,"method":"GET","path":"/b\u001b[2J""#,
            ),
            line(
                4,
                r#""event":"security.request.refused","outcome":"denied","reason":"rate limit","repeats":41"#,
            ),
            line(
                5,
                r#""event":"security.tool.denied","outcome":"denied","tool":"rm","rules":["tools.allowList"]"#,
            ),
            line(
                6,
                r#""event":"tool.begin","outcome":"begin","tool":"read_file""#,
            ),
            "no record".to_owned(),
            line(8, r#""event":"audit.lost","outcome":"ok","records":3"#),
        ]);
        assert_eq!((found.records, found.unreadable), (6, 1));
        assert_eq!(found.new_actors, ["new"]);
        assert_eq!(found.denials["security.request.refused: rate limit"], 41);
        assert_eq!(
            found.denials["security.tool.denied: rm: tools.allowList"],
            1
        );
        assert_eq!(found.tools["read_file"], 1);
        assert_eq!(
            found.slowest.iter().map(|s| s.micros).collect::<Vec<_>>(),
            [7, 5]
        );
        assert_eq!(found.gaps.len(), 2, "{:?}", found.gaps);
        let painted = super::page::of(&found);
        let page = anstream::adapter::strip_str(&painted).to_string();
        assert!(!page.contains('\u{1b}'), "{page}");
        assert!(
            page.contains("41  security.request.refused: rate limit"),
            "{page}"
        );
    }

    #[test]
    fn a_flood_of_reasons_does_not_fill_the_memory() {
        let lines: Vec<String> = (0..3_000)
            .map(|n| format!(r#"{{"index":{n},"time":"2026-11-26","event":"e","outcome":"denied","reason":"{n}"}}"#))
            .collect();
        let found = report(&lines);
        assert_eq!(found.denials.len(), super::KINDS + 1);
        assert_eq!(found.denials[super::OTHERS], 2_000);
    }
}
