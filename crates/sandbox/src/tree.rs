//! What the processes of a command use together: looked at again and again while it runs.
//!
//! The kernel bounds the memory of each process (`RLIMIT_AS`), not of all of them, and counts no processes of root.
//! Where it could (a cgroup) somebody with privileges would have to hand one over; this needs nobody.

use crate::confinement::Limits;
use crate::report::Outgrown;
use rustix::fd::{AsRawFd as _, OwnedFd};
use std::fs::read_to_string;
use std::time::{Duration, Instant};

/// The least time between two looks: so long takes a processor to fill some 50 MB.
const LOOK: Duration = Duration::from_millis(20);
/// A look may take this part of the time at most.
const SHARE: u32 = 20;

/// Comes back with what there is too much of.
pub(crate) async fn outgrown(pidfd: &OwnedFd, limits: Limits) -> Outgrown {
    // Most commands are over before the first look.
    let mut wait = LOOK;
    loop {
        tokio::time::sleep(wait).await;
        let start = Instant::now();
        if let Some(warden) = pid_of(pidfd) {
            let looked = tokio::task::spawn_blocking(move || look(warden, limits));
            if let Ok(Some(what)) = looked.await {
                return what;
            }
        }
        wait = LOOK.max(start.elapsed() * SHARE);
    }
}

fn look(warden: u32, limits: Limits) -> Option<Outgrown> {
    // The command and those that it started; the warden is not among them.
    let most = usize::try_from(limits.processes).unwrap_or(usize::MAX);
    let mut all = children(warden);
    let mut next = 0;
    while let Some(pid) = all.get(next) {
        if all.len() > most {
            return Some(Outgrown::Processes);
        }
        all.extend(children(*pid));
        next += 1;
    }
    let sum = |bytes: fn(u32) -> u64| all.iter().map(|pid| bytes(*pid)).sum::<u64>();
    // A fork shares its parent's pages, which both are said to have: before a verdict each has its part of them.
    let too_much = sum(resident) > limits.memory_bytes && sum(share) > limits.memory_bytes;
    too_much.then_some(Outgrown::Memory)
}

/// The number of a process here; none when it has ended.
fn pid_of(pidfd: &OwnedFd) -> Option<u32> {
    let about = read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let line = about.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    line.trim().parse().ok()
}

/// Whom the threads of a process started, and the orphans it took in.
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let lists = threads
        .flatten()
        .filter_map(|thread| read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            let numbers = list.split_whitespace().filter_map(|pid| pid.parse().ok());
            numbers.collect::<Vec<u32>>()
        })
        .collect()
}

/// Memory that holds no file, bytes, with all that is shared.
fn resident(pid: u32) -> u64 {
    let Ok(status) = read_to_string(format!("/proc/{pid}/status")) else {
        return 0;
    };
    kilobytes(&status, &["RssAnon:", "RssShmem:"]) << 10
}

/// The same, with its part of what is shared; all of it where the kernel does not say.
fn share(pid: u32) -> u64 {
    match read_to_string(format!("/proc/{pid}/smaps_rollup")) {
        Ok(rollup) => kilobytes(&rollup, &["Pss_Anon:", "Pss_Shmem:"]) << 10,
        Err(_) => resident(pid),
    }
}

fn kilobytes(text: &str, names: &[&str]) -> u64 {
    let value = |line: &str| {
        let rest = names.iter().find_map(|name| line.strip_prefix(name))?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    };
    text.lines().filter_map(value).sum()
}
