//! `clawdbot models`.

use super::CliResult;
use crate::home::Home;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum ModelsCommand {}

pub fn run(command: ModelsCommand, _home: &Home) -> CliResult {
    match command {}
}
