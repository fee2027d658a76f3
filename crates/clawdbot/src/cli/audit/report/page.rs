//! The report for people.

use super::Report;
use crate::cli::audit::paint::{BOLD, GREEN, YELLOW};
use clap::builder::styling::Style;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// So many lines of a table are shown; `--json` has all.
const SHOWN: usize = 20;

/// How what should not be is headed.
const WRONG: Style = YELLOW.bold();

pub(super) fn of(report: &Report) -> String {
    let mut page = format!(
        "{BOLD}{} records{BOLD:#} since {}\n",
        report.records, report.since
    );
    let mut counts = BTreeMap::new();
    for (event, outcomes) in &report.events {
        for (outcome, times) in outcomes {
            counts.insert(format!("{event} {outcome}"), *times);
        }
    }
    table(&mut page, "What happened", BOLD, &counts);
    table(&mut page, "What was not allowed", WRONG, &report.denials);
    table(&mut page, "Tools used", BOLD, &report.tools);
    let slow = report.slowest.iter().map(|slow| {
        let millis = slow.micros / 1_000;
        format!(
            "{millis:>8} ms  {} {} (record {})",
            slow.method, slow.path, slow.index
        )
    });
    list(
        &mut page,
        "Slowest requests",
        BOLD,
        &slow.collect::<Vec<_>>(),
    );
    let actors = "Actors never seen before";
    list(&mut page, actors, BOLD, &report.new_actors);
    let mut gaps = report.gaps.clone();
    if report.unreadable > 0 {
        gaps.push(format!("{} lines are no records", report.unreadable));
    }
    if gaps.is_empty() {
        let _ = writeln!(
            page,
            "\n{GREEN}No gaps.{GREEN:#} Whether all of this can be believed: clawdbot audit verify"
        );
    }
    list(&mut page, "Gaps", WRONG, &gaps);
    page
}

/// The largest counts first.
fn table(page: &mut String, title: &str, style: Style, counts: &BTreeMap<String, u64>) {
    let mut rows: Vec<_> = counts.iter().collect();
    rows.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    let rows = rows
        .iter()
        .map(|(what, times)| format!("{times:>8}  {what}"));
    list(page, title, style, &rows.collect::<Vec<_>>());
}

fn list(page: &mut String, title: &str, style: Style, rows: &[String]) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(page, "\n{style}{title}{style:#}");
    for row in rows.iter().take(SHOWN) {
        let _ = writeln!(page, "  {}", clawdbot_audit::visible(row));
    }
    if rows.len() > SHOWN {
        let _ = writeln!(page, "  and {} more", rows.len() - SHOWN);
    }
}
