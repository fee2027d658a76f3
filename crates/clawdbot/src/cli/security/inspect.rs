//! `clawdbot security audit`: what is not safe, how bad it is, why, and what mends it.

use super::container::{self, Surroundings};
use super::effective::Effective;
use super::{BAD, DIM, Finding, GOOD, Severity, baseline, exposure, json_text, permissions};
use crate::cli::{CliResult, Exit, Failure};
use crate::home::Home;
use crate::{say, wire};
use clap::Args;
use clawdbot_audit::{Against, Verdict, verify_against};
use clawdbot_domain::UnixTime;
use clawdbot_sandbox::{Sandbox, SandboxSettings};
use serde_json::json;

#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Also prove the sandbox, verify the whole audit log and compare with the baseline
    #[arg(long)]
    deep: bool,
    /// Mend what can be mended without a decision: permissions of the gateway's own files
    #[arg(long)]
    fix: bool,
    /// The gateway's port, when it is not gateway.port
    #[arg(long)]
    port: Option<u16>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &AuditArgs, home: &Home) -> CliResult {
    // First: opening a store mends the mode of its own folder, and then nobody would know.
    let mut found = permissions::look(home, args.fix);
    let effective = Effective::of(home, args.port)?;
    found.extend(exposure::settings(&effective));
    found.extend(exposure::tokens(home, UnixTime::now())?);
    found.extend(container::judge(&Surroundings::look()));
    if args.deep {
        found.extend(sandbox(home, &effective));
        found.extend(log(home, &effective));
        found.extend(baseline::as_findings(home, &effective));
    }
    found.sort_by_key(|finding| finding.severity);
    let open = |severity| {
        let still = |f: &&Finding| f.severity == severity && !f.fixed;
        found.iter().filter(still).count()
    };
    let (fails, warnings) = (open(Severity::Fail), open(Severity::Warn));
    if args.json {
        let all = json!({
            "source": effective.source_json(), "deep": args.deep, "findings": found,
            "fail": fails, "warn": warnings,
        });
        say!("{}", json_text(&all)?);
    } else {
        say!("{DIM}looked at {}{DIM:#}", effective.source());
        found.iter().for_each(show);
        say!("");
        let (style, fixed) = (
            if fails > 0 { BAD } else { GOOD },
            found.iter().filter(|f| f.fixed).count(),
        );
        say!(
            "{style}{fails} must be mended, {warnings} should be{style:#}; {fixed} were mended now"
        );
        if !args.deep {
            say!(
                "{DIM}--deep also proves the sandbox, verifies the audit log and compares with the baseline{DIM:#}"
            );
        }
    }
    Ok(if fails == 0 { Exit::Done } else { Exit::Found })
}

fn show(finding: &Finding) {
    let style = finding.severity.style();
    say!(
        "\n{style}{}{style:#}  {}  {DIM}{}{DIM:#}",
        finding.severity,
        finding.what,
        finding.id
    );
    say!("      why:  {}", finding.why);
    if finding.fixed {
        say!("      {GOOD}mended now{GOOD:#}");
    } else {
        say!("      mend: {}", finding.mend);
    }
}

/// The sandbox, tried.
fn sandbox(home: &Home, effective: &Effective) -> Vec<Finding> {
    let settings = SandboxSettings {
        enabled: true,
        ..wire::sandbox_settings(home, &effective.settings)
    };
    let proven = Sandbox::prove(settings);
    let proven = match proven {
        Ok(proven) => proven,
        Err(why) => {
            return vec![Finding::new(
                "sandbox.proof",
                Severity::Fail,
                format!("the sandbox does not hold here: {why}"),
                "tools could reach what they must not",
                "clawdbot doctor --verbose",
            )];
        }
    };
    let missing = proven.missing().iter().map(|missing| {
        Finding::new(
            "sandbox.layer",
            Severity::Warn,
            format!("tier {}: {missing}", proven.tier()),
            "one wall fewer stands between a tool and this machine",
            "clawdbot sandbox test",
        )
    });
    missing.collect()
}

/// The audit log, verified.
fn log(home: &Home, effective: &Effective) -> Vec<Finding> {
    let against = Against {
        register: wire::audit_places(home, &effective.settings).register,
        ..Against::default()
    };
    let severity = |verdict: &Verdict| match verdict {
        Verdict::Intact => None,
        Verdict::Torn { .. } => Some(Severity::Warn),
        Verdict::Tampered { .. } | Verdict::RolledBack { .. } => Some(Severity::Fail),
    };
    let (severity, what) = match verify_against(&home.logs(), &against, &mut |_, _| ()) {
        Ok(found) => (
            severity(&found.verdict),
            format!("the audit log: {:?}", found.verdict),
        ),
        // Where no gateway ever ran there is no log.
        Err(_) if !home.logs().exists() => (None, String::new()),
        Err(error) => (
            Some(Severity::Fail),
            format!("the audit log cannot be read: {error}"),
        ),
    };
    let finding = severity.map(|severity| {
        Finding::new(
            "audit.verify",
            severity,
            what,
            "what the log says can no longer be believed",
            "keep the folder as it is, and see: clawdbot audit verify",
        )
    });
    finding.into_iter().collect()
}

/// For the errors of the pieces.
pub(super) fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Io, error)
}
