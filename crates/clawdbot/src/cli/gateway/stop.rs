//! `clawdbot gateway stop`: asks the gateway of this home to stop, and waits until it is gone.

use super::runtime;
use crate::cli::{CliResult, Exit, Failure, chat};
use crate::home::Home;
use crate::standing::Found;
use crate::{note, say};
use clap::Args;
use rustix::process::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

/// How long a gateway that is asked to stop at once has for it; then it is killed.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How long one that is asked to let what runs come to its end may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is looked whether it is gone.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug, Args)]
pub struct StopArgs {
    /// End what runs, with all it started, instead of waiting for it
    #[arg(long)]
    now: bool,
}

pub fn run(args: &StopArgs, home: &Home) -> CliResult {
    let cannot = |e| Failure::new(Exit::Io, format!("cannot look for the gateway: {e}"));
    let Some(found) = Found::in_home(home).map_err(cannot)? else {
        return Err(Failure::new(
            Exit::Unavailable,
            "no gateway runs in this home",
        ));
    };
    let signal = if args.now { Signal::QUIT } else { Signal::TERM };
    // A signal needs no token, no free connection and no room under a rate limit.
    let signalled = found.signal(signal);
    if !signalled {
        let client = chat::client(home, found.port)?;
        let _ = runtime()?.block_on(client.post("/gateway/stop", &json!({"now": args.now})))?;
    }
    let patience = if args.now { AT_ONCE } else { PATIENCE };
    if !gone_within(&found, patience)? {
        if !args.now {
            return Err(Failure::new(Exit::TryAgain, "something runs still")
                .hint("clawdbot gateway stop --now"));
        }
        if !found.signal(Signal::KILL) {
            return Err(Failure::new(
                Exit::Unavailable,
                "it does not stop, and its process cannot be reached from here",
            )
            .hint("stop its container or its service"));
        }
        note!(
            "warning: it did not stop in time and was killed; turns it ran are not marked as cancelled"
        );
        if !gone_within(&found, AT_ONCE)? {
            return Err(Failure::new(
                Exit::TryAgain,
                "the kernel has not ended it yet",
            ));
        }
    }
    say!("stopped");
    Ok(Exit::Done)
}

fn gone_within(found: &Found, patience: Duration) -> Result<bool, Failure> {
    let give_up = Instant::now() + patience;
    loop {
        let gone = found.is_gone();
        if gone.map_err(|e| Failure::new(Exit::Io, format!("cannot look for the gateway: {e}")))? {
            return Ok(true);
        }
        if Instant::now() >= give_up {
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
}
