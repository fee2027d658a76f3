//! Bytes a second of a command's output.

use super::{ROUNDS, Tier};
use clawdbot_sandbox::{CommandJob, Confinement, Ended, Extras, Limits};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Bytes of the output, far above what a call may write outside a measurement.
const STREAMED: usize = 64 << 20;

/// How fast a command's output comes, and how fast through a mere pipe.
pub(super) async fn measure(tiers: &[Tier]) {
    let count = STREAMED.to_string();
    let words = ["head", "-c", &count, "/dev/zero"];
    let mut rows: Vec<(String, Vec<f64>)> = vec![("a pipe, not confined".to_owned(), Vec::new())];
    rows.extend(tiers.iter().map(|tier| (tier.name.to_owned(), Vec::new())));
    for _ in 0..ROUNDS {
        for ((_, rates), tier) in rows
            .iter_mut()
            .zip([None].into_iter().chain(tiers.iter().map(Some)))
        {
            let start = Instant::now();
            match tier {
                None => piped(&words),
                Some(tier) => streamed(tier, &words).await,
            }
            rates.push(STREAMED as f64 / 1e6 / start.elapsed().as_secs_f64());
        }
    }
    let megabytes = STREAMED >> 20;
    println!("\noutput of a command, {megabytes} MB, a watcher sees each piece");
    for (name, rates) in &mut rows {
        rates.sort_by(f64::total_cmp);
        println!(
            "{name:<28} {:>9.0} MB/s",
            rates.get(rates.len() / 2).unwrap()
        );
    }
}

async fn streamed(tier: &Tier, words: &[&str]) {
    let limits = Limits {
        output_bytes: 2 * STREAMED,
        ..tier.command.limits()
    };
    let confinement = Confinement::clone(&tier.command).with_limits(limits);
    let argv = words.iter().map(ToString::to_string).collect();
    let job = CommandJob::new(Path::new("/usr/bin/head"), argv, None).unwrap();
    let mut seen = 0;
    let mut watch = |piece: &[u8]| seen += piece.len();
    let extras = Extras {
        watch: Some(&mut watch),
        ..Extras::default()
    };
    let ran = tier.sandbox.run_command(&confinement, &job, extras).await;
    assert_eq!(ran.unwrap().ended, Ended::Exited(0));
    assert_eq!(seen, STREAMED);
}

fn piped(words: &[&str]) {
    let (program, arguments) = words.split_first().unwrap();
    let mut command = Command::new(program);
    let ran = command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(ran.stdout.len(), STREAMED);
}
