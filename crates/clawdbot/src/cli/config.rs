//! `clawdbot config`.

use super::CliResult;
use crate::home::Home;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {}

pub fn run(command: ConfigCommand, _home: &Home) -> CliResult {
    match command {}
}
