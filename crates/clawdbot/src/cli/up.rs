//! `clawdbot up`: everything in one command, for the first minute and for every day after.

use super::gateway::{operational_log, runtime, tell_setup, watch_signals};
use super::{CliResult, Exit, Failure, chat};
use crate::client::Client;
use crate::home::Home;
use crate::logging::Also;
use crate::note;
use crate::running::Proven;
use clap::Args;
use clawdbot_config::Overrides;
use clawdbot_gateway::{Stop, Stopper};
use std::io::IsTerminal as _;

#[derive(Debug, Args)]
pub struct UpArgs {
    /// Answer this one message through the whole path, showing each step, and exit
    #[arg(long, value_name = "MESSAGE")]
    once: Option<String>,

    /// Let these tools run, for this run only: a comma-separated list
    #[arg(long, value_name = "TOOLS", value_delimiter = ',')]
    allow: Vec<String>,

    /// Listen on this port instead of gateway.port; 0 takes a free one
    #[arg(long)]
    port: Option<u16>,
}

pub fn run(args: UpArgs, home: &Home) -> CliResult {
    let mut overrides = Overrides::from_vars(std::env::vars_os());
    if !args.allow.is_empty() {
        let list = serde_json::Value::from(args.allow).to_string();
        overrides
            .flags
            .push(("gateway.tools.allowList".to_owned(), list));
    }
    let proven = Proven::new(home, overrides)?;
    let level = proven.settings().gateway.log_level;
    let pin = chat::pin(proven.settings())?;
    let talks = args.once.is_some() || std::io::stdin().is_terminal();
    // The terminal belongs to the conversation.
    let also = if talks { Also::Nothing } else { Also::Stderr };
    operational_log(home, level, also)?;
    // One message needs no known port, and must not fail because a gateway already runs.
    let port = if args.once.is_some() {
        args.port.or(Some(0))
    } else {
        args.port
    };
    runtime()?.block_on(async {
        let started = proven.start(home, port, args.once.is_some()).await?;
        let addresses = started.addresses();
        let port = addresses.first().map_or(0, std::net::SocketAddr::port);
        note!(
            "clawdbot {} at {}://127.0.0.1:{port}, home {}",
            env!("CARGO_PKG_VERSION"),
            started.scheme(),
            home.root().display()
        );
        note!("sandbox: {}", started.layers().join(", "));
        if let Some(setup) = &started.setup {
            tell_setup(setup);
        }
        let client = Client::new(port, started.operator.clone(), pin);
        let stopper = Stopper::default();
        watch_signals(&stopper)?;
        let serving = tokio::spawn(started.serve(stopper.clone()));
        if !talks {
            // Nothing to talk to: serve until told to stop.
            let served = serving.await.map_err(|e| Failure::new(Exit::Bug, e))?;
            return served.map(|_| Exit::Done);
        }
        let talked = match &args.once {
            Some(message) => chat::once(&client, message).await,
            None => chat::talk(&client).await,
        };
        stopper.stop(Stop::Drain);
        serving.await.map_err(|e| Failure::new(Exit::Bug, e))??;
        talked
    })
}
