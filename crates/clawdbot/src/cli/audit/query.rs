//! `clawdbot audit query`.

use super::record::{Filter, Record};
use super::{show, unreadable};
use crate::cli::{CliResult, Exit};
use crate::home::Home;
use crate::say;
use clap::Args;
use clawdbot_audit::Records;

#[derive(Debug, Args)]
pub struct QueryArgs {
    #[command(flatten)]
    filter: Filter,
    /// The records as they stand in the log, one JSON object a line
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As a table for a spreadsheet, what tells the event apart as JSON in the last column
    #[arg(long)]
    csv: bool,
}

/// Columns of the table that are fields of the record.
const COLUMNS: [&str; 10] = [
    "index", "time", "level", "event", "outcome", "actor", "session", "request", "address", "begin",
];

pub fn run(args: &QueryArgs, home: &Home) -> CliResult {
    if args.csv {
        say!("{},details", COLUMNS.join(","));
    }
    for line in Records::open(&home.logs()).map_err(unreadable)? {
        let line = line.map_err(unreadable)?;
        let Some(record) = Record::parse(&line).filter(|record| args.filter.wants(record)) else {
            continue;
        };
        if args.csv {
            say!("{}", row(&record));
        } else {
            show(&[line], args.json);
        }
    }
    Ok(Exit::Done)
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
