//! `clawdbot tools`.

use super::CliResult;
use crate::home::Home;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum ToolsCommand {}

pub fn run(command: ToolsCommand, _home: &Home) -> CliResult {
    match command {}
}
