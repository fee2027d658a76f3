//! The operational log: what the program did, for the person who runs it. It is no audit log.

use crate::secrecy;
use clawdbot_domain::Level;
use std::fs::OpenOptions;
use std::io::{IsTerminal as _, Write};
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

/// Masks secrets in what is written. Each event comes whole, in one piece.
struct Masked<W>(W);

impl<W: Write> Write for Masked<W> {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.0.write_all(secrecy::mask(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// To standard error: a container or service manager collects it.
pub fn to_stderr(at: Level) {
    set_level(at);
    let writer = fmt::layer()
        .with_writer(|| Masked(std::io::stderr()))
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
        .with_writer(Mutex::new(Masked(file)))
        .with_ansi(false)
        .with_target(false);
    let filter = dynamic_filter_fn(|meta, _| *meta.level() <= level());
    let _ = tracing_subscriber::registry()
        .with(writer.with_filter(filter))
        .try_init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Masked;
    use std::io::Write as _;

    #[test]
    fn a_secret_in_a_log_line_is_masked_whatever_its_shape() {
        let mut out = Masked(Vec::new());
        let lines = [
            "WARN error=401 for Bearer abcdef0123456789",
            "key=sk-ant-oat01-abcdefghij0123456789",
            "GET /v1?token=cb-prod-AbCdEfGhIjKl.0123456789012345678901234567890123456789012abcdef",
            "setup st-AbCdEfGhIjKl.0123456789012345678901234567890123456789012abcdef",
        ];
        for line in lines {
            writeln!(out, "{line}").unwrap();
        }
        let text = String::from_utf8(out.0).unwrap();
        assert!(!text.contains("0123456789"), "{text}");
        assert_eq!(text.matches("[redacted]").count(), lines.len());
        assert!(
            text.contains("cb-prod-AbCdEfGhIjKl."),
            "the public id stays"
        );
    }
}
