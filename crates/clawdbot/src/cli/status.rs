//! `clawdbot status`: what a running gateway says of itself.

use super::gateway::runtime;
use super::{CliResult, Exit, chat};
use crate::home::Home;
use crate::say;
use clap::Args;
use serde_json::Value;

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The gateway's port, when it is not gateway.port
    #[arg(long)]
    port: Option<u16>,

    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &StatusArgs, home: &Home) -> CliResult {
    let client = chat::client(home, args.port)?;
    let status = runtime()?.block_on(client.get("/status"))?;
    let parts = status
        .get("parts")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let well = parts.values().all(|state| state == "ok");
    if args.json {
        say!("{status}");
    } else {
        let plain = |key: &str| match status.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => "?".to_owned(),
        };
        say!(
            "clawdbot {}, up {} s, newest record {}",
            plain("version"),
            plain("uptime_seconds"),
            plain("newest_record")
        );
        let settings = status.get("settings").and_then(Value::as_object).cloned();
        for (name, value) in parts.iter().chain(settings.unwrap_or_default().iter()) {
            say!("  {name:<17} {}", value.as_str().unwrap_or("?"));
        }
    }
    Ok(if well { Exit::Done } else { Exit::Found })
}
