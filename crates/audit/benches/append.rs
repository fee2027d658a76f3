//! What a durable record costs, next to a bare write and fdatasync of as many bytes, and next to SQLite
//! with one row a commit, in the same run.
//!
//! `cargo bench -p clawdbot-audit --bench append -- [RECORDS]`; with RECORDS instead a log of that length is
//! made, opened and verified.

#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench prints its figures"
)]

use clawdbot_audit::{AuditSettings, Recorder, verify};
use clawdbot_domain::{Effect, Event, Outcome, SessionId, TokenId, ToolName, Who};
use rusqlite::Connection;
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

type Outcomes<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// So long each way is measured in one round. The ways take turns, so that a slow minute of a shared disk
/// is a slow minute for all of them.
const ROUND: Duration = Duration::from_millis(400);
const ROUNDS: usize = 9;

fn main() -> Outcomes<()> {
    // Cargo adds `--bench`.
    let records = std::env::args().find_map(|word| word.parse::<u64>().ok());
    let runtime = Runtime::new()?;
    if let Some(records) = records {
        return long(&runtime, records);
    }
    println!(
        "| writers | records/s | p50 us | p99 us | CPU us a record | write+fdatasync p50 us | p99 us | added p50 / flush p50 | x one writer | x SQLite |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let ways: Vec<Way> = [1, 16, 64, 256]
        .into_iter()
        .map(Way::new)
        .collect::<Outcomes<_>>()?;
    let mut ways = ways;
    let mut rows = Rows::open()?;
    let (mut against_one, mut against_rows) = (vec![Vec::new(); 4], vec![Vec::new(); 4]);
    for _ in 0..ROUNDS {
        let row_rate = rows.round()?;
        let mut one = None;
        for ((way, ones), sqlite) in ways.iter_mut().zip(&mut against_one).zip(&mut against_rows) {
            let rate = way.round(&runtime)?;
            let single = *one.get_or_insert(rate);
            ones.push(rate / single);
            sqlite.push(rate / row_rate);
        }
    }
    for ((way, ones), sqlite) in ways.iter_mut().zip(&mut against_one).zip(&mut against_rows) {
        way.print(median(ones), median(sqlite));
    }
    println!(
        "\nSQLite, WAL, synchronous=FULL, one row a commit: {:.0} rows/s",
        median(&mut rows.rates)
    );
    Ok(())
}

/// So many writers at once, and the disk alone with as many bytes.
struct Way {
    writers: usize,
    folder: TempDir,
    file: File,
    ours: Sample,
    bare: Sample,
    /// Of each round, what was added to a flush, in flushes.
    added: Vec<f64>,
}

impl Way {
    fn new(writers: usize) -> Outcomes<Self> {
        Ok(Self {
            writers,
            folder: tempfile::tempdir_in(".")?,
            file: tempfile::tempfile_in(".")?,
            ours: Sample::default(),
            bare: Sample::default(),
            added: Vec::new(),
        })
    }

    /// Returns the records a second of this round.
    fn round(&mut self, runtime: &Runtime) -> Outcomes<f64> {
        let (mut ours, mut bare) = (Sample::default(), Sample::default());
        durable(runtime, self.folder.path(), self.writers, &mut ours)?;
        // All writers' records at once: the largest batch there can be.
        let batch = vec![b'x'; ours.bytes_a_record() * self.writers];
        flushed(&mut self.file, &batch, &mut bare)?;
        let flush = bare.within(50);
        self.added.push((ours.within(50) - flush) / flush);
        let rate = ours.rate();
        self.ours.add(ours);
        self.bare.add(bare);
        Ok(rate)
    }

    fn print(&mut self, against_one: f64, against_rows: f64) {
        let (ours, bare) = (&mut self.ours, &mut self.bare);
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.1} | {:.0} | {:.0} | {:.1} | {against_one:.1} | {against_rows:.1} |",
            self.writers,
            ours.rate(),
            ours.within(50),
            ours.within(99),
            micros(ours.cpu) / ours.waits.len() as f64,
            bare.within(50),
            bare.within(99),
            median(&mut self.added),
        );
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
    fn add(&mut self, mut other: Self) {
        self.waits.append(&mut other.waits);
        self.wall += other.wall;
        self.cpu += other.cpu;
        self.bytes += other.bytes;
    }

    fn rate(&self) -> f64 {
        self.waits.len() as f64 / self.wall.as_secs_f64()
    }

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
}

fn median(of: &mut [f64]) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or_default()
}

/// What one would take instead of a log of one's own.
struct Rows {
    _folder: TempDir,
    database: Connection,
    rates: Vec<f64>,
}

impl Rows {
    fn open() -> Outcomes<Self> {
        let folder = tempfile::tempdir_in(".")?;
        let database = Connection::open(folder.path().join("log.db"))?;
        database.pragma_update(None, "journal_mode", "WAL")?;
        database.pragma_update(None, "synchronous", "FULL")?;
        database.execute(
            "CREATE TABLE log (at INTEGER PRIMARY KEY, record TEXT NOT NULL)",
            (),
        )?;
        let rates = Vec::new();
        Ok(Self {
            _folder: folder,
            database,
            rates,
        })
    }

    /// Rows of the length of a record, each in a commit of its own; returns how many a second.
    fn round(&mut self) -> Outcomes<f64> {
        let mut insert = self
            .database
            .prepare("INSERT INTO log (record) VALUES (?1)")?;
        let record = "x".repeat(600);
        let (began, mut rows) = (Instant::now(), 0_u32);
        while began.elapsed() < ROUND {
            insert.execute([&record])?;
            rows += 1;
        }
        let rate = f64::from(rows) / began.elapsed().as_secs_f64();
        self.rates.push(rate);
        Ok(rate)
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
    sample.wall += began.elapsed();
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
    // As a process leaves it that is killed between two seconds.
    forget_unfinished(&dir.path().join("tile"))?;
    let began = Instant::now();
    let recorder = Recorder::open(dir.path(), settings)?;
    println!(
        "opened after a kill in {:.1} ms",
        micros(began.elapsed()) / 1e3
    );
    drop(recorder);
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

/// Removes the unfinished tiles.
fn forget_unfinished(folder: &Path) -> Outcomes<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "p") {
            std::fs::remove_dir_all(path)?;
        } else if path.is_dir() {
            forget_unfinished(&path)?;
        }
    }
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
        approval: None,
        arguments: r#"{"path":"docs/reference/events.md"}"#.into(),
        arguments_sha256: "a".repeat(64),
    };
    Ok((who, event))
}
