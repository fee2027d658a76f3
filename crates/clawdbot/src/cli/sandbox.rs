//! `clawdbot sandbox`.

use super::CliResult;
use crate::home::Home;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum SandboxCommand {}

pub fn run(command: SandboxCommand, _home: &Home) -> CliResult {
    match command {}
}
