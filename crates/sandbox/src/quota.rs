//! What a command may add to its workspace: looked at again and again while it runs.
//!
//! The kernel bounds each file (`RLIMIT_FSIZE`), not all of them together; where the workspace has no quota of
//! its own, this is what ends a command that fills the disk. A burst between two looks can pass.

use crate::confinement::Limits;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The least time between two looks; most commands are over before the first.
const LOOK: Duration = Duration::from_millis(20);
/// A look may take this part of the time at most.
const SHARE: u32 = 20;
/// The most entries that are looked at.
const MOST_ENTRIES: usize = 200_000;

/// What a folder holds.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    bytes: u64,
    files: u64,
}

/// Comes back when more was added than the limits allow.
pub(crate) async fn outgrown(workspace: &Path, limits: Limits) {
    tokio::time::sleep(LOOK).await;
    let before = look(workspace.to_owned()).await;
    loop {
        let start = Instant::now();
        let now = look(workspace.to_owned()).await;
        if now.bytes > before.bytes.saturating_add(limits.added_bytes)
            || now.files > before.files.saturating_add(limits.added_files)
        {
            return;
        }
        tokio::time::sleep(LOOK.max(start.elapsed() * SHARE)).await;
    }
}

async fn look(folder: PathBuf) -> Size {
    let looked = tokio::task::spawn_blocking(move || {
        let mut size = Size::default();
        add(&folder, &mut size, 0);
        size
    });
    looked.await.unwrap_or_default()
}

/// Links are counted, not followed; what vanishes meanwhile counts nothing.
fn add(folder: &Path, size: &mut Size, depth: usize) {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if size.files as usize >= MOST_ENTRIES {
            return;
        }
        let Ok(found) = entry.metadata() else {
            continue;
        };
        size.files += 1;
        size.bytes += found.blocks() * 512;
        if found.is_dir() && depth < 128 {
            add(&entry.path(), size, depth + 1);
        }
    }
}
