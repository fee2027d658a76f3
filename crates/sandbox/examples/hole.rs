//! Runs a command as a tool call would be run in mode moderate, with layers left out:
//! `hole HOME WORKSPACE T1|T3 SECONDS LAYERS-LEFT-OUT ALLOWED -- CMD ARGS`, lists with commas, `-` for none.
//!
//! What it prints is what the command printed.

use clawdbot_domain::SandboxMode;
use clawdbot_sandbox::child::{ARGUMENT, Answer, Job, main as child};
use clawdbot_sandbox::{
    CommandJob, Extras, Launcher, Limits, Need, Part, Profile, Sandbox, SandboxSettings, Zygote,
};
use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().map(String::as_str) == Some(ARGUMENT) {
        return child(builtin);
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the signature is the sandbox's"
)]
fn builtin(_: Job) -> Answer {
    Answer {
        output: String::new(),
        is_error: true,
    }
}

fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [
        home,
        workspace,
        tier,
        seconds,
        left_out,
        allowed,
        dashes,
        argv @ ..,
    ] = arguments
    else {
        return Err("hole HOME WORKSPACE TIER SECONDS LEFT-OUT ALLOWED -- CMD ARGS".into());
    };
    if dashes != "--" {
        return Err("the command comes after --".into());
    }
    let mut parts = Vec::new();
    for part in left_out.split(',') {
        parts.push(match part {
            "landlock" => Part::Landlock,
            "seccomp" => Part::Seccomp,
            "-" => continue,
            other => return Err(format!("{other} is no layer").into()),
        });
    }
    let settings = SandboxSettings {
        enabled: true,
        mode: SandboxMode::Moderate,
        home: home.into(),
    };
    let zygote = match tier.as_str() {
        "T1" => Zygote::start()?,
        _ => Zygote::start_bare(Launcher::this_binary())?,
    };
    let sandbox = Sandbox::prove_in(settings, zygote)?;
    if sandbox.tier().as_str() != tier {
        return Err(format!("there is no tier {tier} here: {:?}", sandbox.missing()).into());
    }
    let programs: Vec<PathBuf> = allowed.split(',').filter_map(resolve).collect();
    let program = argv.first().and_then(|name| resolve(name));
    let program = program.ok_or("no such program")?;
    let need = Need {
        profile: Profile::Command,
        workspace: Path::new(workspace),
        write: true,
        programs: &programs,
    };
    let limits = Limits {
        wall_ms: seconds.parse::<u64>()? * 1000,
        ..Limits::COMMAND
    };
    let confinement = sandbox.confine(&need)?.with_limits(limits).without(parts);
    let job = CommandJob::new(&program, argv.to_vec(), None)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let running = sandbox.run_command(&confinement, &job, Extras::default());
    let finished = runtime.block_on(running)?;
    std::io::stdout().write_all(&finished.output)?;
    Ok(())
}

fn resolve(name: &str) -> Option<PathBuf> {
    if name.starts_with('/') {
        return Path::new(name).canonicalize().ok();
    }
    let folders = ["/usr/local/bin", "/usr/bin", "/bin"];
    let mut places = folders.iter().map(|folder| Path::new(folder).join(name));
    places.find_map(|place| place.canonicalize().ok())
}
