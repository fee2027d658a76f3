//! `clawdbot audit query`.

use super::out::Out;
use super::record::{Filter, Record};
use super::{paint, unreadable};
use crate::cli::{CliResult, Exit};
use crate::home::Home;
use clap::Args;
use std::collections::VecDeque;

#[derive(Debug, Args)]
pub struct QueryArgs {
    #[command(flatten)]
    filter: Filter,
    /// Only the newest so many of them
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=MOST))]
    lines: Option<u32>,
    /// The records as they stand in the log, one JSON object a line
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As a table for a spreadsheet, what tells the event apart as JSON in the last column
    #[arg(long)]
    csv: bool,
}

/// So many records are held to show the newest of them.
const MOST: i64 = 100_000;

/// Columns of the table that are fields of the record.
const COLUMNS: [&str; 10] = [
    "index", "time", "level", "event", "outcome", "actor", "session", "request", "address", "begin",
];

pub fn run(args: &QueryArgs, home: &Home) -> CliResult {
    let mut records = args.filter.open(home)?;
    let mut out = if args.json || args.csv {
        Out::plain()
    } else {
        Out::new()
    };
    if args.csv {
        out.line(format_args!("{},details", COLUMNS.join(",")));
    } else if !args.json && out.is_terminal() {
        out.line(paint::heading());
    }
    let newest = args.lines.and_then(|lines| usize::try_from(lines).ok());
    let mut held = VecDeque::new();
    while let Some(line) = records.read().map_err(unreadable)? {
        if out.is_closed() {
            return Ok(Exit::Done);
        }
        if !args.filter.wants(line) {
            continue;
        }
        if let Some(most) = newest {
            if held.len() >= most {
                held.pop_front();
            }
            held.push_back(line.to_owned());
        } else {
            show(args, line, &mut out);
        }
    }
    for line in held {
        show(args, &line, &mut out);
    }
    out.flush();
    Ok(Exit::Done)
}

fn show(args: &QueryArgs, line: &str, out: &mut Out) {
    if args.json {
        out.line(line);
    } else if !args.csv {
        out.line(paint::row(line));
    } else if let Some(record) = Record::parse(line) {
        out.line(row(&record));
    }
}

fn row(record: &Record) -> String {
    let cell = |field: &&str| match record.number(field) {
        Some(number) => number.to_string(),
        None => quoted(record.text(field)),
    };
    let mut cells: Vec<String> = COLUMNS.iter().map(cell).collect();
    cells.push(quoted(&record.details()));
    cells.join(",")
}

/// Text of one cell. A spreadsheet must not run as a formula what somebody got into the log.
fn quoted(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let mark = if formula { "'" } else { "" };
    format!("\"{mark}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::{quoted, row};
    use crate::cli::audit::record::Record;

    #[test]
    fn a_cell_is_never_a_formula_and_never_two_cells() {
        assert_eq!(quoted("=HYPERLINK(1)"), "\"'=HYPERLINK(1)\"");
        assert_eq!(quoted("a\",\"b"), "\"a\"\",\"\"b\"");
    }

    #[test]
    fn a_row_has_the_frame_in_columns_and_the_rest_in_one() {
        let line = r#"{"index":7,"time":"t","boot":"b","mono":1,"level":"info","event":"tool.begin","tool":"x","outcome":"begin","actor":"a","prev":"0","hash":"1"}"#;
        let record = Record::parse(line).unwrap();
        assert_eq!(
            row(&record),
            r#"7,"t","info","tool.begin","begin","a","","","","","{""tool"":""x""}""#
        );
    }
}
