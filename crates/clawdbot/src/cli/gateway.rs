//! `clawdbot gateway`: serves, and nothing else.

mod stop;

use super::{CliResult, Exit, Failure};
use crate::home::Home;
use crate::logging::{self, Also};
use crate::note;
use crate::running::Proven;
use clap::{Args, Subcommand};
use clawdbot_config::Overrides;
use clawdbot_domain::Level;
use clawdbot_gateway::{Drained, Stop, Stopper};
use std::io::IsTerminal as _;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct GatewayArgs {
    #[command(subcommand)]
    command: Option<GatewayCommand>,

    /// Listen on this port instead of gateway.port; 0 takes a free one
    #[arg(long)]
    port: Option<u16>,
}

#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// Stop the gateway of this home: when what runs has ended, or at once
    Stop(stop::StopArgs),
}

pub fn run(args: &GatewayArgs, home: &Home) -> CliResult {
    if let Some(GatewayCommand::Stop(args)) = &args.command {
        return stop::run(args, home);
    }
    let overrides = Overrides::from_vars(std::env::vars_os());
    let proven = Proven::new(home, overrides)?;
    operational_log(home, proven.settings().gateway.log_level, Also::Stderr)?;
    runtime()?.block_on(async {
        let started = proven.start(home, args.port, false).await?;
        for address in started.addresses() {
            note!("listening on {}://{address}", started.scheme());
        }
        if let Some(setup) = &started.setup {
            tell_setup(setup);
        }
        let stopper = Stopper::default();
        watch_signals(&stopper)?;
        match started.serve(stopper).await? {
            Drained::All => Ok(Exit::Done),
            Drained::Cut => Ok(Exit::TryAgain),
        }
    })
}

/// Starts the operational log of a serving command.
pub(super) fn operational_log(home: &Home, level: Level, also: Also) -> Result<(), Failure> {
    let path = home.operational_log();
    logging::start(&path, level, also).map_err(|e| {
        Failure::new(
            Exit::CannotCreate,
            format!("cannot open {}: {e}", path.display()),
        )
    })
}

/// The runtime every serving command uses. Half the cores: a request waits for a disk and a provider,
/// not for a processor, and the more requests one thread serves the fewer wake-ups each one costs.
/// The other half is for the writer of the log, the tools and whoever else lives on the machine.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads((cores / 2).max(1))
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Io, format!("cannot start the runtime: {e}")))
}

/// A setup token is shown once, on a terminal, and never to a log.
pub(super) fn tell_setup(setup: &clawdbot_domain::Secret) {
    if std::io::stderr().is_terminal() {
        note!(
            "setup token (shown once, 15 minutes, one use): {}",
            setup.expose()
        );
    } else {
        note!("first start: make a setup token on a terminal with: clawdbot tokens setup");
    }
}

/// A write past a file-size limit must fail like one to a full disk, and not end the process. (The
/// number is the same on every architecture that Linux runs this program on.)
const SIGXFSZ: i32 = 25;

/// SIGTERM and SIGINT ask to stop when what runs has ended, a second one and SIGQUIT at once. Call it
/// within a tokio runtime.
pub(super) fn watch_signals(stopper: &Stopper) -> Result<(), Failure> {
    let cannot = |e| Failure::new(Exit::Io, format!("cannot watch for signals: {e}"));
    // A handler, once set, stays; what it would tell is in the error of the write.
    drop(signal(SignalKind::from_raw(SIGXFSZ)).map_err(cannot)?);
    let mut term = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut int = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut quit = signal(SignalKind::quit()).map_err(cannot)?;
    let stopper = stopper.clone();
    tokio::spawn(async move {
        loop {
            let at_once = tokio::select! {
                _ = term.recv() => false,
                _ = int.recv() => false,
                _ = quit.recv() => true,
            };
            let again = stopper.asked() > Stop::Serve;
            stopper.stop(if at_once || again {
                Stop::Now
            } else {
                Stop::Drain
            });
        }
    });
    Ok(())
}
