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
mod mount;
mod namespaces;
mod root;

use crate::child::{self, Answer, Fell, Job, Step as _, lifeline, process};
use crate::report::Report;
use crate::seccomp;
use crate::wire::Header;
use call::Call;
use namespaces::Namespaces;
use rustix::fd::BorrowedFd;
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
}

/// The whole life of a zygote.
pub(crate) fn main(builtin: fn(Job) -> Answer) -> ExitCode {
    let tries = std::env::args_os().nth(2).as_deref() != Some(PLAIN.as_ref());
    match life(builtin, tries) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(70),
    }
}

fn life(builtin: fn(Job) -> Answer, tries: bool) -> Result<(), Fell> {
    process::close_from(3).step("closing inherited descriptors")?;
    // Children are reaped by the kernel; whoever waits for one holds its pidfd.
    lifeline::ignore_children().step("ignoring children")?;
    child::leave_groups()?;
    let why = if tries {
        match in_namespaces(builtin) {
            Tried::Served => return Ok(()),
            Tried::Cannot(why) => why,
        }
    } else {
        "not asked for".to_owned()
    };
    call::say(&Hello::Bare { why }).step("saying hello")?;
    serve(builtin, None)
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
                let _ = serve(builtin, Some(namespaces));
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

/// Forks one child a request, until the gateway's end of the socket closes.
fn serve(builtin: fn(Job) -> Answer, mut namespaces: Option<Namespaces>) -> Result<(), Fell> {
    child::empty_bounding_set().step("emptying the capability bounding set")?;
    process::not_dumpable().step("hiding its memory")?;
    seccomp::prepare();
    let mut looked = None;
    while let Some(call) = Call::next().step("taking a request")? {
        if namespaces.is_none() {
            child::look_at_threads(&mut looked);
        }
        // What is wrong with one call is that call's affair.
        if let Err(Fell { step, why }) = start(builtin, namespaces.as_mut(), &call) {
            let step = step.to_owned();
            call.tell(&Report::NotConfined { step, why });
        }
    }
    Ok(())
}

fn start(
    builtin: fn(Job) -> Answer,
    namespaces: Option<&mut Namespaces>,
    call: &Call,
) -> Result<(), Fell> {
    let header = call.header().step("reading the header")?;
    let place = match namespaces {
        Some(namespaces) => Some(namespaces.prepare(&header)?),
        None => None,
    };
    let flags = place.as_ref().map_or(0, Place::flags);
    let parent = std::process::id().cast_signed();
    match process::fork_with(flags).step("fork")? {
        Some(_) => Ok(()),
        None => process::exit_now(life_of_child(builtin, place, call, &header, parent)),
    }
}

/// In the forked child: takes the three pipes for its own, and goes on as a child.
fn life_of_child(
    builtin: fn(Job) -> Answer,
    place: Option<Place<'_>>,
    call: &Call,
    header: &Header,
    parent: i32,
) -> i32 {
    let standing = Standing {
        parent,
        place,
        line: call.line(),
    };
    let lived = call
        .tell_started()
        .step("saying that it started")
        .and_then(|()| call.plug().step("taking the pipes"))
        .and_then(|()| child::life(builtin, header, &standing));
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
    pub(crate) place: Option<Place<'a>>,
    /// The line to the broker.
    pub(crate) line: Option<BorrowedFd<'a>>,
}
