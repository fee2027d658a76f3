//! `clawdbot audit export`: records for the systems that collect them.

mod otlp;

use super::out::Out;
use super::record::{Filter, Record};
use super::unreadable;
use crate::cli::{CliResult, Exit};
use crate::home::Home;
use clap::{Args, ValueEnum};
use std::fmt::Write as _;

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The form
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// The records as they stand in the log, one JSON object a line
    Jsonl,
    /// `ArcSight` Common Event Format, one event a line
    Cef,
    /// OpenTelemetry, one `ExportLogsServiceRequest` in JSON a line
    Otlp,
}

pub fn run(args: &ExportArgs, home: &Home) -> CliResult {
    let mut records = args.filter.open(home)?;
    let (mut out, mut batch) = (Out::plain(), Batch::default());
    while let Some(line) = records.read().map_err(unreadable)? {
        if out.is_closed() {
            return Ok(Exit::Done);
        }
        if !args.filter.wants(line) {
            continue;
        }
        let record = || Record::parse(line);
        match args.format {
            Format::Jsonl => out.line(line),
            Format::Cef => record().iter().for_each(|record| out.line(cef(record))),
            Format::Otlp => record()
                .iter()
                .for_each(|record| batch.push(record, line, &mut out)),
        }
    }
    batch.send(&mut out);
    out.flush();
    Ok(Exit::Done)
}

/// Records of one OTLP request, as text.
#[derive(Default)]
struct Batch {
    text: Vec<u8>,
    records: usize,
}

impl Batch {
    fn push(&mut self, record: &Record, line: &str, out: &mut Out) {
        let before = if self.records == 0 { otlp::HEAD } else { "," };
        self.text.extend_from_slice(before.as_bytes());
        // Writing to memory cannot fail.
        let _ = otlp::log_record(record, line, &mut self.text);
        self.records += 1;
        if self.records >= otlp::BATCH || self.text.len() >= otlp::BATCH_BYTES {
            self.send(out);
        }
    }

    fn send(&mut self, out: &mut Out) {
        if self.records > 0 {
            self.text.extend_from_slice(otlp::TAIL.as_bytes());
            out.bytes(&self.text);
        }
        self.text.clear();
        self.records = 0;
    }
}

/// A record as CEF, version 0: <https://www.microfocus.com/documentation/arcsight/>. The whole event is in
/// `msg`, so nothing is lost; `flexString1` is the record's hash, which proves it.
fn cef(record: &Record) -> String {
    let event = in_header(record.text("event"));
    let version = env!("CARGO_PKG_VERSION");
    let severity = match record.text("level") {
        "debug" => 1,
        "info" => 3,
        "warn" => 6,
        _ => 8,
    };
    let mut text = format!("CEF:0|Clawdbot|clawdbot|{version}|{event}|{event}|{severity}|");
    let index = record.number("index").unwrap_or_default();
    let _ = write!(text, "externalId={index}");
    let address = record.text("address");
    let source = if address.contains(':') { "c6a2" } else { "src" };
    let (time, details) = (cef_time(record.text("time")), record.details());
    let parts = [
        ("rt", time.as_deref().unwrap_or("")),
        ("outcome", record.text("outcome")),
        ("suser", record.text("actor")),
        (source, address),
        ("cs1", record.text("session")),
        ("cs2", record.text("request")),
        ("flexString1", record.text("hash")),
        ("msg", details.as_str()),
    ];
    for (key, value) in parts.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = write!(text, " {key}={}", in_extension(value));
        if let Some(label) = label(key) {
            let _ = write!(text, " {key}Label={label}");
        }
    }
    text
}

/// `MMM dd yyyy HH:mm:ss.SSS zzz`, which the format takes, of a time as the log has it.
fn cef_time(text: &str) -> Option<String> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (year, month, day) = (text.get(0..4)?, text.get(5..7)?, text.get(8..10)?);
    let month = MONTHS.get(month.parse::<usize>().ok()?.checked_sub(1)?)?;
    Some(format!("{month} {day} {year} {} UTC", text.get(11..23)?))
}

fn label(key: &str) -> Option<&'static str> {
    match key {
        "c6a2" => Some("Source IPv6 Address"),
        "cs1" => Some("session"),
        "cs2" => Some("request"),
        "flexString1" => Some("hash"),
        _ => None,
    }
}

fn in_header(text: &str) -> String {
    in_one_line(&text.replace('\\', r"\\").replace('|', r"\|"))
}

fn in_extension(text: &str) -> String {
    in_one_line(&text.replace('\\', r"\\").replace('=', r"\="))
}

fn in_one_line(text: &str) -> String {
    let text = text.replace('\r', r"\r").replace('\n', r"\n");
    // Somebody may look at it on a terminal.
    clawdbot_audit::visible(&text)
}

#[cfg(test)]
mod tests {
    use super::cef;
    use crate::cli::audit::record::Record;

    #[test]
    fn a_value_cannot_become_a_field_of_its_own() {
        let line = r#"{"index":7,"time":"2026-11-25T17:00:00.123456789Z","level":"warn","event":"a|b","path":"x src=1.2.3.4\ny","outcome":"denied","actor":"a=b","address":"::1","hash":"ff"}"#;
        let shown = cef(&Record::parse(line).unwrap());
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            shown,
            format!(
                "CEF:0|Clawdbot|clawdbot|{version}|a\\|b|a\\|b|6|externalId=7 \
                 rt=Nov 25 2026 17:00:00.123 UTC outcome=denied suser=a\\=b \
                 c6a2=::1 c6a2Label=Source IPv6 Address flexString1=ff flexString1Label=hash \
                 msg={{\"path\":\"x src\\=1.2.3.4\\\\ny\"}}"
            )
        );
    }
}
