//! The forbidden things, tried for real: what a layer must take away and what must be there without it.

use crate::child::{self, Fell, Step as _};
use crate::confinement::Network;
use crate::report::Report;
use crate::seccomp::{self, Held};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketType};
use serde::{Deserialize, Serialize};
use std::io;

/// The one layer that is raised in a throw-away child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Raised {
    /// None: here every canary must reach, or it proves nothing.
    Nothing,
    /// Capabilities given up, `no_new_privs`.
    Privileges,
    /// Landlock alone.
    Landlock,
    /// The filter of a built-in tool alone.
    SeccompBuiltin,
    /// The filter of a command alone.
    SeccompCommand,
}

/// One forbidden thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Canary {
    /// See the environment of whoever started us.
    Environment,
    /// Win privileges by starting a setuid program.
    NewPrivileges,
    /// List the root folder.
    Files,
    /// Take a TCP port.
    Tcp,
    /// Signal the gateway.
    Signal,
    /// Connect to an abstract socket of somebody outside.
    AbstractSocket,
    /// Start a program.
    Program,
    /// Make a datagram socket.
    Socket,
    /// Look into another process.
    Inspect,
}

impl Canary {
    /// Every canary.
    pub(crate) const ALL: [Self; 9] = [
        Self::Environment,
        Self::NewPrivileges,
        Self::Files,
        Self::Tcp,
        Self::Signal,
        Self::AbstractSocket,
        Self::Program,
        Self::Socket,
        Self::Inspect,
    ];

    /// What is tried, for people.
    pub(crate) const fn tried(self) -> &'static str {
        match self {
            Self::Environment => "see a variable of the gateway's environment",
            Self::NewPrivileges => "keep the way to new privileges open",
            Self::Files => "list /",
            Self::Tcp => "take a TCP port",
            Self::Signal => "signal the gateway",
            Self::AbstractSocket => "connect to an abstract socket outside",
            Self::Program => "start a program",
            Self::Socket => "make a UDP socket",
            Self::Inspect => "trace another process",
        }
    }
}

/// What a canary that got through is reported as.
pub(crate) const REACHED: &str = "reached";

/// In the child: raises the layer, tries everything, reports.
pub(crate) fn try_all(layer: Raised, parent: i32) -> Result<(), Fell> {
    // Outside the layer on purpose: this is the socket that must be out of reach afterwards.
    let listener = abstract_listener(parent).step("making a canary socket")?;
    match layer {
        Raised::Nothing => {}
        Raised::Privileges => child::give_up()?,
        Raised::Landlock => child::no_file_at_all()?,
        Raised::SeccompBuiltin => filter(Held::Builtin)?,
        Raised::SeccompCommand => filter(Held::Command(Network::Denied))?,
    }
    let said = Canary::ALL.map(|canary| {
        let outcome = match attempt(canary, parent, &listener) {
            Ok(()) => REACHED.to_owned(),
            Err(error) => error.to_string(),
        };
        (canary.tried().to_owned(), outcome)
    });
    Report::Canaries(said.to_vec()).say();
    Ok(())
}

fn filter(held: Held) -> Result<(), Fell> {
    rustix::thread::set_no_new_privs(true).step("no_new_privs")?;
    seccomp::load(&seccomp::program(held)).step("seccomp")
}

fn attempt(canary: Canary, parent: i32, listener: &Listener) -> io::Result<()> {
    match canary {
        Canary::Environment => match std::env::vars_os().next() {
            Some(_) => Ok(()),
            None => Err(io::Error::other("the environment is empty")),
        },
        Canary::NewPrivileges => {
            if rustix::thread::no_new_privs()? {
                Err(io::Error::other("no_new_privs is set"))
            } else {
                Ok(())
            }
        }
        Canary::Files => {
            rustix::fs::open("/", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            Ok(())
        }
        Canary::Tcp => {
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
            let any = std::net::SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0);
            Ok(rustix::net::bind(&socket, &any)?)
        }
        Canary::Signal => {
            let parent = rustix::process::Pid::from_raw(parent);
            let parent = parent.ok_or_else(|| io::Error::other("0 is no process"))?;
            Ok(rustix::process::test_kill_process(parent)?)
        }
        Canary::AbstractSocket => {
            let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
            Ok(rustix::net::connect(&socket, &listener.address)?)
        }
        Canary::Program => made(child::start_nothing(), libc::ENOENT),
        Canary::Socket => {
            rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
            Ok(())
        }
        Canary::Inspect => made(child::inspect_nobody(), libc::ESRCH),
    }
}

/// The call was made, and failed only because it was pointless on purpose.
fn made(outcome: io::Result<()>, pointless: i32) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(pointless) => Ok(()),
        other => other,
    }
}

struct Listener {
    address: rustix::net::SocketAddrUnix,
    /// Kept open: closed, it would refuse for the wrong reason.
    _socket: rustix::fd::OwnedFd,
}

fn abstract_listener(parent: i32) -> io::Result<Listener> {
    let name = format!("clawdbot-canary-{parent}-{}", std::process::id());
    let address = rustix::net::SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 1)?;
    Ok(Listener {
        address,
        _socket: socket,
    })
}
