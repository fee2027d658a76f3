//! The operational log: what the program did, for the person who runs it. It is no audit log.

mod rotating;

use crate::secrecy;
use clawdbot_domain::Level;
use rotating::Rotating;
use std::io::{IsTerminal as _, Write};
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

/// A filter for each layer: its type names the layers below it.
fn by_level<S: tracing::Subscriber>() -> impl tracing_subscriber::layer::Filter<S> {
    dynamic_filter_fn(|meta, _| *meta.level() <= level())
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

/// Where the operational log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Also {
    /// To standard error too: a container or service manager collects it.
    Stderr,
    /// To the file only, while a chat has the terminal.
    Nothing,
}

/// Starts the operational log in this file of the home, which outlives a container and its log.
pub fn start(path: &Path, at: Level, also: Also) -> std::io::Result<()> {
    set_level(at);
    let file = Masked(Rotating::open(path, rotating::LIMITS)?);
    let file = fmt::layer()
        .with_writer(Mutex::new(file))
        .with_ansi(false)
        .with_target(false);
    let stderr = (also == Also::Stderr).then(|| {
        fmt::layer()
            .with_writer(|| Masked(std::io::stderr()))
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .with_filter(by_level())
    });
    let _ = tracing_subscriber::registry()
        .with(file.with_filter(by_level()))
        .with(stderr)
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
