//! Records as lines of a table, coloured for a terminal. Whoever prints takes the colours out where there
//! is none.

use clap::builder::styling::{AnsiColor, Style};
use clawdbot_audit::{Shown, visible};
use std::fmt::Write as _;

const PLAIN: Style = Style::new();
const DIM: Style = Style::new().dimmed();
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const RED: Style = AnsiColor::Red.on_default().bold();
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(super) const GREEN: Style = AnsiColor::Green.on_default();
const CYAN: Style = AnsiColor::Cyan.on_default();
const MAGENTA: Style = AnsiColor::Magenta.on_default();

/// The names of the columns.
pub(super) fn heading() -> String {
    format!(
        "{DIM}{:>8}  {:<23}  {:<5}  {:<9}  {:<26}  {:<14}  details{DIM:#}",
        "record", "time (UTC)", "level", "outcome", "event", "actor",
    )
}

/// A line of the log as a line of the table. What is no record is shown as it is.
pub(super) fn row(line: &str) -> String {
    let Some(shown) = Shown::of(line) else {
        return format!("{RED}{:>8}{RED:#}  {}", "?", visible(line));
    };
    let level = of_level(&shown.level);
    let outcome = of_outcome(&shown.outcome);
    let event = if shown.event.starts_with("security.") {
        BOLD
    } else {
        PLAIN
    };
    let mut row = format!(
        "{DIM}{:>8}{DIM:#}  {:<23}  {level}{:<5}{level:#}  {outcome}{:<9}{outcome:#}  {event}{:<26}{event:#}  {:<14} ",
        shown.index, shown.time, shown.level, shown.outcome, shown.event, shown.actor,
    );
    for (name, value) in &shown.details {
        let _ = write!(row, " {DIM}{name}={DIM:#}{value}");
    }
    row
}

/// One field of a record on a line of its own.
pub(super) fn field(name: &str, value: &str) -> String {
    format!("          {DIM}{name:<18}{DIM:#}  {value}")
}

fn of_level(level: &str) -> Style {
    match level {
        "error" => RED,
        "warn" => YELLOW,
        "debug" => DIM,
        _ => PLAIN,
    }
}

/// How a thing ended, at a glance.
pub(super) fn of_outcome(outcome: &str) -> Style {
    match outcome {
        "denied" => YELLOW,
        "failed" => RED,
        "abandoned" => MAGENTA,
        "ok" => GREEN,
        "begin" => CYAN,
        _ => PLAIN,
    }
}

#[cfg(test)]
mod tests {
    use super::{heading, row};

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn columns_stand_below_their_names_and_colours_are_all_that_is_added() {
        let line = r#"{"index":7,"time":"2026-11-25T17:00:00.123456789Z","level":"warn","event":"security.tool.denied","tool":"x","outcome":"denied","actor":"a1b2"}"#;
        let (names, shown) = (plain(&heading()), plain(&row(line)));
        for (name, value) in [
            ("time", "2026"),
            ("level", "warn"),
            ("outcome", "denied"),
            ("event", "security"),
            ("actor", "a1b2"),
            ("details", "tool=x"),
        ] {
            assert_eq!(
                names.find(name),
                shown.find(value),
                "{name}:\n{names}\n{shown}"
            );
        }
        assert!(row(line).contains("\u{1b}["), "a terminal sees colours");
    }

    #[test]
    fn a_colour_in_a_record_is_no_colour() {
        let shown = row("{\"event\":\"a\\u001b[31mb\"}");
        assert!(plain(&shown).contains(r"a\u{1b}[31mb"), "{shown}");
        assert!(plain(&row("x\u{1b}[31my")).contains(r"x\u{1b}[31my"));
    }
}
