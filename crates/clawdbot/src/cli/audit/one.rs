//! `clawdbot audit show`: one record and its other half.

use super::out::Out;
use super::record::Frame;
use super::{paint, unreadable};
use crate::cli::{CliResult, Exit, Failure};
use crate::home::Home;
use clap::Args;
use clawdbot_audit::{Records, visible};
use serde_json::Value;

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The record's index
    index: u64,
    /// The records as they stand in the log, one JSON object a line
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ShowArgs, home: &Home) -> CliResult {
    let logs = home.logs();
    let find = |from: u64, wanted: &dyn Fn(&Frame<'_>) -> bool| {
        let mut records = Records::from(&logs, from).map_err(unreadable)?;
        while let Some(line) = records.read().map_err(unreadable)? {
            if Frame::parse(line).is_some_and(|frame| wanted(&frame)) {
                return Ok(Some(line.to_owned()));
            }
        }
        Ok::<_, Failure>(None)
    };
    let index = args.index;
    let Some(line) = find(index, &|frame| frame.index == index)? else {
        return Err(
            Failure::new(Exit::Unavailable, format!("there is no record {index}"))
                .hint("`clawdbot audit tail -n 1` shows the newest; older ones than `maxLogFiles` keeps are pruned"),
        );
    };
    let begin = Frame::parse(&line).and_then(|frame| frame.begin);
    let other = match begin {
        Some(begin) => find(begin, &|frame| frame.index == begin)?,
        None => find(index, &|frame| frame.begin == Some(index))?,
    };
    let mut out = Out::new();
    for line in std::iter::once(line).chain(other) {
        if args.json {
            out.line(line);
        } else {
            whole(&line, &mut out);
        }
    }
    out.flush();
    Ok(Exit::Done)
}

/// Every field on a line of its own, none cut.
fn whole(line: &str, out: &mut Out) {
    out.line(paint::row(line));
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else {
        return;
    };
    for (name, value) in &fields {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        out.line(paint::field(&visible(name), &visible(&value)));
    }
    out.line("");
}
