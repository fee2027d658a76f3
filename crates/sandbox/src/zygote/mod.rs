//! The zygote: a small process with one thread, started from this binary with an empty environment, from
//! which every call is forked.
//!
//! It holds nothing: no settings, no secrets, no log. So a forked child has nothing of the gateway's
//! in its memory, and a fork costs the same however large the gateway has grown. Where the kernel lets it, it
//! enters a user namespace once and keeps what calls share: a minimal root for each set of granted paths,
//! and one network namespace with nobody in it. Each call then gets a root, that network, and process,
//! IPC, host-name and cgroup namespaces of its own (tier T1). Where the kernel does not (a container with
//! the default profile), calls are confined by the layers that need no namespace (tier T3).
//!
//! The tier is found by trying all of it in a fork that becomes the zygote when it succeeded.

mod call;
mod kept;
mod mount;
mod namespaces;
mod root;

use crate::child::{self, Answer, Fell, Job, Step as _, landlocked, lifeline, process};
use crate::report::Report;
use crate::seccomp;
use crate::wire::Header;
use call::Call;
use kept::{Kept, Made};
use namespaces::Namespaces;
use rustix::fd::{BorrowedFd, OwnedFd};
use serde::{Deserialize, Serialize};
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

pub(crate) use namespaces::Place;

/// Second argument: try no namespaces.
pub(crate) const PLAIN: &str = "plain";

/// What the zygote says once, when it is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Hello {
    /// With namespaces, in a process of its own: the one that was started ends.
    Namespaces,
    /// Without, and why.
    Bare {
        /// What the kernel said.
        why: String,
    },
    /// Not at all, and why.
    Not {
        /// What the kernel said.
        why: String,
    },
}

/// The whole life of a zygote.
pub(crate) fn main(builtin: fn(Job) -> Answer) -> ExitCode {
    let tries = std::env::args_os().nth(2).as_deref() != Some(PLAIN.as_ref());
    match life(builtin, tries) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fell) => {
            let why = fell.to_string();
            let _ = call::say(&Hello::Not { why });
            ExitCode::from(70)
        }
    }
}

fn life(builtin: fn(Job) -> Answer, tries: bool) -> Result<(), Fell> {
    process::close_from(3).step("closing inherited descriptors")?;
    lifeline::default_signals().step("signals")?;
    // Children are reaped by the kernel; whoever waits for one holds its pidfd.
    lifeline::ignore_children().step("ignoring children")?;
    child::leave_groups()?;
    // Where the machine's memory is at an end, a tool goes before the gateway does. No wall: where there is no /proc to
    // ask this of, the limits of the call still hold.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let why = if tries {
        match in_namespaces(builtin) {
            Tried::Served => return Ok(()),
            Tried::Cannot(why) => why,
        }
    } else {
        "not asked for".to_owned()
    };
    call::say(&Hello::Bare { why }).step("saying hello")?;
    serve(builtin, Ground::Bare(Kept::default()))
}

enum Tried {
    /// Another process is the zygote; this one has nothing left to do.
    Served,
    Cannot(String),
}

fn in_namespaces(builtin: fn(Job) -> Answer) -> Tried {
    let (mut told, mut tells) = match io::pipe() {
        Ok(pipe) => pipe,
        Err(error) => return Tried::Cannot(error.to_string()),
    };
    match process::fork() {
        Err(error) => Tried::Cannot(format!("fork: {error}")),
        Ok(None) => {
            drop(told);
            let outcome = Namespaces::enter();
            let said: &[u8] = match &outcome {
                Ok(_) => b"+",
                Err(fell) => &format!("{fell}").into_bytes(),
            };
            let heard = tells.write_all(said);
            drop(tells);
            if let (Ok(namespaces), Ok(())) = (outcome, heard)
                && call::say(&Hello::Namespaces).is_ok()
            {
                let _ = serve(builtin, Ground::Namespaces(namespaces));
            }
            process::exit_now(0)
        }
        Ok(Some(_)) => {
            drop(tells);
            let mut text = String::new();
            match told.read_to_string(&mut text) {
                Ok(_) if text == "+" => Tried::Served,
                Ok(_) if text.is_empty() => Tried::Cannot("the trial was killed".to_owned()),
                Ok(_) => Tried::Cannot(text),
                Err(error) => Tried::Cannot(error.to_string()),
            }
        }
    }
}

/// What calls are forked with.
enum Ground {
    Namespaces(Namespaces),
    /// Without namespaces: the Landlock rules alone are kept.
    Bare(Kept),
}

/// Forks one child a request, until the gateway's end of the socket closes.
fn serve(builtin: fn(Job) -> Answer, mut ground: Ground) -> Result<(), Fell> {
    child::empty_bounding_set().step("emptying the capability bounding set")?;
    process::not_dumpable().step("hiding its memory")?;
    seccomp::prepare();
    let mut looked = None;
    while let Some(call) = Call::next().step("taking a request")? {
        if matches!(ground, Ground::Bare(_)) {
            child::look_at_threads(&mut looked);
        }
        // What is wrong with one call is that call's affair.
        if let Err(Fell { step, why }) = start(builtin, &mut ground, &call) {
            let step = step.to_owned();
            call.tell(&Report::NotConfined { step, why });
        }
    }
    Ok(())
}

fn start(builtin: fn(Job) -> Answer, ground: &mut Ground, call: &Call) -> Result<(), Fell> {
    let header = call.header().step("reading the header")?;
    let (place, rules) = match (ground, header.walled()) {
        (Ground::Namespaces(namespaces), _) => (Some(namespaces.prepare(&header)?), None),
        (Ground::Bare(kept), Some(confinement)) => {
            let made = kept.of(Some(confinement), |_| {
                Ok(Made {
                    root: None,
                    rules: Some(landlocked::rules(confinement)?),
                })
            })?;
            (None, made.rules.as_ref())
        }
        (Ground::Bare(_), None) => (None, None),
    };
    let flags = place.as_ref().map_or(0, Place::flags);
    let standing = Standing {
        parent: std::process::id().cast_signed(),
        rules: rules.or_else(|| place.as_ref().and_then(Place::rules)),
        place: place.as_ref(),
        line: call.line(),
    };
    match process::fork_with(flags).step("fork")? {
        Some(_) => Ok(()),
        None => process::exit_now(life_of_child(builtin, &standing, call, &header)),
    }
}

/// In the forked child: takes the three pipes for its own, and goes on as a child.
fn life_of_child(
    builtin: fn(Job) -> Answer,
    standing: &Standing<'_>,
    call: &Call,
    header: &Header,
) -> i32 {
    let lived = call
        .tell_started()
        .step("saying that it started")
        .and_then(|()| call.plug().step("taking the pipes"))
        .and_then(|()| child::life(builtin, header, standing));
    match lived {
        Ok(()) => 0,
        Err(Fell { step, why }) => {
            let step = step.to_owned();
            Report::NotConfined { step, why }.say();
            70
        }
    }
}

/// What a forked child knows of where it stands.
pub(crate) struct Standing<'a> {
    /// The zygote's process id.
    pub(crate) parent: i32,
    /// What is prepared for it to enter; none without namespaces.
    pub(crate) place: Option<&'a Place<'a>>,
    /// The Landlock rules for what it is granted; none for a canary, or where no walls are raised.
    pub(crate) rules: Option<&'a OwnedFd>,
    /// The line to the broker.
    pub(crate) line: Option<BorrowedFd<'a>>,
}
