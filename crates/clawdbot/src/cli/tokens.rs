//! `clawdbot tokens`.

use super::CliResult;
use crate::home::Home;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum TokensCommand {}

pub fn run(command: TokensCommand, _home: &Home) -> CliResult {
    match command {}
}
