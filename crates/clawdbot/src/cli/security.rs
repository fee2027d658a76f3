//! `clawdbot security`: is this gateway as safe as the guide asks?

mod baseline;
mod checklist;
mod container;
mod effective;
mod exposure;
mod inspect;
mod permissions;
mod upkeep;

use super::{CliResult, Exit, Failure};
use crate::home::Home;
use clap::builder::styling::{AnsiColor, Style};
use clap::{Args, Subcommand};
use std::fmt;

#[derive(Debug, Subcommand)]
pub enum SecurityCommand {
    /// The security guide's checklist, item by item, against what is in force
    Checklist(CheckArgs),
    /// Look for what is not safe: permissions, exposure, tokens, settings, the container
    Audit(inspect::AuditArgs),
    /// Accept what is in force, and see later whether it is still the same
    #[command(subcommand)]
    Baseline(baseline::BaselineCommand),
    /// Write down that an item of the regular maintenance was done
    Done {
        /// What was done
        item: upkeep::ByHand,
    },
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The gateway's port, when it is not gateway.port
    #[arg(long)]
    port: Option<u16>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub use effective::told;
pub(super) use upkeep::{REVIEW, moment, note_done};

pub fn run(command: SecurityCommand, home: &Home) -> CliResult {
    match command {
        SecurityCommand::Checklist(args) => checklist::run(&args, home),
        SecurityCommand::Audit(args) => inspect::run(&args, home),
        SecurityCommand::Baseline(command) => baseline::run(command, home),
        SecurityCommand::Done { item } => upkeep::done_by_hand(item, home),
    }
}

pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const DOUBT: Style = AnsiColor::Yellow.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const HEAD: Style = Style::new().bold();

/// How bad a finding is; the worst comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// It must be mended: the command ends with 1.
    Fail,
    /// It should be.
    Warn,
    /// Worth knowing.
    Info,
}

impl Severity {
    pub(super) const fn style(self) -> Style {
        match self {
            Self::Fail => BAD,
            Self::Warn => DOUBT,
            Self::Info => DIM,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fail => "FAIL",
            Self::Warn => "WARN",
            Self::Info => "info",
        })
    }
}

/// Something that is not as it should be, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Finding {
    /// Stable: what a script may know it by.
    pub(super) id: String,
    pub(super) severity: Severity,
    pub(super) what: String,
    /// Why it matters.
    pub(super) why: String,
    /// The command, or what a person has to do.
    pub(super) mend: String,
    /// `--fix` mended it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) fixed: bool,
}

impl Finding {
    pub(super) fn new(
        id: impl Into<String>,
        severity: Severity,
        what: impl Into<String>,
        why: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            severity,
            what: what.into(),
            why: why.into(),
            mend: mend.into(),
            fixed: false,
        }
    }
}

/// A value as JSON text.
pub(super) fn json_text(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|e| Failure::new(Exit::Bug, e))
}
