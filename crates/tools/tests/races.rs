//! Somebody swaps links and folders under the tools' hands, thousands of times.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail as loudly as tests"
)]

mod house;

use clawdbot_domain::SandboxMode;
use house::House;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Swaps `a` between a folder of the workspace and a link out of it, as fast as it can, until dropped.
struct Swapper {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Swapper {
    fn new(workspace: PathBuf) -> Self {
        let (stop, swaps) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stops, counts) = (Arc::clone(&stop), Arc::clone(&swaps));
        let thread = std::thread::spawn(move || {
            let at = |name: &str| workspace.join(name);
            while !stops.load(Ordering::Relaxed) {
                let exchange = |one: &str, other: &str| {
                    rustix::fs::renameat_with(
                        rustix::fs::CWD,
                        at(one),
                        rustix::fs::CWD,
                        at(other),
                        rustix::fs::RenameFlags::EXCHANGE,
                    )
                };
                exchange("a", "b").unwrap();
                counts.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            stop,
            swaps,
            thread: Some(thread),
        }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How often each tool is tried. Some thousand calls in all; `CLAWDBOT_ROUNDS` for more, by hand.
fn rounds() -> u64 {
    let asked = std::env::var("CLAWDBOT_ROUNDS").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(250)
}

#[tokio::test]
async fn a_folder_that_turns_into_a_link_leads_no_tool_outside() {
    let house = House::new(SandboxMode::Moderate, &["cat"]);
    std::fs::create_dir(house.path("a")).unwrap();
    std::fs::write(house.path("a/key"), "inside").unwrap();
    std::os::unix::fs::symlink("../secrets", house.path("b")).unwrap();
    let swapper = Swapper::new(house.path("."));
    let mut read = 0;
    for round in 0..rounds() {
        for (tool, arguments) in [
            ("read_file", json!({"path": "a/key"})),
            ("write_file", json!({"path": "a/key", "content": "inside"})),
            (
                "edit_file",
                json!({"path": "a/key", "old": "inside", "new": "inside!"}),
            ),
            (
                "edit_file",
                json!({"path": "a/key", "old": "inside!", "new": "inside"}),
            ),
            ("search_files", json!({"text": "CANARY"})),
            ("list_directory", json!({"path": "a"})),
            (
                "run_command",
                json!({"command": ["cat", "a/key"], "cwd": "a"}),
            ),
            ("run_command", json!({"command": ["cat", "a/key"]})),
        ] {
            let (said, failed) = house.said(tool, arguments).await;
            assert!(!said.contains("CANARY"), "round {round}: {tool}: {said}");
            read += u64::from(!failed);
        }
    }
    let swaps = swapper.swaps.load(Ordering::Relaxed);
    drop(swapper);
    assert!(
        read > 0 && swaps > 1_000,
        "{read} calls worked, {swaps} swaps"
    );
    let secrets = house.root.path().join("home/secrets");
    assert_eq!(
        std::fs::read_to_string(secrets.join("key")).unwrap(),
        "CANARY"
    );
    let there: Vec<_> = std::fs::read_dir(secrets).unwrap().collect();
    assert_eq!(there.len(), 1, "nothing was put outside: {there:?}");
}

#[tokio::test]
async fn a_file_that_changes_under_an_edit_loses_nothing_that_was_written() {
    let house = House::new(SandboxMode::Strict, &[]);
    let path = house.path("counter");
    std::fs::write(&path, "0 start\n").unwrap();
    let mut edits = 0;
    for round in 0..100 {
        let writer = path.clone();
        let other = std::thread::spawn(move || {
            std::fs::write(&writer, format!("{round} other\n")).unwrap();
        });
        let edit = json!({"path": "counter", "old": "other", "new": "edited"});
        let (_, failed) = house.said("edit_file", edit).await;
        other.join().unwrap();
        let now = std::fs::read_to_string(&path).unwrap();
        // Whole lines of one or the other, never a mixture or a lost half.
        assert!(
            now.ends_with(" other\n") || now.ends_with(" edited\n"),
            "{now:?}"
        );
        edits += u32::from(!failed);
    }
    assert!(edits > 0, "no edit ever worked");
}
