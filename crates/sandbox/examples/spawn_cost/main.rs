//! What it costs to confine one call, against starting a process without and with others' sandboxes.
//!
//! `cargo run --release -p clawdbot-sandbox --example spawn_cost [CALLS]`; medians and 99th percentiles in
//! microseconds of start to end of `/bin/true`, the ways taking turns. bubblewrap and Docker are measured
//! where they are installed.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement fails loudly and prints its figures"
)]

use clawdbot_domain::SandboxMode;
use clawdbot_sandbox::child::{ARGUMENT, Answer, Job, main as zygote};
use clawdbot_sandbox::{
    CommandJob, Confinement, Extras, Launcher, Need, Profile, Sandbox, SandboxSettings, Zygote,
};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const BWRAP: &[&str] = &[
    "--unshare-all",
    "--die-with-parent",
    "--new-session",
    "--ro-bind",
    "/usr",
    "/usr",
    "--symlink",
    "usr/bin",
    "/bin",
    "--symlink",
    "usr/lib",
    "/lib",
    "--symlink",
    "usr/lib64",
    "/lib64",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
    "/bin/true",
];
const DOCKER: &[&str] = &[
    "run",
    "--rm",
    "--network",
    "none",
    "debian:12-slim",
    "/bin/true",
];

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(ARGUMENT) {
        return zygote(answer);
    }
    let calls = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(300);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(calls));
    ExitCode::SUCCESS
}

fn answer(_: Job) -> Answer {
    Answer {
        output: String::new(),
        is_error: false,
    }
}

/// A sandbox with a workspace, and how a command and a tool are confined in it.
struct Way {
    name: &'static str,
    sandbox: Sandbox,
    command: Confinement,
    tool: Confinement,
}

impl Way {
    fn new(name: &'static str, home: &Path, bare: bool) -> Self {
        let this = Launcher::this_binary();
        let zygote = if bare {
            Zygote::start_bare(this)
        } else {
            Zygote::start_with(this)
        };
        let settings = SandboxSettings {
            enabled: true,
            mode: SandboxMode::Moderate,
            home: home.to_owned(),
        };
        let sandbox = Sandbox::prove_in(settings, zygote.unwrap()).unwrap();
        let workspace = home.join("workspace");
        let confine = |profile| {
            let need = Need {
                profile,
                workspace: &workspace,
                write: true,
                programs: &["/usr/bin/true".into()],
            };
            sandbox.confine(&need).unwrap()
        };
        let (command, tool) = (confine(Profile::Command), confine(Profile::Builtin));
        Self {
            name,
            sandbox,
            command,
            tool,
        }
    }

    async fn command(&self) -> Duration {
        let argv = vec!["true".to_owned()];
        let job = CommandJob::new(Path::new("/usr/bin/true"), argv, None).unwrap();
        let start = Instant::now();
        self.sandbox
            .run_command(&self.command, &job, Extras::default())
            .await
            .unwrap();
        start.elapsed()
    }

    async fn tool(&self) -> Duration {
        let start = Instant::now();
        self.sandbox.run(&self.tool, b"").await.unwrap();
        start.elapsed()
    }
}

fn started(program: &str, arguments: &[&str]) -> Option<Duration> {
    let start = Instant::now();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = command.status().ok()?;
    status.success().then(|| start.elapsed())
}

async fn measure(calls: usize) {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("workspace")).unwrap();
    let ways = [
        Way::new("T1", home.path(), false),
        Way::new("T3", home.path(), true),
    ];
    println!("tier of the first: {}", ways[0].sandbox.tier());
    rounds("gateway of a few MB", &ways, calls, true).await;
    let ballast = vec![1_u8; 1 << 30];
    rounds("gateway of 1 GB", &ways, calls / 3, false).await;
    drop(ballast);
    for at_once in [8, 64] {
        crowd(&ways, at_once, calls).await;
    }
}

async fn rounds(title: &str, ways: &[Way], calls: usize, others: bool) {
    let mut rows: Vec<(String, Vec<Duration>)> = Vec::new();
    let mut add = |name: &str, took: Option<Duration>| {
        let Some(took) = took else { return };
        match rows.iter_mut().find(|(row, _)| row == name) {
            Some((_, all)) => all.push(took),
            None => rows.push((name.to_owned(), vec![took])),
        }
    };
    for round in 0..calls + calls / 10 {
        let warm = round >= calls / 10;
        let keep = |took| if warm { took } else { None };
        add("posix_spawn", keep(started("/usr/bin/true", &[])));
        for way in ways {
            add(
                &format!("{} command", way.name),
                keep(Some(way.command().await)),
            );
            add(
                &format!("{} built-in tool", way.name),
                keep(Some(way.tool().await)),
            );
        }
        if others {
            add("bubblewrap", keep(started("bwrap", BWRAP)));
            if round % 50 == 0 {
                add("docker run", keep(started("docker", DOCKER)));
            }
        }
    }
    println!("\n{title}: {calls} calls, one at a time");
    for (name, all) in &mut rows {
        print(name, all);
    }
}

async fn crowd(ways: &[Way], at_once: usize, calls: usize) {
    println!("\n{at_once} at once");
    for way in ways {
        let start = Instant::now();
        let mut all = Vec::new();
        while all.len() < calls {
            let batch = (0..at_once).map(|_| way.command());
            all.extend(futures_join(batch).await);
        }
        let rate = all.len() as f64 / start.elapsed().as_secs_f64();
        print(&format!("{} command", way.name), &mut all);
        println!("{:<20} {rate:>8.0} calls a second", "");
    }
}

/// All of them, side by side on this thread.
async fn futures_join<F: Future<Output = Duration>>(all: impl Iterator<Item = F>) -> Vec<Duration> {
    let mut running: Vec<_> = all.map(|one| Some(Box::pin(one))).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|cx| {
        for slot in &mut running {
            if let Some(one) = slot
                && let std::task::Poll::Ready(took) = one.as_mut().poll(cx)
            {
                done.push(took);
                *slot = None;
            }
        }
        if running.iter().all(Option::is_none) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done
}

fn print(name: &str, all: &mut [Duration]) {
    all.sort();
    let at = |part: usize| {
        let index = (all.len() - 1) * part / 100;
        all.get(index).map_or(0, Duration::as_micros)
    };
    println!("{name:<20} {:>8} µs median {:>8} µs p99", at(50), at(99));
}
