//! Makes the weights of the guard's detector.
//!
//! `fit` reads the labelled text of `manifest.toml`, adds rows of our own, fits both heads, packs
//! them into a byte a weight, chooses thresholds on the tuning set and writes weights, thresholds
//! and metrics beside the guard. `leave-out` fits without one source after another and measures on
//! what was left out: the number to look at when something is changed.
#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a tool at the bench that may stop with a message, not the product"
)]

mod calibrate;
mod fit;
mod generate;
mod leave_out;
mod pack;
mod random;
mod rows;
mod set;

use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Make the weights of the guard's detector")]
struct Cli {
    /// The folder with train.jsonl.gz and dev.jsonl.gz (see training/README.md)
    #[arg(long, global = true, default_value = "training/data")]
    data: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fit on everything, and write weights, thresholds and metrics beside the guard
    Fit {
        /// Where the guard's crate is
        #[arg(long, default_value = "crates/guard")]
        guard: PathBuf,
    },
    /// Leave groups of sources out in turn, and measure on them
    LeaveOut {
        /// Where to write every text's score, one JSON object a line
        #[arg(long)]
        scores: Option<PathBuf>,
    },
    /// Print the rows of our own as JSON lines
    Own,
}

fn main() -> Result<(), String> {
    let cli = Cli::parse();
    match cli.command {
        Command::Fit { guard } => pack::fit_and_write(&cli.data, &guard),
        Command::LeaveOut { scores } => leave_out::run(&cli.data, scores.as_deref()),
        Command::Own => {
            for row in generate::rows(set::SEED) {
                println!(
                    "{}",
                    serde_json::to_string(&row).map_err(|e| e.to_string())?
                );
            }
            Ok(())
        }
    }
}
