//! Proves at start that every layer holds here: each is tried from both sides.
//!
//! A canary that reaches without its layer and is stopped with it proves the layer. One that is stopped
//! on both sides proves nothing, and counts as not proven: something else stopped it, which may be gone
//! tomorrow.

use crate::canary::{Canary, REACHED, Raised};
use crate::launch::Launcher;
use crate::report::Report;
use crate::wire::{self, Header};
use clawdbot_domain::SandboxMode;
use serde::Serialize;
use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};

/// A layer and the evidence that it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// Its name in records.
    pub name: &'static str,
    /// The trials of it.
    pub trials: Vec<Trial>,
}

/// One forbidden thing, tried twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trial {
    /// What was tried.
    pub tried: &'static str,
    /// What came of it without the layer: `reached`, or what the kernel said.
    pub without: String,
    /// What came of it with the layer.
    pub with: String,
}

impl Trial {
    /// True when it reached without the layer and was stopped with it.
    pub fn proves(&self) -> bool {
        self.without == REACHED && self.with != REACHED
    }
}

/// A layer that does not hold on this machine; tools must not run.
#[derive(Debug, thiserror::Error)]
#[error("sandbox layer {layer} is not proven: {said}; {remedy}")]
pub struct NotProven {
    /// Which layer.
    pub layer: &'static str,
    /// What was tried and what the kernel said.
    pub said: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// A layer, how it is raised, what it must stop.
struct Claim {
    layer: &'static str,
    raised: Raised,
    canaries: &'static [Canary],
    remedy: &'static str,
}

const KERNEL: &str = "Landlock ABI 6 is needed: Linux 6.12 or newer with `landlock` in its `lsm=` list \
     (in a container, of the host); or accept the risk with `clawdbot config set gateway.sandbox.enabled false`";
const FILTER: &str = "seccomp filters are needed: a kernel with CONFIG_SECCOMP_FILTER, and a container profile that \
     allows the seccomp call (Docker's default does)";
const PRIVILEGES: &str =
    "prctl and capset must be allowed: use the container engine's default profile";
const LAUNCH: &str = "this is a bug of ours; please report it";

const CLAIMS: &[Claim] = &[
    Claim {
        layer: "environment",
        raised: Raised::Privileges,
        canaries: &[Canary::Environment],
        remedy: LAUNCH,
    },
    Claim {
        layer: "no-new-privileges",
        raised: Raised::Privileges,
        canaries: &[Canary::NewPrivileges],
        remedy: PRIVILEGES,
    },
    Claim {
        layer: "landlock-files",
        raised: Raised::Landlock,
        canaries: &[Canary::Files],
        remedy: KERNEL,
    },
    Claim {
        layer: "landlock-tcp",
        raised: Raised::Landlock,
        canaries: &[Canary::Tcp],
        remedy: KERNEL,
    },
    Claim {
        layer: "landlock-scopes",
        raised: Raised::Landlock,
        canaries: &[Canary::Signal, Canary::AbstractSocket],
        remedy: KERNEL,
    },
    Claim {
        layer: "seccomp-builtin",
        raised: Raised::SeccompBuiltin,
        canaries: &[Canary::Program, Canary::Socket, Canary::Inspect],
        remedy: FILTER,
    },
];

/// Needed by the modes that run commands.
const COMMAND_CLAIM: Claim = Claim {
    layer: "seccomp-command",
    raised: Raised::SeccompCommand,
    canaries: &[Canary::Socket, Canary::Inspect],
    remedy: FILTER,
};

/// Proves all that the mode needs. The children run side by side.
pub(crate) fn prove(mode: SandboxMode, launcher: &Launcher) -> Result<Vec<Layer>, NotProven> {
    let command = match mode {
        SandboxMode::Strict => None,
        SandboxMode::Moderate | SandboxMode::Permissive => Some(&COMMAND_CLAIM),
    };
    let claims: Vec<&Claim> = CLAIMS.iter().chain(command).collect();
    let mut needed = vec![Raised::Nothing];
    for claim in &claims {
        if !needed.contains(&claim.raised) {
            needed.push(claim.raised);
        }
    }
    let started: Vec<_> = needed
        .iter()
        .map(|raised| (*raised, start(*raised, launcher)))
        .collect();
    let told: Vec<_> = started
        .into_iter()
        .map(|(raised, child)| (raised, child.and_then(finish)))
        .collect();
    claims.iter().map(|claim| weigh(claim, &told)).collect()
}

type Told = Result<Vec<(String, String)>, String>;

fn weigh(claim: &Claim, told: &[(Raised, Told)]) -> Result<Layer, NotProven> {
    let not_proven = |said: String| NotProven {
        layer: claim.layer,
        said,
        remedy: claim.remedy,
    };
    let outcome = |raised: Raised, canary: Canary| {
        let of = told.iter().find(|(r, _)| *r == raised).map(|(_, t)| t);
        match of {
            Some(Ok(all)) => all
                .iter()
                .find(|(tried, _)| tried == canary.tried())
                .map(|(_, said)| said.clone())
                .ok_or_else(|| format!("nobody tried to {}", canary.tried())),
            Some(Err(why)) => Err(why.clone()),
            None => Err("no child was started".to_owned()),
        }
    };
    let mut trials = Vec::new();
    for canary in claim.canaries {
        let trial = Trial {
            tried: canary.tried(),
            without: outcome(Raised::Nothing, *canary).map_err(not_proven)?,
            with: outcome(claim.raised, *canary).map_err(not_proven)?,
        };
        if !trial.proves() {
            let Trial {
                tried,
                without,
                with,
            } = trial;
            return Err(not_proven(format!(
                "tried to {tried}: without it {without:?}, with it {with:?}"
            )));
        }
        trials.push(trial);
    }
    Ok(Layer {
        name: claim.layer,
        trials,
    })
}

fn start(layers: Raised, launcher: &Launcher) -> Result<Child, String> {
    let said = |error: std::io::Error| format!("starting a child: {error}");
    let mut command = launcher.command();
    if layers == Raised::Nothing {
        // The other side of the environment canary.
        command.env("CLAWDBOT_CANARY", "1");
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(said)?;
    let parent = std::process::id().cast_signed();
    let header = serde_json::to_vec(&Header::Canaries { layers, parent });
    let mut frames = Vec::new();
    wire::put(&mut frames, &header.map_err(|error| error.to_string())?).map_err(said)?;
    if let Some(stdin) = child.stdin.as_mut() {
        stdin.write_all(&frames).map_err(said)?;
    }
    Ok(child)
}

fn finish(mut child: Child) -> Told {
    // Whatever it is that we started, it must not wait for more.
    drop(child.stdin.take());
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let read = stderr.take(64 << 10).read_to_end(&mut said);
        read.map_err(|error| error.to_string())?;
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match Report::last_in(&said) {
        Some(Report::Canaries(all)) => Ok(all),
        Some(Report::NotConfined { step, why }) => Err(format!("{step}: {why}")),
        Some(
            Report::NotStarted { .. }
            | Report::Done { .. }
            | Report::Exited { .. }
            | Report::Signalled { .. }
            | Report::TimedOut,
        )
        | None => Err(format!("the child ended without an answer ({status})")),
    }
}
