//! `clawdbot guard`: try the guard on text, without a gateway.

mod eval;

use super::{CliResult, Exit, Failure};
use crate::home::Home;
use crate::say;
use clap::{Args, Subcommand, ValueEnum};
use clawdbot_domain::Channel;
use clawdbot_guard::{Action, Finding, Guard, GuardSettings, Report, Weighed};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::{BufRead, Read, stdin};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub enum GuardCommand {
    /// Score text; exit 0 when it is clean, 1 when there is a finding
    Scan(Scan),
    /// Show everything that weighed, also where it was not enough for a finding
    Explain(Explain),
    /// Measure the detector on labelled text
    Eval(eval::Eval),
}

#[derive(Debug, Args)]
pub struct Scan {
    #[command(flatten)]
    how: How,
    /// Print the reports as JSON
    #[arg(long, conflicts_with = "jsonl")]
    json: bool,
    /// Read one {"id","text","channel"} a line and write one {"id","score","verdict","findings"}
    #[arg(long)]
    jsonl: bool,
    /// What to read; `-` is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Explain {
    #[command(flatten)]
    how: How,
    /// What to read; `-` is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
}

#[derive(Debug, Args)]
struct How {
    /// Judge as what a person said, a tool returned, or a model said
    #[arg(long, value_enum, default_value_t = From::User)]
    channel: From,
    /// Use the thresholds of strict mode
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
enum From {
    #[default]
    User,
    Tool,
    Model,
}

impl From {
    const fn channel(self) -> Channel {
        match self {
            Self::User => Channel::User,
            Self::Tool => Channel::Tool,
            Self::Model => Channel::Model,
        }
    }
}

impl How {
    const fn guard(&self) -> Guard {
        Guard::new(GuardSettings {
            enabled: true,
            strict: self.strict,
        })
    }
}

pub fn run(command: GuardCommand, _home: &Home) -> CliResult {
    match command {
        GuardCommand::Scan(scan) if scan.jsonl => scan_lines(&scan),
        GuardCommand::Scan(scan) => scan_files(&scan),
        GuardCommand::Explain(explain) => explain_file(&explain),
        GuardCommand::Eval(eval) => eval::run(&eval),
    }
}

fn scan_files(scan: &Scan) -> CliResult {
    let mut exit = Exit::Done;
    let mut reports = Vec::new();
    for file in &scan.files {
        let text = read(file)?;
        let report = scan.how.guard().explain(&text, scan.how.channel.channel());
        if is_finding(&report) {
            exit = Exit::Found;
        }
        if scan.json {
            reports.push(json!({
                "file": file.display().to_string(),
                "score": report.score,
                "verdict": verdict(&report),
                "findings": report.findings,
            }));
        } else {
            say!("{}", line(file, &report));
            if is_finding(&report) {
                print_findings(&report);
            }
        }
    }
    if scan.json {
        say!("{}", Value::Array(reports));
    }
    Ok(exit)
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    id: Value,
    text: String,
    channel: Option<From>,
}

#[derive(Serialize)]
struct Scored<'r> {
    id: Value,
    score: f32,
    verdict: &'static str,
    findings: &'r [Finding],
}

/// One line in, one line out, nothing kept: a data set of any size goes through.
fn scan_lines(scan: &Scan) -> CliResult {
    let guard = scan.how.guard();
    let mut exit = Exit::Done;
    for file in &scan.files {
        for (number, row) in (1..).zip(open(file)?.lines()) {
            let row = row.map_err(|e| unreadable(file, &e))?;
            if row.trim().is_empty() {
                continue;
            }
            let row: Row = serde_json::from_str(&row).map_err(|e| bad_row(file, number, &e))?;
            let channel = row.channel.unwrap_or(scan.how.channel).channel();
            let report = guard.explain(&row.text, channel);
            if is_finding(&report) {
                exit = Exit::Found;
            }
            let scored = Scored {
                id: row.id,
                score: report.score,
                verdict: verdict(&report),
                findings: &report.findings,
            };
            let scored = serde_json::to_string(&scored);
            say!("{}", scored.map_err(|e| Failure::new(Exit::Bug, e))?);
        }
    }
    Ok(exit)
}

fn explain_file(explain: &Explain) -> CliResult {
    let text = read(&explain.file)?;
    let channel = explain.how.channel.channel();
    let guard = explain.how.guard();
    let report = guard.explain(&text, channel);
    say!("{}", line(&explain.file, &report));
    say!("a finding begins at {:.2}", guard.threshold(channel));
    if report.findings.is_empty() {
        say!("no rule matched");
    }
    print_findings(&report);
    let weighed = guard.weigh(&text, channel);
    print_words(weighed);
    Ok(if is_finding(&report) {
        Exit::Found
    } else {
        Exit::Done
    })
}

fn line(file: &Path, report: &Report) -> String {
    let name = if file == Path::new("-") {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    };
    format!("{:<8} {:.2}  {name}", verdict(report), report.score)
}

fn print_findings(report: &Report) {
    for finding in &report.findings {
        let rule = match finding.through {
            Some(disguise) => format!("{} ({disguise})", finding.rule),
            None => finding.rule.to_owned(),
        };
        let at = &finding.at;
        say!(
            "  {:.2}  {rule:<34} bytes {}..{}  {}",
            finding.weight,
            at.start,
            at.end,
            finding.excerpt
        );
    }
}

/// The words that spoke most clearly for or against an attack, the clearest first.
fn print_words(mut words: Vec<Weighed>) {
    const MOST: usize = 12;
    words.retain(|w| !w.word.trim().is_empty());
    words.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()));
    if !words.is_empty() {
        say!("words that weighed, with those before them (+ for an attack):");
    }
    for word in words.iter().take(MOST) {
        say!("  {:+.2}  {}", word.weight, word.word.escape_debug());
    }
}

fn is_finding(report: &Report) -> bool {
    report.action == Action::Refused
}

fn verdict(report: &Report) -> &'static str {
    if is_finding(report) {
        "finding"
    } else {
        "clean"
    }
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(stdin().lock()));
    }
    let opened = std::fs::File::open(file).map_err(|e| unreadable(file, &e))?;
    Ok(Box::new(std::io::BufReader::new(opened)))
}

/// What is not UTF-8 is read as a model's tokenizer would be given it: with replacements.
fn read(file: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let mut open = open(file)?;
    open.read_to_end(&mut bytes)
        .map_err(|e| unreadable(file, &e))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("cannot read {}: {error}", file.display()))
}

fn bad_row(file: &Path, number: u64, error: &serde_json::Error) -> Failure {
    Failure::new(
        Exit::BadData,
        format!("{} line {number}: {error}", file.display()),
    )
    .hint("each line is an object like {\"id\":\"1\",\"text\":\"…\",\"channel\":\"user\"}")
}
