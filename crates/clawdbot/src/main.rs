//! `clawdbot`, the binary: reads the command line, wires the rooms together, prints.

mod cli;
mod client;
mod home;
mod logging;
mod running;
mod wire;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    cli::run(cli).into()
}
