//! What a durable record costs, next to a bare write and fdatasync of as many bytes in the same run.
//!
//! `cargo bench -p clawdbot-audit --bench append -- [RECORDS]`; with RECORDS also a log of that length
//! is made, opened and verified.

#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench prints its figures"
)]

use clawdbot_audit::{AuditSettings, Recorder, verify};
use clawdbot_domain::{Effect, Event, Outcome, SessionId, TokenId, ToolName, Who};
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

type Outcomes<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// So long each way is measured in one round; the ways take turns.
const ROUND: Duration = Duration::from_millis(1_200);
const ROUNDS: usize = 3;

fn main() -> Outcomes<()> {
    // Cargo adds `--bench`.
    let records = std::env::args().find_map(|word| word.parse::<u64>().ok());
    let runtime = Runtime::new()?;
    println!(
        "| writers | records/s | p50 us | p99 us | CPU us a record | bare write+fdatasync p50 us | p99 us |"
    );
    println!("|---|---|---|---|---|---|---|");
    for writers in [1, 16, 64, 256] {
        let (mut ours, mut bare) = (Sample::default(), Sample::default());
        let dir = tempfile::tempdir_in(".")?;
        let mut file = tempfile::tempfile_in(".")?;
        for _ in 0..ROUNDS {
            durable(&runtime, dir.path(), writers, &mut ours)?;
            // All writers' records at once: the largest batch there can be.
            let batch = vec![b'x'; ours.bytes_a_record() * writers];
            flushed(&mut file, &batch, &mut bare)?;
        }
        ours.print(writers, &mut bare);
    }
    match records {
        Some(records) => long(&runtime, records),
        None => Ok(()),
    }
}

/// What was measured of one way.
#[derive(Default)]
struct Sample {
    waits: Vec<Duration>,
    wall: Duration,
    cpu: Duration,
    bytes: u64,
}

impl Sample {
    fn bytes_a_record(&self) -> usize {
        let count = self.waits.len().max(1) as u64;
        usize::try_from(self.bytes / count).unwrap_or(usize::MAX)
    }

    /// Microseconds within which so many percent were done.
    fn within(&mut self, percent: usize) -> f64 {
        self.waits.sort_unstable();
        let at = self.waits.len().saturating_sub(1) * percent / 100;
        self.waits.get(at).map_or(0.0, |wait| micros(*wait))
    }

    fn print(&mut self, writers: usize, bare: &mut Self) {
        let count = self.waits.len() as f64;
        println!(
            "| {writers} | {:.0} | {:.0} | {:.0} | {:.1} | {:.0} | {:.0} |",
            count / self.wall.as_secs_f64(),
            self.within(50),
            self.within(99),
            micros(self.cpu) / count,
            bare.within(50),
            bare.within(99),
        );
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// CPU time of all threads so far.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn folder_bytes(folder: &Path) -> Outcomes<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("audit-") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// Each writer waits until its record is durable before it makes the next.
fn durable(runtime: &Runtime, folder: &Path, writers: usize, sample: &mut Sample) -> Outcomes<()> {
    let recorder = Recorder::open(folder, AuditSettings::default())?;
    let bytes = folder_bytes(folder)?;
    let (began, cpu_began) = (Instant::now(), cpu());
    runtime.block_on(async {
        let tasks: Vec<_> = (0..writers)
            .map(|_| tokio::spawn(write_on(recorder.clone(), began + ROUND)))
            .collect();
        for task in tasks {
            sample.waits.append(&mut task.await??);
        }
        Outcomes::Ok(())
    })?;
    sample.wall += began.elapsed();
    sample.cpu += cpu().saturating_sub(cpu_began);
    sample.bytes += folder_bytes(folder)? - bytes;
    Ok(())
}

async fn write_on(recorder: Recorder, end: Instant) -> Outcomes<Vec<Duration>> {
    let mut waits = Vec::new();
    while Instant::now() < end {
        let (who, event) = begin()?;
        let asked = Instant::now();
        recorder.note(who, Outcome::Begin, event).await?;
        waits.push(asked.elapsed());
    }
    Ok(waits)
}

/// The disk alone.
fn flushed(file: &mut File, batch: &[u8], sample: &mut Sample) -> Outcomes<()> {
    let began = Instant::now();
    while began.elapsed() < ROUND {
        let asked = Instant::now();
        file.write_all(batch)?;
        file.sync_data()?;
        sample.waits.push(asked.elapsed());
    }
    Ok(())
}

/// A long log: what its records cost from first to last, and what opening and verifying it takes.
fn long(runtime: &Runtime, records: u64) -> Outcomes<()> {
    let dir = tempfile::tempdir_in(".")?;
    let settings = AuditSettings::default();
    let recorder = Recorder::open(dir.path(), settings)?;
    let part = (records / 10).max(1);
    println!();
    for at in 0..10 {
        let began = cpu();
        for index in 0..part {
            let (who, event) = begin()?;
            recorder.note_later(who, Outcome::Begin, event);
            if index % 512 == 511 {
                runtime.block_on(recorder.flush());
            }
        }
        runtime.block_on(recorder.flush());
        let each = micros(cpu().saturating_sub(began)) / part as f64;
        println!(
            "records {} to {}: {each:.1} us CPU each",
            at * part,
            (at + 1) * part
        );
    }
    drop(recorder);
    for _ in 0..3 {
        let began = Instant::now();
        let recorder = Recorder::open(dir.path(), settings)?;
        println!("opened in {:.1} ms", micros(began.elapsed()) / 1e3);
        drop(recorder);
    }
    let (began, used) = (Instant::now(), cpu());
    let found = verify(dir.path())?;
    let used = cpu().saturating_sub(used);
    let bytes = folder_bytes(dir.path())?;
    println!(
        "{:?}: {} records, {bytes} bytes, verified in {:.2} s, {:.2} s of CPU; a million: {:.2} s of CPU",
        found.verdict,
        found.records,
        began.elapsed().as_secs_f64(),
        used.as_secs_f64(),
        used.as_secs_f64() * 1e6 / found.records as f64,
    );
    Ok(())
}

fn begin() -> Outcomes<(Who, Event)> {
    let who = Who {
        actor: Some(TokenId::new("cb-dev-a1b2c3d4")),
        session: Some(SessionId::new("s-0123456789abcdef")),
        ..Who::default()
    };
    let event = Event::ToolBegin {
        tool: ToolName::parse("read_file")?,
        effect: Effect::Read,
        rules: vec!["scope.tools".into(), "tools.allowList".into()],
        arguments: r#"{"path":"docs/reference/events.md"}"#.into(),
        arguments_sha256: "a".repeat(64),
    };
    Ok((who, event))
}
