//! What it costs to confine one call, against starting a process without and with others' sandboxes.
//!
//! `cargo run --release -p clawdbot-sandbox --example spawn_cost [CALLS]`, or `bench/sandbox`, which starts a container
//! engine for it. Medians and 99th percentiles in microseconds of start to end of `/bin/true`, the ways taking turns;
//! from a gateway of 20 MB and of 1 GB; 1, 8 and 64 at once. Then the bytes a second of a command's output.
//! `--features holes` adds what each layer costs.
//!
//! bubblewrap and Docker are measured where they answer, and named where they do not. Docker starts the image that
//! `SPAWN_COST_IMAGE` names, which must be there already and hold `/bin/true`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement fails loudly and prints its figures"
)]

mod streams;

use clawdbot_domain::SandboxMode;
use clawdbot_sandbox::child::{ARGUMENT, Answer, Job, main as zygote};
use clawdbot_sandbox::{
    CommandJob, Confinement, Ended, Extras, Launcher, Need, Profile, Sandbox, SandboxSettings,
    Zygote,
};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const BWRAP: &[&str] = &[
    "bwrap",
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
/// A container takes so much longer that it gets one call for so many of the others.
const DOCKER_EVERY: usize = 25;
/// Rounds in which the ways take turns where many calls run at once.
const ROUNDS: usize = 5;

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

/// One way to run a program, or a tool, to its end.
#[derive(Clone)]
enum Way {
    /// Somebody else's program, started by `posix_spawn`.
    Other(Arc<Vec<String>>),
    /// A command in our sandbox.
    Command(Arc<Sandbox>, Arc<Confinement>),
    /// A built-in tool in our sandbox, which starts no program.
    Tool(Arc<Sandbox>, Arc<Confinement>),
}

impl Way {
    fn other(words: &[&str]) -> Self {
        Self::Other(Arc::new(words.iter().map(ToString::to_string).collect()))
    }

    fn is_docker(&self) -> bool {
        matches!(self, Self::Other(words) if words.first().is_some_and(|word| word == "docker"))
    }

    async fn once(&self) -> Duration {
        let start = Instant::now();
        match self {
            Self::Other(words) => {
                let words = Arc::clone(words);
                // On a thread of its own, as a gateway would wait for it.
                let ran = tokio::task::spawn_blocking(move || started(&words));
                return ran.await.unwrap().unwrap();
            }
            Self::Command(sandbox, confinement) => {
                let argv = vec!["true".to_owned()];
                let job = CommandJob::new(Path::new("/usr/bin/true"), argv, None).unwrap();
                let ran = sandbox.run_command(confinement, &job, Extras::default());
                assert_eq!(ran.await.unwrap().ended, Ended::Exited(0));
            }
            Self::Tool(sandbox, confinement) => {
                sandbox.run(confinement, b"").await.unwrap();
            }
        }
        start.elapsed()
    }
}

/// Starts it and waits; none when it cannot be started or fails.
fn started(words: &[String]) -> Option<Duration> {
    let (program, arguments) = words.split_first()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status().ok()?;
    status.success().then(|| start.elapsed())
}

/// A sandbox in one tier, and how calls are confined in it.
struct Tier {
    name: &'static str,
    sandbox: Arc<Sandbox>,
    command: Arc<Confinement>,
    tool: Arc<Confinement>,
}

impl Tier {
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
        // Figures of a weaker tier under this name would be a lie.
        assert_eq!(sandbox.tier().as_str(), name, "{:?}", sandbox.missing());
        let confine = |profile| {
            let need = Need {
                profile,
                workspace: &home.join("workspace"),
                write: true,
                programs: &["/usr/bin/true".into(), "/usr/bin/head".into()],
            };
            Arc::new(sandbox.confine(&need).unwrap())
        };
        let (command, tool) = (confine(Profile::Command), confine(Profile::Builtin));
        Self {
            name,
            sandbox: Arc::new(sandbox),
            command,
            tool,
        }
    }

    fn ways(&self) -> Vec<(String, Way)> {
        let row = |what: &str| format!("{}, {what}", self.name);
        vec![
            (
                row("a command"),
                Way::Command(Arc::clone(&self.sandbox), Arc::clone(&self.command)),
            ),
            (
                row("a built-in tool"),
                Way::Tool(Arc::clone(&self.sandbox), Arc::clone(&self.tool)),
            ),
        ]
    }

    /// The command with layers left out.
    #[cfg(feature = "holes")]
    fn layers(&self) -> Vec<(String, Way)> {
        use clawdbot_sandbox::Part::{Landlock, Seccomp};
        let without = |name: &str, parts| {
            let confinement = Confinement::clone(&self.command).without(parts);
            let way = Way::Command(Arc::clone(&self.sandbox), Arc::new(confinement));
            (format!("{}, without {name}", self.name), way)
        };
        vec![
            without("Landlock", vec![Landlock]),
            without("seccomp", vec![Seccomp]),
            without("both", vec![Landlock, Seccomp]),
        ]
    }
}

