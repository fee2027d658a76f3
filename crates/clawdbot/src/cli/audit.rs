//! `clawdbot audit`.

use super::CliResult;
use crate::home::Home;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum AuditCommand {}

pub fn run(command: AuditCommand, _home: &Home) -> CliResult {
    match command {}
}
