//! Proves at start that every layer holds here: each is tried from both sides.
//!
//! A canary that reaches without its layer and is stopped with it proves the layer. One that is stopped
//! on both sides proves nothing, and counts as not proven: something else stopped it, which may be gone
//! tomorrow.

use crate::canary::{Canary, INHERITED, REACHED, Raised};
use crate::nursery::{Asked, Tier, Zygote, take_pidfd};
use crate::report::Report;
use crate::wire::Header;
use clawdbot_domain::SandboxMode;
use serde::Serialize;
use std::io::{self, Read as _};
use std::time::Duration;

/// How long a canary may take. It needs a millisecond.
const PATIENCE: Duration = Duration::from_secs(20);

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
    /// True when it reached without the layer and was stopped with it; or when what stops it was set
    /// before the gateway began, by a container or a service manager, and cannot be taken back.
    pub fn proves(&self) -> bool {
        let tells = self.without == REACHED || self.without == INHERITED;
        tells && self.with != REACHED
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

impl NotProven {
    pub(crate) fn launch(error: impl std::fmt::Display) -> Self {
        Self {
            layer: "environment",
            said: format!("starting the process that starts tools: {error}"),
            remedy: LAUNCH,
        }
    }
}

/// A layer, how it is raised, what it must stop.
struct Claim {
    layer: &'static str,
    raised: Raised,
    canaries: &'static [Canary],
    /// The layer is one program, there whole or not at all: one canary that tells it apart proves it,
    /// as long as none gets through. A service manager's own filter may stop the others already.
    whole: bool,
    remedy: &'static str,
}

const KERNEL: &str = "Landlock ABI 6 is needed: Linux 6.12 or newer with `landlock` in its `lsm=` list \
     (in a container, of the host); or accept the risk with `clawdbot config set gateway.sandbox.enabled false`";
const FILTER: &str = "seccomp filters are needed: a kernel with CONFIG_SECCOMP_FILTER, and a container profile that \
     allows the seccomp call (Docker's default does)";
const PRIVILEGES: &str =
    "prctl and capset must be allowed: use the container engine's default profile";
const NAMESPACE: &str = "user namespaces must be allowed (sysctl kernel.apparmor_restrict_unprivileged_userns, \
     user.max_user_namespaces), and the layer must be told apart from what blocks it already";
const LAUNCH: &str = "this is a bug of ours; please report it";

const CLAIMS: &[Claim] = &[
    Claim {
        layer: "environment",
        raised: Raised::Privileges,
        canaries: &[Canary::Environment],
        whole: false,
        remedy: LAUNCH,
    },
    Claim {
        layer: "no-new-privileges",
        raised: Raised::Privileges,
        canaries: &[Canary::NewPrivileges],
        whole: false,
        remedy: PRIVILEGES,
    },
    Claim {
        layer: "landlock-files",
        raised: Raised::Landlock,
        canaries: &[Canary::Files],
        whole: false,
        remedy: KERNEL,
    },
    Claim {
        layer: "landlock-tcp",
        raised: Raised::Landlock,
        canaries: &[Canary::Tcp],
        whole: false,
        remedy: KERNEL,
    },
    Claim {
        layer: "landlock-scopes",
        raised: Raised::Landlock,
        canaries: &[Canary::Signal, Canary::AbstractSocket],
        whole: false,
        remedy: KERNEL,
    },
    Claim {
        layer: "seccomp-builtin",
        raised: Raised::SeccompBuiltin,
        canaries: &[Canary::Program, Canary::Socket, Canary::Inspect],
        whole: true,
        remedy: FILTER,
    },
];

/// Needed by the modes that run commands.
const COMMAND_CLAIM: Claim = Claim {
    layer: "seccomp-command",
    raised: Raised::SeccompCommand,
    canaries: &[Canary::Socket, Canary::Inspect],
    whole: true,
    remedy: FILTER,
};

/// Held where the kernel allows namespaces.
const NAMESPACES: &[Claim] = &[
    Claim {
        layer: "mount-namespace",
        raised: Raised::Mount,
        canaries: &[Canary::Path],
        whole: false,
        remedy: NAMESPACE,
    },
    Claim {
        layer: "pid-namespace",
        raised: Raised::Pid,
        canaries: &[Canary::Signal],
        whole: false,
        remedy: NAMESPACE,
    },
    Claim {
        layer: "net-namespace",
        raised: Raised::Net,
        canaries: &[Canary::Loopback],
        whole: false,
        remedy: NAMESPACE,
    },
    Claim {
        layer: "ipc-namespace",
        raised: Raised::Ipc,
        canaries: &[Canary::SharedMemory],
        whole: false,
        remedy: NAMESPACE,
    },
    Claim {
        layer: "uts-namespace",
        raised: Raised::Uts,
        canaries: &[Canary::HostName],
        whole: false,
        remedy: NAMESPACE,
    },
];

/// What was seen to hold, and what is missing for more.
pub(crate) struct Proof {
    pub(crate) layers: Vec<Layer>,
    pub(crate) tier: Tier,
    /// Why the tier is not higher.
    pub(crate) missing: Vec<String>,
}

impl Proof {
    /// For a sandbox that is switched off.
    pub(crate) const NONE: Self = Self {
        layers: Vec::new(),
        tier: Tier::Bare,
        missing: Vec::new(),
    };
}

/// Proves all that the mode needs. The children run side by side.
pub(crate) fn prove(mode: SandboxMode, zygote: &Zygote) -> Result<Proof, NotProven> {
    let (tier, why) = zygote.tier().map_err(NotProven::launch)?;
    let command = match mode {
        SandboxMode::Strict => None,
        SandboxMode::Moderate | SandboxMode::Permissive => Some(&COMMAND_CLAIM),
    };
    let needed: Vec<&Claim> = CLAIMS.iter().chain(command).collect();
    let extra = match tier {
        Tier::Namespaces => NAMESPACES,
        Tier::Bare => &[],
    };
    let told = ask_all(needed.iter().copied().chain(extra), zygote);
    let layers: Result<Vec<_>, _> = needed.iter().map(|claim| weigh(claim, &told)).collect();
    let mut layers = layers?;
    let mut missing: Vec<String> = why.into_iter().collect();
    for claim in extra {
        match weigh(claim, &told) {
            Ok(layer) => layers.push(layer),
            Err(not) => missing.push(not.to_string()),
        }
    }
    Ok(Proof {
        layers,
        tier,
        missing,
    })
}

/// One child a layer, and one with none.
fn ask_all<'a>(claims: impl Iterator<Item = &'a Claim>, zygote: &Zygote) -> Vec<(Raised, Told)> {
    let mut wanted = vec![Raised::Nothing];
    for claim in claims {
        if !wanted.contains(&claim.raised) {
            wanted.push(claim.raised);
        }
    }
    let asked: Vec<_> = wanted
        .iter()
        .map(|layers| {
            (
                *layers,
                zygote.ask(&Header::Canaries { layers: *layers }, None, b""),
            )
        })
        .collect();
    let answers = asked.into_iter();
    answers
        .map(|(raised, asked)| (raised, asked.map_err(|e| e.to_string()).and_then(listen)))
        .collect()
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
        trials.push(trial);
    }
    let whole = claim.whole && trials.iter().any(Trial::proves);
    let fails = |trial: &&Trial| trial.with == REACHED || !(whole || trial.proves());
    if let Some(Trial {
        tried,
        without,
        with,
    }) = trials.iter().find(fails)
    {
        return Err(not_proven(format!(
            "tried to {tried}: without it {without:?}, with it {with:?}"
        )));
    }
    Ok(Layer {
        name: claim.layer,
        trials,
    })
}

/// What a canary child says.
fn listen(asked: Asked) -> Told {
    let said = |error: io::Error| error.to_string();
    let Asked {
        stdin,
        stdout: _stdout,
        control,
    } = asked;
    // Whatever it is that answers, it must not wait for more, nor we for ever.
    drop(stdin);
    control.set_read_timeout(Some(PATIENCE)).map_err(said)?;
    if let Err(Report::NotConfined { step, why }) = take_pidfd(&control).map_err(said)? {
        return Err(format!("{step}: {why}"));
    }
    let mut text = Vec::new();
    control
        .take(64 << 10)
        .read_to_end(&mut text)
        .map_err(said)?;
    match Report::last_in(&text) {
        Some(Report::Canaries(all)) => Ok(all),
        Some(Report::NotConfined { step, why }) => Err(format!("{step}: {why}")),
        Some(
            Report::NotStarted { .. }
            | Report::Done { .. }
            | Report::Exited { .. }
            | Report::Signalled { .. }
            | Report::TimedOut
            | Report::Outgrown(_),
        )
        | None => Err("the child ended without an answer".to_owned()),
    }
}

#[cfg(test)]
mod tests;
