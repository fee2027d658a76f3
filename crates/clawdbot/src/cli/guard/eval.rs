//! `clawdbot guard eval`: how good the detector is on labelled text.

use super::{From, bad_row, open, unreadable};
use crate::cli::{CliResult, Exit, Failure};
use crate::say;
use clap::Args;
use clawdbot_domain::Channel;
use clawdbot_guard::measure::{Metrics, Part, Scored, measure};
use clawdbot_guard::{Guard, GuardSettings};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(Debug, Args)]
pub struct Eval {
    /// Use the thresholds of strict mode for what counts as found and as kept
    #[arg(long)]
    strict: bool,
    /// Print the metrics as JSON
    #[arg(long)]
    json: bool,
    /// Files of {"text","label","kind","source","lang","channel"} lines, label 1 for an attack, packed
    /// with gzip or not; folders of them; `-` is standard input
    #[arg(value_name = "FILE|DIR", default_value = "-")]
    from: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Row {
    text: String,
    label: u8,
    channel: Option<From>,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    lang: String,
}

impl Row {
    /// As it says, or as its kind suggests.
    fn channel(&self) -> Channel {
        match (self.channel, self.kind.as_str()) {
            (Some(channel), _) => channel.channel(),
            (None, "indirect" | "tool" | "document") => Channel::Tool,
            (None, "tool_description") => Channel::ToolDescription,
            (None, _) => Channel::User,
        }
    }
}

pub fn run(eval: &Eval) -> CliResult {
    let guard = Guard::new(GuardSettings {
        enabled: true,
        strict: eval.strict,
    });
    let mut scored = Vec::new();
    for file in files(&eval.from)? {
        for (number, line) in (1..).zip(lines(&file)?.lines()) {
            let line = line.map_err(|e| unreadable(&file, &e))?;
            if line.trim().is_empty() {
                continue;
            }
            let row: Row = serde_json::from_str(&line).map_err(|e| bad_row(&file, number, &e))?;
            scored.push(score(guard, row, &file));
        }
    }
    let metrics = measure(&scored);
    if eval.json {
        let json = serde_json::to_string(&metrics).map_err(|e| Failure::new(Exit::Bug, e))?;
        say!("{json}");
    } else {
        print(&metrics);
    }
    Ok(Exit::Done)
}

fn score(guard: Guard, row: Row, file: &Path) -> Scored {
    let channel = row.channel();
    let score = guard.explain(&row.text, channel).score;
    let source = if row.source.is_empty() {
        file.file_stem()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    } else {
        row.source
    };
    Scored {
        attack: row.label == 1,
        score,
        finding: score >= guard.threshold(channel),
        source,
        lang: row.lang,
    }
}

/// Files as given, and the labelled files of folders in the order of their names.
fn files(given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|e| unreadable(path, &e))?;
        let mut inside: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.to_string_lossy();
                name.ends_with(".jsonl") || name.ends_with(".jsonl.gz")
            })
            .collect();
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

/// Packed files go through `gzip`, which every system with such files has.
fn lines(file: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if file.extension().is_none_or(|e| e != "gz") {
        return open(file);
    }
    drop(open(file)?);
    let gzip = Command::new("gzip")
        .arg("-dc")
        .arg("--")
        .arg(file)
        .stdout(Stdio::piped())
        .spawn();
    let out = gzip.ok().and_then(|child| child.stdout).ok_or_else(|| {
        let what = format!("cannot start gzip to read {}", file.display());
        Failure::new(Exit::Io, what).hint("unpack the file first")
    })?;
    Ok(Box::new(BufReader::new(out)))
}

fn print(metrics: &Metrics) {
    say!(
        "texts                    {} ({} attacks)",
        metrics.texts,
        metrics.attacks
    );
    say!("AUC                      {:.3}", metrics.auc);
    say!("TPR at 1 % FPR           {:.3}", metrics.tpr_at_1_percent);
    say!(
        "  mean over sources      {:.3}",
        metrics.macro_tpr_at_1_percent
    );
    say!("found at our threshold   {:.3}", metrics.found);
    say!("refused though harmless  {:.4}", metrics.refused);
    if let Some(kept) = metrics.not_inject {
        say!("NotInject kept           {kept:.3}");
    }
    print_parts("source", &metrics.by_source);
    print_parts("language", &metrics.by_language);
}

fn print_parts(what: &str, parts: &BTreeMap<String, Part>) {
    say!("");
    say!("{what:<24} attacks  TPR@1%   harmless  kept");
    let share = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), |s| format!("{s:.3}"));
    for (name, part) in parts {
        let (tpr, kept) = (share(part.tpr_at_1_percent), share(part.kept));
        say!(
            "{name:<24} {:>7}  {tpr:<7}  {:>8}  {kept}",
            part.attacks,
            part.harmless
        );
    }
}
