//! `clawdbot sandbox`.

use super::record::settings;
use super::{CliResult, Exit, Failure};
use crate::home::Home;
use crate::{note, say, wire};
use clap::{Args, Subcommand};
use clawdbot_config::Settings;
use clawdbot_domain::{Effect, SandboxMode, ToolSpec};
use clawdbot_sandbox::{
    Ended, Extras, Finished, Launcher, Limits, Need, Network, Profile, RunError, Sandbox,
    SandboxSettings, Tier, Zygote,
};
use clawdbot_tools::{Catalogue, Prepared, prepare_command, trap};
use std::io::Write as _;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum SandboxCommand {
    /// Try what the sandbox must forbid, with and without each layer
    Test {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a call of each tool could reach
    Explain,
    /// Run a command confined exactly as a tool call would be
    Run(RunArgs),
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The mode instead of the configured one: strict, moderate, permissive
    #[arg(long, value_name = "MODE")]
    mode: Option<SandboxMode>,
    /// Allow this command besides the configured ones; may be repeated
    #[arg(long, value_name = "CMD")]
    allow: Vec<String>,
    /// The workspace instead of the configured one
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// Let the command change the workspace
    #[arg(long)]
    write: bool,
    /// End the command after this many seconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Confine as on another machine: T3 takes no namespaces, as in a container
    #[arg(long, value_name = "TIER")]
    tier: Option<Tier>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

pub fn run(command: SandboxCommand, home: &Home) -> CliResult {
    let loaded = settings(home)?;
    let settings = &loaded.settings;
    match command {
        SandboxCommand::Test { json } => test(wire::sandbox_settings(home, settings), json),
        SandboxCommand::Explain => explain(home, settings),
        SandboxCommand::Run(args) => run_by_hand(home, settings, args),
    }
}

fn prove(settings: SandboxSettings) -> Result<Sandbox, Failure> {
    Sandbox::prove(settings).map_err(|e| Failure::new(Exit::Unavailable, e))
}

/// With the tier that was asked for, and no other.
fn prove_tier(settings: SandboxSettings, tier: Option<Tier>) -> Result<Sandbox, Failure> {
    let zygote = match tier {
        Some(Tier::Bare) => Zygote::start_bare(Launcher::this_binary()),
        Some(Tier::Namespaces) | None => Zygote::start(),
    };
    let zygote = zygote.map_err(|e| Failure::new(Exit::Unavailable, e))?;
    let sandbox = Sandbox::prove_in(settings, zygote);
    let sandbox = sandbox.map_err(|e| Failure::new(Exit::Unavailable, e))?;
    match tier {
        Some(wanted) if wanted != sandbox.tier() => Err(Failure::new(
            Exit::Unavailable,
            format!(
                "tier {wanted} does not hold here: {}",
                sandbox.missing().join("; ")
            ),
        )),
        Some(_) | None => Ok(sandbox),
    }
}

fn test(settings: SandboxSettings, as_json: bool) -> CliResult {
    if !settings.enabled {
        note!("gateway.sandbox.enabled is false: tools run unconfined; this is what would hold");
    }
    let sandbox = prove(SandboxSettings {
        enabled: true,
        ..settings
    })?;
    if as_json {
        let proof = serde_json::json!({
            "mode": sandbox.mode(), "tier": sandbox.tier(), "layers": sandbox.proof(),
            "missing": sandbox.missing()
        });
        say!("{proof}");
        return Ok(Exit::Done);
    }
    say!(
        "sandbox mode {}, tier {}: every layer holds",
        sandbox.mode(),
        sandbox.tier()
    );
    for missing in sandbox.missing() {
        say!("not held here: {missing}");
    }
    for layer in sandbox.proof() {
        say!("{}", layer.name);
        for trial in &layer.trials {
            say!("  tried to {}", trial.tried);
            say!("    without the layer: {}", trial.without);
            say!("    with the layer:    {}", trial.with);
        }
    }
    Ok(Exit::Done)
}

fn explain(home: &Home, settings: &Settings) -> CliResult {
    home.create()
        .map_err(|e| Failure::new(Exit::CannotCreate, e))?;
    let sandbox = prove(wire::sandbox_settings(home, settings))?;
    let listed = &settings.gateway.sandbox.allowed_commands;
    say!("mode {}, tier {}", sandbox.mode(), sandbox.tier());
    say!("layers: {}", sandbox.layers().join(", "));
    let programs = allowed_programs(sandbox.mode(), listed, home);
    for spec in Catalogue::default().specs().iter() {
        explain_tool(&sandbox, spec, home, &programs);
        match spec.effect {
            Effect::Network => say!(
                "  network: through the broker, public addresses of {}",
                settings.gateway.sandbox.allowed_hosts.join(", ")
            ),
            Effect::Execute => explain_commands(listed),
            Effect::Read | Effect::Write => {}
        }
    }
    Ok(Exit::Done)
}

/// The programs of the list that are here, as the kernel will be told.
fn allowed_programs(mode: SandboxMode, listed: &[String], home: &Home) -> Vec<PathBuf> {
    let prepared = listed.iter().filter_map(|name| {
        prepare_command(mode, listed, &home.workspace(), vec![name.clone()], None).ok()
    });
    let mut programs: Vec<_> = prepared.flat_map(|prepared| prepared.programs).collect();
    programs.sort();
    programs.dedup();
    programs
}

fn explain_tool(sandbox: &Sandbox, spec: &ToolSpec, home: &Home, programs: &[PathBuf]) {
    let workspace = home.workspace();
    let need = Need {
        profile: match spec.effect {
            Effect::Execute => Profile::Command,
            Effect::Read | Effect::Write | Effect::Network => Profile::Builtin,
        },
        workspace: &workspace,
        write: matches!(spec.effect, Effect::Write | Effect::Execute),
        programs,
    };
    say!("{} ({}):", spec.name, spec.effect);
    let confinement = match sandbox.confine(&need) {
        Ok(confinement) => confinement,
        Err(why) => {
            say!("  nothing: {why}");
            return;
        }
    };
    for line in confinement.reach() {
        say!("  {line}");
    }
    let limits = confinement.limits();
    say!(
        "  at most {} s, {} MiB of memory a process, {} processes, {} KiB of output",
        limits.wall_ms / 1000,
        limits.memory_bytes >> 20,
        limits.processes.max(1),
        limits.output_bytes >> 10
    );
    if confinement.network() == Network::Inherited {
        say!("  network: as the gateway");
    }
}

fn explain_commands(listed: &[String]) {
    for name in listed {
        if let Some(what) = trap(name) {
            say!("  warning: {name} {what}, inside this confinement");
        }
    }
}

fn run_by_hand(home: &Home, settings: &Settings, args: RunArgs) -> CliResult {
    let wanted = wire::sandbox_settings(home, settings);
    let mode = args.mode.unwrap_or(wanted.mode);
    let mut allowed = settings.gateway.sandbox.allowed_commands.clone();
    allowed.extend(args.allow);
    home.create()
        .map_err(|e| Failure::new(Exit::CannotCreate, e))?;
    let workspace = args.workspace.unwrap_or_else(|| home.workspace());
    let prepared = prepare_command(mode, &allowed, &workspace, args.command, None)
        .map_err(|refused| Failure::new(Exit::Refused, refused))?;
    let settings = SandboxSettings {
        enabled: true,
        mode,
        ..wanted
    };
    let sandbox = prove_tier(settings, args.tier)?;
    let need = Need {
        profile: Profile::Command,
        workspace: &workspace,
        write: args.write,
        programs: &prepared.programs,
    };
    let finished = start(&sandbox, &need, &prepared, args.seconds)?;
    let mut out = std::io::stdout().lock();
    // A reader that has gone away is not an error.
    let _ = out.write_all(&finished.output).and_then(|()| out.flush());
    // The command's own code, which is none of ours: it cannot be an `Exit`.
    std::process::exit(match finished.ended {
        Ended::Exited(code) => code,
        Ended::Signalled(signal) => 128 + signal,
        Ended::Answered { is_error } => i32::from(is_error),
        Ended::TimedOut => {
            note!("ended: its time was up");
            124
        }
        Ended::Outgrown(what) => {
            note!("ended: {what}");
            125
        }
        Ended::TooMuchOutput => {
            note!("ended: more than {} bytes of output", finished.output.len());
            125
        }
    })
}

fn start(
    sandbox: &Sandbox,
    need: &Need<'_>,
    prepared: &Prepared,
    seconds: Option<u64>,
) -> Result<Finished, Failure> {
    let mut confinement = sandbox
        .confine(need)
        .map_err(|e| Failure::new(Exit::Refused, e))?;
    if let Some(seconds) = seconds {
        let limits = Limits {
            wall_ms: seconds.saturating_mul(1000),
            ..confinement.limits()
        };
        confinement = confinement.with_limits(limits);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Bug, e))?;
    runtime
        .block_on(sandbox.run_command(&confinement, &prepared.job, Extras::default()))
        .map_err(|e| {
            let exit = match e {
                RunError::NotConfined { .. } | RunError::NotStarted(_) => Exit::Refused,
                RunError::Start(_) | RunError::Died => Exit::Bug,
            };
            Failure::new(exit, e)
        })
}
