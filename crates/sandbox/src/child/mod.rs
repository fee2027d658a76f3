//! The child's side: raise the walls, then read the job and do it.
//!
//! The order is argued, because each step needs what a later one takes away:
//!
//! 1. close every descriptor but the three pipes, before anything else can use one;
//! 2. read the header: it comes from the parent and is all that is read unconfined;
//! 3. own session, limits, not dumpable: a child that fails below is already small;
//! 4. give up groups and capabilities (needs capabilities), then `no_new_privs`;
//! 5. Landlock (opens the granted paths, so it comes before seccomp forbids that call);
//! 6. see that a signal to the parent was possible before and is not now: `kill(-1)` ends a command's
//!    tree, and outside the scope it would end everything of this user;
//! 7. seccomp: for a built-in tool here, for a command in the forked process, just before it starts;
//! 8. only now read the job: the first byte that somebody outside may have chosen.

mod landlocked;
mod lifeline;
mod limits;
mod payload;
mod privileges;
mod process;
mod warden;

use crate::canary;
use crate::confinement::{Confinement, Profile, Walls};
use crate::report::Report;
use crate::seccomp::{self, Held};
use crate::wire::{self, Header};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

pub(crate) use landlocked::no_file_at_all;
pub(crate) use privileges::give_up;
pub(crate) use process::{inspect_nobody, start_nothing};

/// The first argument by which the binary knows that it was started as a child.
pub const ARGUMENT: &str = "__tool";

/// What a built-in tool is given.
#[derive(Debug)]
pub struct Job {
    /// The job as the parent wrote it. Its contents may come from anyone.
    pub bytes: Vec<u8>,
    /// The workspace, opened. Everything is opened beneath it.
    pub workspace: OwnedFd,
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
    step: &'static str,
    why: String,
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

/// The whole life of a child. Call it first in `main` when the first argument is [`ARGUMENT`], before
/// any thread exists. `builtin` runs confined.
pub fn main(builtin: impl FnOnce(&Job) -> Answer) -> ExitCode {
    match life(builtin) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fell { step, why }) => {
            let step = step.to_owned();
            Report::NotConfined { step, why }.say();
            ExitCode::from(70)
        }
    }
}

fn life(builtin: impl FnOnce(&Job) -> Answer) -> Result<(), Fell> {
    process::close_all_but_the_pipes().step("closing inherited descriptors")?;
    let mut stdin = io::stdin().lock();
    let header = wire::take(&mut stdin, wire::MOST_HEADER).step("reading the header")?;
    match serde_json::from_slice(&header).step("reading the header")? {
        Header::Canaries { layers, parent } => canary::try_all(layers, parent),
        Header::Run {
            confinement,
            parent,
        } => {
            process::is_parent(parent).step("looking for the parent")?;
            process::alone().step("starting a session of its own")?;
            limits::set(&confinement).step("setting limits")?;
            match confinement.profile {
                Profile::Builtin => run_builtin(&confinement, parent, &mut stdin, builtin),
                Profile::Command => run_command(&confinement, parent, &mut stdin),
            }
        }
    }
}

fn run_builtin(
    confinement: &Confinement,
    parent: i32,
    stdin: &mut io::StdinLock<'_>,
    builtin: impl FnOnce(&Job) -> Answer,
) -> Result<(), Fell> {
    lifeline::prepare().step("tying its life to the parent's")?;
    raise(confinement, parent)?;
    let workspace = open_workspace(confinement)?;
    if confinement.walls == Walls::All {
        seccomp::load(&seccomp::program(Held::Builtin)).step("seccomp")?;
    }
    let bytes = wire::take(stdin, wire::MOST_JOB).step("reading the job")?;
    lifeline::tie().step("tying its life to the parent's")?;
    let answer = builtin(&Job { bytes, workspace });
    io::stdout()
        .lock()
        .write_all(answer.output.as_bytes())
        .step("writing the output")?;
    let is_error = answer.is_error;
    Report::Done { is_error }.say();
    Ok(())
}

fn run_command(
    confinement: &Confinement,
    parent: i32,
    stdin: &mut io::StdinLock<'_>,
) -> Result<(), Fell> {
    warden::take_in_orphans().step("becoming the reaper of the call")?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .step("opening /dev/null")?;
    raise(confinement, parent)?;
    let workspace = open_workspace(confinement)?;
    let job = wire::take(stdin, wire::MOST_JOB).step("reading the job")?;
    let job = serde_json::from_slice(&job).step("reading the job")?;
    warden::run(confinement, &job, &workspace, &nothing)
}

/// Steps 4 to 6.
fn raise(confinement: &Confinement, parent: i32) -> Result<(), Fell> {
    give_up()?;
    match confinement.walls {
        Walls::DangerousNone => Ok(()),
        Walls::All => {
            process::can_signal(parent).step("reaching the parent before the signal scope")?;
            landlocked::enter(confinement)?;
            process::cannot_signal(parent).step("the signal scope")
        }
    }
}

fn open_workspace(confinement: &Confinement) -> Result<OwnedFd, Fell> {
    // Not O_PATH: an atomic write syncs the folder, and listing reads it.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&confinement.workspace, flags, Mode::empty()).step("opening the workspace")
}
