//! The operational log: what the program did, for the person who runs it. It is no audit log.

use clawdbot_domain::Level;
use std::fs::OpenOptions;
use std::io::IsTerminal as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

/// `gateway.logLevel`, changed while running.
static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Sets how quiet a message may be to be written.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

fn level() -> LevelFilter {
    match LEVEL.load(Ordering::Relaxed) {
        l if l == Level::Debug as u8 => LevelFilter::DEBUG,
        l if l == Level::Info as u8 => LevelFilter::INFO,
        l if l == Level::Warn as u8 => LevelFilter::WARN,
        _ => LevelFilter::ERROR,
    }
}

/// To standard error: a container or service manager collects it.
pub fn to_stderr(at: Level) {
    set_level(at);
    let writer = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let filter = dynamic_filter_fn(|meta, _| *meta.level() <= level());
    let _ = tracing_subscriber::registry()
        .with(writer.with_filter(filter))
        .try_init();
}

/// To a file, while a chat has the terminal.
pub fn to_file(path: &Path, at: Level) -> std::io::Result<()> {
    set_level(at);
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    let writer = fmt::layer()
        .with_writer(Mutex::new(file))
        .with_ansi(false)
        .with_target(false);
    let filter = dynamic_filter_fn(|meta, _| *meta.level() <= level());
    let _ = tracing_subscriber::registry()
        .with(writer.with_filter(filter))
        .try_init();
    Ok(())
}