async fn measure(calls: usize) {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("workspace")).unwrap();
    let tiers = [
        Tier::new("T1", home.path(), false),
        Tier::new("T3", home.path(), true),
    ];
    let mut ways = vec![(
        "posix_spawn, not confined".to_owned(),
        Way::other(&["/usr/bin/true"]),
    )];
    ways.extend(tiers.iter().flat_map(Tier::ways));
    ways.extend(others());
    for megabytes in [20, 1024] {
        let ballast = grow_to(megabytes);
        for at_once in [1, 8, 64] {
            let resident = resident_kb() >> 10;
            println!("\nfrom a gateway of {resident} MB, {at_once} at once");
            crowd(&ways, at_once, calls).await;
        }
        drop(ballast);
    }
    #[cfg(feature = "holes")]
    {
        let whole = tiers
            .iter()
            .flat_map(|tier| tier.ways().into_iter().take(1));
        let parts: Vec<_> = whole.chain(tiers.iter().flat_map(Tier::layers)).collect();
        println!("\nwith layers left out, 1 at once");
        crowd(&parts, 1, calls).await;
    }
    streams::measure(&tiers).await;
}

/// What is installed and answers. The rest is named, so that no table hides what it left out.
fn others() -> Vec<(String, Way)> {
    let mut found = Vec::new();
    let mut add = |name: &str, words: &[&str]| {
        let way = Way::other(words);
        if let Way::Other(words) = &way
            && started(words).is_some()
        {
            found.push((name.to_owned(), way));
        } else {
            println!("{name}: not measured, because it does not run here");
        }
    };
    add("bubblewrap", BWRAP);
    match std::env::var("SPAWN_COST_IMAGE") {
        Ok(image) => {
            let words = [
                "docker",
                "run",
                "--rm",
                "--network",
                "none",
                &image,
                "/bin/true",
            ];
            add("docker run", &words);
        }
        Err(_) => println!("docker run: not measured, because SPAWN_COST_IMAGE names no image"),
    }
    found
}

/// Makes this process as large as a gateway of that many megabytes, until what it gives is dropped.
fn grow_to(megabytes: usize) -> Vec<u8> {
    vec![1; (megabytes << 20).saturating_sub(resident_kb() << 10)]
}

fn resident_kb() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next());
    kilobytes.unwrap().parse().unwrap()
}

/// So many callers, each of which makes its next call when the one before has ended.
async fn crowd(ways: &[(String, Way)], at_once: usize, calls: usize) {
    let mut rows: Vec<(Vec<Duration>, Duration)> = vec![Default::default(); ways.len()];
    // One alone takes turns call by call; many take turns in a few rounds, or they would never be many.
    let rounds = if at_once == 1 { calls } else { ROUNDS };
    let each = calls
        .div_ceil(rounds * at_once)
        .max(2 * usize::from(at_once > 1))
        .max(1);
    let warm = rounds.div_ceil(10);
    for round in 0..rounds + warm {
        for ((_, way), (all, took)) in ways.iter().zip(&mut rows) {
            let each = match (way.is_docker(), at_once) {
                (true, 1) if !round.is_multiple_of(DOCKER_EVERY) => continue,
                (true, _) if at_once > 1 && round != warm => continue,
                (true, _) => 1,
                (false, _) => each,
            };
            let start = Instant::now();
            let mut callers = tokio::task::JoinSet::new();
            for _ in 0..at_once {
                let way = way.clone();
                callers.spawn(async move {
                    let mut mine = Vec::with_capacity(each);
                    for _ in 0..each {
                        mine.push(way.once().await);
                    }
                    mine
                });
            }
            let done = callers.join_all().await;
            if round >= warm {
                all.extend(done.into_iter().flatten());
                *took += start.elapsed();
            }
        }
    }
    println!(
        "{:<28} {:>9} {:>9} {:>9}",
        "", "p50 µs", "p99 µs", "calls/s"
    );
    for ((name, _), (all, took)) in ways.iter().zip(&mut rows) {
        all.sort();
        let at = |part: usize| {
            all.get((all.len() - 1) * part / 100)
                .map_or(0, Duration::as_micros)
        };
        let rate = all.len() as f64 / took.as_secs_f64();
        println!(
            "{name:<28} {:>9} {:>9} {rate:>9.0}   of {}",
            at(50),
            at(99),
            all.len()
        );
    }
}
