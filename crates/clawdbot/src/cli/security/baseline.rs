//! `clawdbot security baseline`: what was accepted once, and whether it is still so.
//!
//! The document holds every setting in force, the verdict over every tool, the schema of every tool and the
//! program itself, one line each, so that a difference is named key by key. It is signed with a key of
//! the home, and its fingerprint stands in the audit log: who can write the home and would sign another
//! one leaves a record, or has to forge that log too. Written down elsewhere, the fingerprint needs
//! neither.

mod signed;

use super::effective::{self, Effective};
use super::inspect::failed;
use super::{BAD, DIM, Finding, GOOD, Severity, json_text, upkeep};
use crate::cli::record::{Record, settings};
use crate::cli::tools;
use crate::cli::{CliResult, Exit, Failure};
use crate::home::Home;
use crate::{note, say};
use clap::{Args, Subcommand};
use clawdbot_domain::{Event, UnixTime};
use serde::Serialize;
use serde_json::json;
use signed::Signed;
use std::collections::BTreeMap;

#[derive(Debug, Subcommand)]
pub enum BaselineCommand {
    /// Take what is in force now for what it should be
    Accept(BaselineArgs),
    /// Name every difference from what was accepted; exit 1 when there is one
    Verify(BaselineArgs),
}

#[derive(Debug, Args)]
pub struct BaselineArgs {
    /// The gateway's port, when it is not gateway.port
    #[arg(long)]
    port: Option<u16>,
    /// The fingerprint that was printed when it was accepted and kept elsewhere
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Everything that is compared, by key.
pub(super) type Facts = BTreeMap<String, String>;

/// One key that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Difference {
    key: String,
    /// What was accepted; nothing when the key is new.
    accepted: Option<String>,
    now: Option<String>,
}

pub(super) fn run(command: BaselineCommand, home: &Home) -> CliResult {
    match command {
        BaselineCommand::Accept(args) => accept(&args, home),
        BaselineCommand::Verify(args) => verify(&args, home),
    }
}

fn facts(effective: &Effective) -> Result<Facts, Failure> {
    let mut all = Facts::new();
    for (key, value) in effective::told(&effective.values, &effective.values) {
        all.insert(format!("config.{key}"), clawdbot_config::show(&value));
    }
    for (spec, verdict) in tools::verdicts(&effective.settings) {
        let schema = clawdbot_domain::sha256_hex(spec.schema.to_string().as_bytes());
        all.insert(format!("policy.{}", spec.name), verdict.to_string());
        all.insert(
            format!("tool.{}.effect", spec.name),
            spec.effect.to_string(),
        );
        all.insert(format!("tool.{}.schema", spec.name), schema);
    }
    let (version, program) = program(effective)?;
    all.insert("binary.version".to_owned(), version);
    all.insert("binary.sha256".to_owned(), program);
    Ok(all)
}

/// The program that runs the gateway: of this process, when it is of the version that runs.
fn program(effective: &Effective) -> Result<(String, String), Failure> {
    let own = env!("CARGO_PKG_VERSION");
    let running = effective
        .running
        .as_ref()
        .and_then(|status| status.get("version")?.as_str());
    let path = std::env::current_exe().map_err(failed)?;
    let bytes = std::fs::read(&path).map_err(failed)?;
    Ok((
        running.unwrap_or(own).to_owned(),
        clawdbot_domain::sha256_hex(&bytes),
    ))
}

fn accept(args: &BaselineArgs, home: &Home) -> CliResult {
    let effective = Effective::of(home, args.port)?;
    let facts = facts(&effective)?;
    let keys = facts.len() as u64;
    let draft = Signed::draft(facts, UnixTime::now())?;
    let fingerprint = draft.fingerprint();
    if args
        .fingerprint
        .as_ref()
        .is_some_and(|wanted| *wanted != fingerprint)
    {
        return Err(Failure::new(
            Exit::Refused,
            format!("what is in force has the fingerprint {fingerprint}, not the one given"),
        ));
    }
    let record = Record::open(home, &settings(home)?)?;
    let event = Event::BaselineAccepted {
        fingerprint: fingerprint.clone(),
        keys,
    };
    record.act(&event, || draft.keep(home))?;
    if args.json {
        say!(
            "{}",
            json_text(&json!({"fingerprint": fingerprint, "keys": keys}))?
        );
    } else {
        say!(
            "accepted: {keys} keys, checked against {}",
            effective.source()
        );
        say!("fingerprint {fingerprint}");
        note!(
            "write the fingerprint down elsewhere: clawdbot security baseline verify --fingerprint compares with it"
        );
    }
    Ok(Exit::Done)
}

