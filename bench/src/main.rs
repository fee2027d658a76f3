//! `load`: asks one HTTP endpoint of this machine again and again and tells what that cost.
//!
//! Closed loop (`--connections` that each wait for their answer) for the cost of a request; open
//! loop (`--rate`, latency counted from when a request was due) for what a client would see.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measuring tool stops at what it did not expect, loudly"
)]

mod answer;
mod body;
mod clock;
mod cost;
mod run;
mod spread;

use clap::{Parser, ValueEnum};
use std::time::Duration;

/// Load against one endpoint of this machine; prints one JSON object.
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Args {
    /// Port on 127.0.0.1; other machines are never asked
    #[arg(long)]
    port: u16,

    /// Path to POST to
    #[arg(long, default_value = "/v1/chat/completions")]
    path: String,

    /// What to send
    #[arg(long, value_enum, default_value = "small")]
    body: Kind,

    /// This very JSON instead, whatever the body's name
    #[arg(long)]
    json: Option<String>,

    /// The model to name
    #[arg(long, default_value = "gpt-mock")]
    model: String,

    /// Bearer token
    #[arg(
        long,
        env = "LOAD_TOKEN",
        hide_env_values = true,
        default_value = "none"
    )]
    token: String,

    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 16)]
    connections: usize,

    /// Open loop: this many requests a second, whatever the answers do
    #[arg(long)]
    rate: Option<f64>,

    /// Seconds that are measured; at most 60
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,

    /// Seconds before, that are not
    #[arg(long, default_value_t = 0.5)]
    warm: f64,

    /// Whose CPU time and memory to tell, with all their children
    #[arg(long, value_delimiter = ',')]
    pid: Vec<i32>,

    /// Shown in the result
    #[arg(long, default_value = "")]
    label: String,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// One short message, a short answer.
    Small,
    /// A conversation of about 4 KB, an answer of about 4 KB.
    #[value(name = "4k")]
    FourK,
    /// The same, of which only the last message is new: a conversation that goes on.
    #[value(name = "4k-again")]
    FourKAgain,
    /// One short message, an answer in a burst of events.
    Stream,
}

fn main() {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let tasks = tokio::task::LocalSet::new();
    let runtime = runtime.expect("a runtime can be built");
    let sent = args
        .json
        .unwrap_or_else(|| body::of(args.body, &args.model));
    let plan = run::Plan {
        port: args.port,
        request: body::request(&args.path, args.port, &args.token, &sent),
        connections: args.connections.clamp(1, 1024),
        rate: args.rate.filter(|rate| *rate > 0.0),
        // Every load is bounded in time, whatever was asked for.
        warm: Duration::from_secs_f64(args.warm.clamp(0.0, 10.0)),
        measured: Duration::from_secs_f64(args.seconds.clamp(0.1, 60.0)),
        pids: args.pid,
    };
    let told = tasks.block_on(&runtime, run::run(plan));
    println!("{}", told.json(&args.label));
}
