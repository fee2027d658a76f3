//! The command line: one file a command group.

mod approvals;
mod audit;
mod backup;
mod chat;
mod config;
mod doctor;
#[cfg(test)]
mod documents;
mod gateway;
mod guard;
mod health;
mod home;
mod incident;
mod models;
mod outcome;
mod pages;
mod record;
mod sandbox;
mod security;
mod sessions;
mod status;
mod tokens;
mod tools;
mod turns;
mod up;

pub use outcome::{CliResult, Exit, Failure, arrived};
pub use security::told;

use crate::home::Home;
use crate::note;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// A self-hosted AI-assistant gateway that is secure by default and can prove it.
#[derive(Debug, Parser)]
#[command(
    name = "clawdbot",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Where configuration, logs, state, secrets and the workspace live [default: ~/.clawdbot]
    #[arg(
        long,
        global = true,
        env = "CLAWDBOT_HOME",
        hide_env_values = true,
        value_name = "DIR"
    )]
    home: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set everything up, start the gateway and open a chat
    Up(up::UpArgs),
    /// Serve, and nothing else
    Gateway(gateway::GatewayArgs),
    /// Talk to a running gateway
    Chat(chat::ChatArgs),
    /// What a running gateway says of itself
    Status(status::StatusArgs),
    /// Say whether the gateway of this home is ready; 0 when it is
    Health(health::HealthArgs),
    /// The folder that everything lives in
    #[command(subcommand)]
    Home(home::HomeCommand),
    /// Read and change the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Models, providers and their credentials
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Tokens that may use this gateway
    #[command(subcommand)]
    Tokens(tokens::TokensCommand),
    /// Conversations, and what they have taken in
    #[command(subcommand)]
    Sessions(sessions::SessionsCommand),
    /// The tools, and whether a call of one would be allowed
    #[command(subcommand)]
    Tools(tools::ToolsCommand),
    /// Calls that wait for a person: look at them, approve or deny
    #[command(subcommand)]
    Approvals(approvals::ApprovalsCommand),
    /// Turns that run or wait: see them, end them
    #[command(subcommand)]
    Turns(turns::TurnsCommand),
    /// Read and verify the audit log
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Try the prompt-injection guard on text
    #[command(subcommand)]
    Guard(guard::GuardCommand),
    /// Prove and explain the sandbox
    #[command(subcommand)]
    Sandbox(sandbox::SandboxCommand),
    /// Close the gateway, keep the evidence, change every key, and open again
    #[command(subcommand)]
    Incident(incident::IncidentCommand),
    /// Check that this gateway is as safe as the guide asks, and stays so
    #[command(subcommand)]
    Security(security::SecurityCommand),
    /// Find what does not work, and what to do about it
    Doctor(doctor::DoctorArgs),
    /// Keep settings, sealed credentials and the workspace in a file, and put them back
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write those of all commands into a folder
    Man(pages::ManArgs),
}

/// Runs one command and reports how it went.
pub fn run(cli: Cli) -> Exit {
    let Some(home) = Home::find(cli.home) else {
        return Failure::no_home().report();
    };
    // To give a home away is root's own work, and in a container root can become nobody else.
    let ready = if matches!(cli.command, Command::Home(_)) {
        Ok(())
    } else {
        as_owner(&home)
    };
    let result = ready.and_then(|()| act(cli.command, &home));
    let exit = result.unwrap_or_else(|failure| match home.remedy_if_closed() {
        Some(remedy) => failure.hint(remedy).report(),
        None => failure.report(),
    });
    outcome::unless_lost(exit)
}

fn act(command: Command, home: &Home) -> CliResult {
    match command {
        Command::Up(args) => up::run(args, home),
        Command::Gateway(args) => gateway::run(&args, home),
        Command::Chat(args) => chat::run(&args, home),
        Command::Status(args) => status::run(&args, home),
        Command::Health(args) => health::run(&args, home),
        Command::Home(command) => home::run(&command, home),
        Command::Config(command) => config::run(command, home),
        Command::Models(command) => models::run(command, home),
        Command::Tokens(command) => tokens::run(command, home),
        Command::Sessions(command) => sessions::run(command, home),
        Command::Tools(command) => tools::run(command, home),
        Command::Approvals(command) => approvals::run(command, home),
        Command::Turns(command) => turns::run(command, home),
        Command::Audit(command) => audit::run(command, home),
        Command::Guard(command) => guard::run(command, home),
        Command::Sandbox(command) => sandbox::run(command, home),
        Command::Incident(command) => incident::run(command, home),
        Command::Security(command) => security::run(command, home),
        Command::Doctor(args) => doctor::run(&args, home),
        Command::Backup(command) => backup::run(command, home),
        Command::Completions { shell } => Ok(pages::completions(shell)),
        Command::Man(args) => pages::man(&args),
    }
}

fn as_owner(home: &Home) -> Result<(), Failure> {
    home.work_as_owner().map_err(|e| {
        Failure::new(
            Exit::Refused,
            format!("cannot work as the owner of {}: {e}", home.root().display()),
        )
        .hint("run the command as that user")
    })
}

/// Prints what was wrong with the command line, or the help that was asked for. The exit code is
/// that of `sysexits.h`, not clap's own 2.
pub fn usage(said: &clap::Error) -> Exit {
    // Nothing is left to do when the terminal itself is gone.
    if said.use_stderr() {
        let text = said.render();
        let shown = crate::secrecy::mask(&text.to_string()).into_owned();
        if shown == text.to_string() {
            let _ = said.print();
        } else {
            note!("{}", shown.trim_end());
        }
        Exit::Usage
    } else {
        let _ = said.print();
        Exit::Done
    }
}

/// Says why a command line was not taken.
pub fn refuse(why: Failure) -> Exit {
    why.report()
}
