//! What processes have cost, from `/proc`.

/// CPU time and memory of some processes and all their children.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Microseconds of CPU time, user and system.
    pub(crate) cpu_micros: u64,
    /// Kilobytes that are resident.
    pub(crate) rss_kb: u64,
    /// The most that ever were.
    pub(crate) peak_kb: u64,
    /// Threads.
    pub(crate) threads: u64,
}

/// Of these and their children now.
pub(crate) fn of(pids: &[i32]) -> Cost {
    let mut sum = Cost::default();
    for pid in with_children(pids) {
        add(pid, &mut sum);
    }
    sum
}

fn with_children(pids: &[i32]) -> Vec<i32> {
    let mut all = pids.to_vec();
    let mut at = 0;
    while let Some(pid) = all.get(at).copied() {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children =
                std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let new = children
                .split_whitespace()
                .filter_map(|pid| pid.parse().ok());
            let new = new.filter(|pid| !all.contains(pid)).collect::<Vec<_>>();
            all.extend(new);
        }
        at += 1;
    }
    all
}

/// A process that has ended meanwhile adds nothing.
fn add(pid: i32, sum: &mut Cost) {
    // Nanoseconds on a CPU, one line a thread: finer than the clock ticks of `stat`. Threads that
    // have ended are missing, so it is used for processes whose threads live as long as they do.
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    for task in tasks.into_iter().flatten().flatten() {
        let line = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let nanos = line
            .split(' ')
            .next()
            .and_then(|n| n.parse::<u64>().ok())
            .unwrap_or(0);
        sum.cpu_micros += nanos / 1000;
        sum.threads += 1;
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let word = line.and_then(|line| line.split_whitespace().next());
        word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
    };
    sum.rss_kb += field("VmRSS:");
    sum.peak_kb += field("VmHWM:");
}