fn differences(accepted: &Facts, now: &Facts) -> Vec<Difference> {
    let mut keys: Vec<&String> = accepted.keys().chain(now.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let changed = keys
        .into_iter()
        .filter(|key| accepted.get(*key) != now.get(*key));
    changed
        .map(|key| Difference {
            key: key.clone(),
            accepted: accepted.get(key).cloned(),
            now: now.get(key).cloned(),
        })
        .collect()
}

fn verify(args: &BaselineArgs, home: &Home) -> CliResult {
    let kept = Signed::read(home)?.ok_or_else(|| {
        Failure::new(Exit::Unavailable, "no baseline was accepted in this home")
            .hint("look at what is in force, then: clawdbot security baseline accept")
    })?;
    let fingerprint = kept.fingerprint();
    let forged = kept.doubt(home, args.fingerprint.as_deref());
    let effective = Effective::of(home, args.port)?;
    let found = differences(&kept.facts, &facts(&effective)?);
    if args.json {
        say!(
            "{}",
            json_text(&json!({
                "source": effective.source_json(), "accepted": kept.accepted, "fingerprint": fingerprint,
                "forged": forged, "differences": found,
            }))?
        );
    } else {
        explain(&kept, forged.as_deref(), &found, &effective);
    }
    if forged.is_some() {
        return Ok(Exit::Tampered);
    }
    if let Err(why) = upkeep::note_done(home, upkeep::BASELINE) {
        note!(
            "warning: that this was verified is not written down: {}",
            why.message()
        );
    }
    Ok(if found.is_empty() {
        Exit::Done
    } else {
        Exit::Found
    })
}

fn explain(kept: &Signed, forged: Option<&str>, found: &[Difference], effective: &Effective) {
    say!(
        "{DIM}accepted {}; compared with {}{DIM:#}",
        kept.accepted,
        effective.source()
    );
    if let Some(why) = forged {
        say!("{BAD}the baseline itself is not the one that was accepted: {why}{BAD:#}");
    }
    for one in found {
        let text =
            |value: &Option<String>| value.clone().unwrap_or_else(|| "(not there)".to_owned());
        say!(
            "{BAD}{}{BAD:#}: {} was accepted, now {}",
            one.key,
            text(&one.accepted),
            text(&one.now)
        );
    }
    if found.is_empty() && forged.is_none() {
        say!("{GOOD}nothing changed{GOOD:#}: {} keys", kept.facts.len());
    } else {
        note!("if every change is meant: clawdbot security baseline accept");
    }
}

/// The same for `security audit --deep`.
pub(super) fn as_findings(home: &Home, effective: &Effective) -> Vec<Finding> {
    let (id, why) = ("baseline", "a change that nobody meant goes unseen");
    let again = "clawdbot security baseline verify";
    let kept = match Signed::read(home) {
        Ok(Some(kept)) => kept,
        Ok(None) => {
            let mend = "clawdbot security baseline accept";
            return vec![Finding::new(
                id,
                Severity::Info,
                "no baseline was accepted",
                why,
                mend,
            )];
        }
        Err(error) => {
            return vec![Finding::new(
                id,
                Severity::Fail,
                error.message(),
                why,
                again,
            )];
        }
    };
    if let Some(doubt) = kept.doubt(home, None) {
        return vec![Finding::new(id, Severity::Fail, doubt, why, again)];
    }
    let now = facts(effective).unwrap_or_default();
    let found = differences(&kept.facts, &now);
    let finding = |one: &Difference| {
        let what = format!("{} is not as it was accepted", one.key);
        Finding::new(
            format!("{id}.{}", one.key),
            Severity::Fail,
            what,
            why,
            again,
        )
    };
    found.iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::{Facts, differences};

    #[test]
    fn what_changed_what_came_and_what_went_is_named_by_its_key() {
        let facts = |pairs: &[(&str, &str)]| -> Facts {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let before = facts(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let after = facts(&[("a", "1"), ("b", "9"), ("d", "4")]);
        let keys: Vec<String> = differences(&before, &after)
            .into_iter()
            .map(|d| d.key)
            .collect();
        assert_eq!(keys, ["b", "c", "d"]);
        assert_eq!(differences(&before, &before), []);
    }
}
