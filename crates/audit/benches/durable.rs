//! Durable records per second, next to what the disk itself takes: one write and one flush of the
//! same batch. `memory` is the same without a disk, which shows what a record costs in CPU.

use clawdbot_audit::{AuditSettings, Recorder};
use clawdbot_domain::{Effect, Event, Outcome, SessionId, TokenId, ToolName, Who};
use divan::{Bencher, counter::ItemsCount};
use std::io::Write as _;
use std::path::Path;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Records that each writer makes in one go.
const EACH: usize = 16;

fn main() {
    divan::main();
}

fn tool_begin() -> Option<Event> {
    Some(Event::ToolBegin {
        tool: ToolName::parse("read_file").ok()?,
        effect: Effect::Read,
        rules: vec!["scope.tools".into(), "tools.allowList".into()],
        approval: None,
        arguments: r#"{"path":"docs/reference/events.md"}"#.into(),
        arguments_sha256: "a".repeat(64),
    })
}

fn who() -> Who {
    Who {
        actor: Some(TokenId::new("cb-dev-a1b2c3d4")),
        session: Some(SessionId::new("s-0123456789abcdef")),
        ..Who::default()
    }
}

/// Each writer waits until its record is durable before it makes the next.
fn record(bencher: Bencher<'_, '_>, writers: usize, folder: &Path) {
    let (Ok(runtime), Ok(recorder)) = (
        Runtime::new(),
        Recorder::open(folder, AuditSettings::default()),
    ) else {
        return;
    };
    bencher
        .counter(ItemsCount::new(writers * EACH))
        .bench_local(|| {
            runtime.block_on(async {
                let tasks: Vec<_> = (0..writers)
                    .map(|_| {
                        let recorder = recorder.clone();
                        tokio::spawn(async move {
                            for _ in 0..EACH {
                                if let Some(event) = tool_begin() {
                                    let _ = recorder.note(who(), Outcome::Begin, event).await;
                                }
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    let _ = task.await;
                }
            });
        });
}

#[divan::bench(args = [1, 16, 64, 256], sample_count = 10, sample_size = 1)]
fn durable(bencher: Bencher<'_, '_>, writers: usize) {
    if let Ok(dir) = TempDir::new() {
        record(bencher, writers, dir.path());
    }
}

#[divan::bench(args = [1, 16, 64, 256], sample_count = 10, sample_size = 1)]
fn memory(bencher: Bencher<'_, '_>, writers: usize) {
    if let Ok(dir) = TempDir::new_in("/dev/shm") {
        record(bencher, writers, dir.path());
    }
}

/// The disk alone: batches of as many records, each written and flushed.
#[divan::bench(args = [1, 16, 64, 256], sample_count = 10, sample_size = 1)]
fn bare(bencher: Bencher<'_, '_>, writers: usize) {
    let Ok(mut file) = tempfile::tempfile() else {
        return;
    };
    let batch = vec![b'x'; writers * 640];
    bencher
        .counter(ItemsCount::new(writers * EACH))
        .bench_local(|| {
            for _ in 0..EACH {
                let _ = file.write_all(&batch).and_then(|()| file.sync_data());
            }
        });
}
