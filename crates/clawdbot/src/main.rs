//! `clawdbot`, the binary: reads the command line, wires the rooms together, prints.

#![allow(
    unreachable_pub,
    reason = "a binary has no outside: `pub` here means the whole program"
)]

mod cli;
mod client;
mod for_good;
mod home;
mod incident;
mod logging;
mod pin;
mod reminders;
mod running;
mod secrecy;
mod standing;
mod tidy;
mod unlock;
mod wire;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    // What tool calls are forked from: it reads no settings and starts no thread.
    if std::env::args_os().nth(1).as_deref() == Some(clawdbot_sandbox::child::ARGUMENT.as_ref()) {
        return clawdbot_tools::child_main();
    }
    secrecy::keep();
    if let Some(refused) = secrecy::in_arguments(std::env::args_os()) {
        return cli::refuse(refused).into();
    }
    match cli::Cli::try_parse() {
        Ok(cli) => cli::run(cli).into(),
        Err(wrong) => cli::usage(&wrong).into(),
    }
}
