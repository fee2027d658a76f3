//! `clawdbot guard`.

use super::CliResult;
use crate::home::Home;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum GuardCommand {}

pub fn run(command: GuardCommand, _home: &Home) -> CliResult {
    match command {}
}
