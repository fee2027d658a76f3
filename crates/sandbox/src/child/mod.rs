//! The child's side: raise the walls, then read the job and do it.
//!
//! The order is argued, because each step needs what a later one takes away:
//!
//! 1. enter the namespaces that the zygote prepared (needs capabilities in them);
//! 2. close every descriptor but the three pipes, the line to the broker and the rules for step 5, before anything else
//!    can use one;
//! 3. own session, limits, not dumpable: a child that fails below is already small;
//! 4. give up groups and capabilities (needs capabilities), then `no_new_privs`;
//! 5. Landlock (opens the granted paths, so it comes before seccomp forbids that call);
//! 6. see that this is the first process of a namespace, or, without one, that a signal to the parent was
//!    possible before and is not now: `kill(-1)` ends a command's tree, and unscoped it would end everything
//!    of this user;
//! 7. seccomp: for a built-in tool here, for a command in the forked process, just before it starts;
//! 8. only now read the job: the first byte that somebody outside may have chosen.

pub(crate) mod landlocked;
pub(crate) mod lifeline;
mod limits;
mod payload;
mod privileges;
pub(crate) mod process;
mod targets;
mod warden;

use crate::canary;
use crate::confinement::{Confinement, Part, Profile, Walls};
use crate::report::Report;
use crate::seccomp::{self, Held};
use crate::wire::{self, Header};
use crate::zygote::Standing;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

pub(crate) use landlocked::no_file_at_all;
pub(crate) use limits::look_at_threads;
pub(crate) use privileges::{empty_bounding_set, give_up, leave_groups};
pub(crate) use process::{inspect_nobody, start_nothing};
pub(crate) use targets::{SharedMemory, forget_environment, host_name};

/// The first argument by which the binary knows that it was started as a child.
pub const ARGUMENT: &str = "__tool";

/// What a built-in tool is given.
#[derive(Debug)]
pub struct Job {
    /// The job as the parent wrote it. Its contents may come from anyone.
    pub bytes: Vec<u8>,
    /// The workspace, opened. Everything is opened beneath it.
    pub workspace: OwnedFd,
    /// The way to the broker, for a tool that reaches the network.
    pub line: Option<std::fs::File>,
}

/// What a built-in tool answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What goes back.
    pub output: String,
    /// True when the tool failed.
    pub is_error: bool,
}

/// A wall that could not be raised.
#[derive(Debug)]
pub(crate) struct Fell {
    pub(crate) step: &'static str,
    pub(crate) why: String,
}

impl std::fmt::Display for Fell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.step, self.why)
    }
}

/// Names the step in an error.
pub(crate) trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, Fell>;
}

impl<T, E: Display> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, Fell> {
        self.map_err(|why| Fell {
            step,
            why: why.to_string(),
        })
    }
}

/// The whole life of a zygote, from which children are forked. Call it first in `main` when the first
/// argument is [`ARGUMENT`], before any thread exists. `builtin` runs confined.
pub fn main(builtin: fn(Job) -> Answer) -> ExitCode {
    crate::zygote::main(builtin)
}

/// The whole life of a child, from the fork on.
pub(crate) fn life(
    builtin: fn(Job) -> Answer,
    header: &Header,
    standing: &Standing<'_>,
) -> Result<(), Fell> {
    match header {
        Header::Canaries { layers } => canary::try_all(*layers, standing),
        Header::Run { confinement } => {
            if let Some(place) = standing.place {
                place.enter()?;
            }
            let line = take_line(standing)?;
            forget_environment();
            process::alone().step("starting a session of its own")?;
            limits::set(confinement).step("setting limits")?;
            let mut stdin = io::stdin().lock();
            match confinement.profile {
                Profile::Builtin => run_builtin(confinement, standing, &mut stdin, line, builtin),
                Profile::Command => run_command(confinement, standing, &mut stdin),
            }
        }
    }
}

/// Closes everything but the three pipes, the line and the Landlock rules, which are closed once they are entered.
fn take_line(standing: &Standing<'_>) -> Result<Option<OwnedFd>, Fell> {
    let rules = standing.rules.map(|rules| rules.as_fd());
    process::close_all_but([standing.line, rules]).step("closing inherited descriptors")?;
    Ok(standing.line.map(process::own))
}

fn run_builtin(
    confinement: &Confinement,
    standing: &Standing<'_>,
    stdin: &mut io::StdinLock<'_>,
    line: Option<OwnedFd>,
    builtin: fn(Job) -> Answer,
) -> Result<(), Fell> {
    lifeline::prepare().step("tying its life to the parent's")?;
    raise(confinement, standing)?;
    let workspace = open_workspace(confinement)?;
    if confinement.raises(Part::Seccomp) {
        seccomp::load(seccomp::program(Held::Builtin)).step("seccomp")?;
    }
    let bytes = wire::take(stdin, wire::MOST_JOB).step("reading the job")?;
    lifeline::tie().step("tying its life to the parent's")?;
    let answer = builtin(Job {
        bytes,
        workspace,
        line: line.map(std::fs::File::from),
    });
    let mut out = io::stdout().lock();
    out.write_all(answer.output.as_bytes())
        .and_then(|()| out.flush())
        .step("writing the output")?;
    let is_error = answer.is_error;
    Report::Done { is_error }.say();
    Ok(())
}

fn run_command(
    confinement: &Confinement,
    standing: &Standing<'_>,
    stdin: &mut io::StdinLock<'_>,
) -> Result<(), Fell> {
    warden::take_in_orphans().step("becoming the reaper of the call")?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .step("opening /dev/null")?;
    raise(confinement, standing)?;
    let workspace = open_workspace(confinement)?;
    let job = wire::take(stdin, wire::MOST_JOB).step("reading the job")?;
    let job = serde_json::from_slice(&job).step("reading the job")?;
    // Whether `kill(-1)` from here reaches this call and nobody else.
    let scoped = confinement.walls == Walls::All
        && (standing.place.is_some() || confinement.raises(Part::Landlock));
    warden::run(confinement, &job, &workspace, &nothing, scoped)
}

/// Steps 4 to 6.
fn raise(confinement: &Confinement, standing: &Standing<'_>) -> Result<(), Fell> {
    give_up()?;
    match (confinement.walls, standing.place) {
        (Walls::DangerousNone, _) => Ok(()),
        // The first process of a namespace: `kill(-1)` reaches nobody outside of it.
        (Walls::All, Some(_)) => {
            process::is_first().step("the process namespace")?;
            if confinement.raises(Part::Landlock) {
                landlocked::enter(standing.rules)?;
            }
            Ok(())
        }
        (Walls::All, None) if !confinement.raises(Part::Landlock) => Ok(()),
        (Walls::All, None) => {
            process::is_parent(standing.parent).step("looking for the parent")?;
            process::can_signal(standing.parent)
                .step("reaching the parent before the signal scope")?;
            landlocked::enter(standing.rules)?;
            process::cannot_signal(standing.parent).step("the signal scope")
        }
    }
}

fn open_workspace(confinement: &Confinement) -> Result<OwnedFd, Fell> {
    // Not O_PATH: an atomic write syncs the folder, and listing reads it.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&confinement.workspace, flags, Mode::empty()).step("opening the workspace")
}
