//! Resource limits: each a hard stop that cannot be raised again.

use crate::confinement::{Confinement, Profile};
use rustix::process::{Resource, Rlimit, getuid, setrlimit};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many threads the user has, as the zygote last saw it; a child inherits the number. Where calls have a user
/// namespace of their own it stays 0: there the kernel counts for the call alone.
static THREADS: AtomicU64 = AtomicU64::new(0);
/// How old that may be. A walk through `/proc` takes milliseconds on a busy machine, longer than all else of a call.
const FRESH: Duration = Duration::from_millis(250);

/// In the zygote: looks again, if the last look is too old. Root is not held to a number of processes.
pub(crate) fn look_at_threads(last: &mut Option<Instant>) {
    if getuid().is_root() || last.is_some_and(|last| last.elapsed() < FRESH) {
        return;
    }
    THREADS.store(threads_of_this_user(), Ordering::Relaxed);
    *last = Some(Instant::now());
}

/// Sets them.
pub(super) fn set(confinement: &Confinement) -> io::Result<()> {
    let limits = confinement.limits;
    // The kernel counts the processes of a user, not of a call: allow those that are there and some.
    let processes = match confinement.profile {
        Profile::Builtin => None,
        Profile::Command if getuid().is_root() => None,
        Profile::Command => {
            let there = THREADS.load(Ordering::Relaxed);
            Some(limits.processes.saturating_add(there))
        }
    };
    let all = [
        (Resource::Cpu, Some(limits.cpu_s)),
        (Resource::As, Some(limits.memory_bytes)),
        (Resource::Fsize, Some(limits.file_bytes)),
        (Resource::Nofile, Some(limits.descriptors)),
        (Resource::Nproc, processes),
        (Resource::Core, Some(0)),
        (Resource::Memlock, Some(0)),
        (Resource::Msgqueue, Some(0)),
    ];
    for (resource, most) in all {
        if let Some(most) = most {
            set_one(resource, most)?;
        }
    }
    Ok(())
}

/// Never above what the gateway itself was given.
fn set_one(resource: Resource, most: u64) -> io::Result<()> {
    let ceiling = rustix::process::getrlimit(resource)
        .maximum
        .unwrap_or(u64::MAX);
    let most = Some(most.min(ceiling));
    setrlimit(
        resource,
        Rlimit {
            current: most,
            maximum: most,
        },
    )?;
    Ok(())
}

/// Threads of this user, by the link count of `/proc/PID/task`. A process that is not dumpable (the gateway)
/// shows as root's there, so of root's the status is read, which names the real user: to count all of root's would
/// make the limit as wide as the machine is busy.
fn threads_of_this_user() -> u64 {
    let me = getuid().as_raw();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return 0;
    };
    let mine = entries.flatten().filter_map(|entry| {
        let task = std::fs::metadata(entry.path().join("task")).ok()?;
        let is_mine = task.uid() == me || (task.uid() == 0 && real_user(&entry.path()) == Some(me));
        is_mine.then(|| task.nlink().saturating_sub(2))
    });
    mine.sum()
}

/// The real user of a process, whoever its files belong to.
fn real_user(process: &Path) -> Option<u32> {
    let status = std::fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}
