//! `clawdbot gateway`: serves, and nothing else.

use super::{CliResult, Exit, Failure};
use crate::home::Home;
use crate::logging::{self, Also};
use crate::note;
use crate::running::Proven;
use clap::Args;
use clawdbot_config::Overrides;
use clawdbot_domain::Level;
use clawdbot_gateway::Drained;
use std::io::IsTerminal as _;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// Listen on this port instead of gateway.port; 0 takes a free one
    #[arg(long)]
    port: Option<u16>,
}

pub fn run(args: &GatewayArgs, home: &Home) -> CliResult {
    let overrides = Overrides::from_vars(std::env::vars_os());
    let proven = Proven::new(home, overrides)?;
    operational_log(home, proven.settings().gateway.log_level, Also::Stderr)?;
    runtime()?.block_on(async {
        let started = proven.start(home, args.port).await?;
        for address in started.addresses() {
            note!("listening on {}://{address}", started.scheme());
        }
        if let Some(setup) = &started.setup {
            tell_setup(setup);
        }
        let stop = stop_signal()?;
        match started.serve(stop).await? {
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

/// Resolves on SIGTERM or SIGINT.
pub(super) fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let cannot = |e| Failure::new(Exit::Io, format!("cannot watch for signals: {e}"));
    // A handler, once set, stays; what it would tell is in the error of the write.
    drop(signal(SignalKind::from_raw(SIGXFSZ)).map_err(cannot)?);
    let mut term = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut int = signal(SignalKind::interrupt()).map_err(cannot)?;
    Ok(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    })
}
