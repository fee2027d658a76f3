//! `clawdbot health`: is the gateway of this home well? For container engines and supervisors, which
//! have no token and, in an image without a shell, nothing else to ask with.

use super::gateway::runtime;
use super::record::settings;
use super::{CliResult, Exit, chat};
use crate::client::Client;
use crate::home::Home;
use crate::say;
use clap::Args;

#[derive(Debug, Args)]
pub struct HealthArgs {
    /// The gateway's port, when it is not gateway.port
    #[arg(long)]
    port: Option<u16>,
}

/// Asks `/ready`, which is open to all and says which control does not work.
pub fn run(args: &HealthArgs, home: &Home) -> CliResult {
    let loaded = settings(home)?;
    let port = args.port.unwrap_or(loaded.settings.gateway.port);
    let client = Client::without_token(port, chat::pin(&loaded.settings)?);
    let answer = runtime()?.block_on(client.get_whatever("/ready"))?;
    say!("{answer}");
    let ready = answer.get("ready").and_then(serde_json::Value::as_bool);
    Ok(if ready == Some(true) {
        Exit::Done
    } else {
        Exit::Found
    })
}
