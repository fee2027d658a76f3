//! The forbidden things, tried for real: what a layer must take away and what must be there without it.

use crate::child::{self, Fell, Step as _};
use crate::confinement::Network;
use crate::report::Report;
use crate::seccomp::{self, Held};
use crate::zygote::Standing;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SendFlags, SocketAddrAny, SocketType};
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
    /// A root with nothing in it.
    Mount,
    /// Process numbers of its own.
    Pid,
    /// A network with nobody in it.
    Net,
    /// System V memory, semaphores and queues of its own.
    Ipc,
    /// A host name of its own.
    Uts,
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
    /// See a path of the machine.
    Path,
    /// Send to a port on loopback.
    Loopback,
    /// Look at shared memory of somebody outside.
    SharedMemory,
    /// Learn the machine's name.
    HostName,
}

impl Canary {
    /// Every canary.
    pub(crate) const ALL: [Self; 13] = [
        Self::Environment,
        Self::NewPrivileges,
        Self::Files,
        Self::Tcp,
        Self::Signal,
        Self::AbstractSocket,
        Self::Program,
        Self::Socket,
        Self::Inspect,
        Self::Path,
        Self::Loopback,
        Self::SharedMemory,
        Self::HostName,
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
            Self::Path => "see a path of the machine",
            Self::Loopback => "send to a port on loopback",
            Self::SharedMemory => "look at shared memory outside",
            Self::HostName => "learn the machine's name",
        }
    }
}

/// What a canary that got through is reported as.
pub(crate) const REACHED: &str = "reached";

/// What is said of the one layer that whoever started the gateway may have raised for good: a container
/// engine or a service manager that sets `no_new_privs`, which no process can take back (`prctl(2)`).
pub(crate) const INHERITED: &str = "no_new_privs is set";

/// In the child: raises the layer, tries everything, reports.
pub(crate) fn try_all(layer: Raised, standing: &Standing<'_>) -> Result<(), Fell> {
    let parent = standing.parent;
    // Outside the layer on purpose: what must be out of reach afterwards.
    let targets = Targets::make(parent).step("making canary targets")?;
    match layer {
        Raised::Nothing => {}
        Raised::Privileges => {
            child::forget_environment();
            child::give_up()?;
        }
        Raised::Landlock => child::no_file_at_all()?,
        Raised::SeccompBuiltin => filter(Held::Builtin)?,
        Raised::SeccompCommand => filter(Held::Command(Network::Denied))?,
        Raised::Mount | Raised::Pid | Raised::Net | Raised::Ipc | Raised::Uts => {
            let place = standing.place.as_ref().ok_or("there are none here");
            place.step("namespaces")?.raise(layer)?;
        }
    }
    let said = Canary::ALL.map(|canary| {
        let outcome = match attempt(canary, parent, &targets) {
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
    seccomp::load(seccomp::program(held)).step("seccomp")
}

fn attempt(canary: Canary, parent: i32, targets: &Targets) -> io::Result<()> {
    match canary {
        Canary::Environment => match std::env::vars_os().next() {
            Some(_) => Ok(()),
            None => Err(io::Error::other("the environment is empty")),
        },
        Canary::NewPrivileges => {
            if rustix::thread::no_new_privs()? {
                Err(io::Error::other(INHERITED))
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
            Ok(rustix::net::connect(&socket, &targets.address)?)
        }
        Canary::Program => made(child::start_nothing(), libc::ENOENT),
        Canary::Socket => {
            rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
            Ok(())
        }
        Canary::Inspect => made(child::inspect_nobody(), libc::ESRCH),
        Canary::Path => {
            rustix::fs::stat("/proc/version")?;
            Ok(())
        }
        Canary::Loopback => {
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
            rustix::net::sendto(&socket, b"?", SendFlags::empty(), &targets.loopback)?;
            Ok(())
        }
        Canary::SharedMemory => targets.memory.look(),
        Canary::HostName => {
            if child::host_name()? == targets.host {
                Ok(())
            } else {
                Err(io::Error::other("another name"))
            }
        }
    }
}

/// The call was made, and failed only because it was pointless on purpose.
fn made(outcome: io::Result<()>, pointless: i32) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(pointless) => Ok(()),
        other => other,
    }
}

/// What the canaries try to reach.
struct Targets {
    address: rustix::net::SocketAddrUnix,
    loopback: SocketAddrAny,
    memory: child::SharedMemory,
    host: String,
    /// Kept open: closed, they would refuse for the wrong reason.
    _open: [OwnedFd; 2],
}

impl Targets {
    fn make(parent: i32) -> io::Result<Self> {
        let name = format!("clawdbot-canary-{parent}-{}", std::process::id());
        let address = rustix::net::SocketAddrUnix::new_abstract_name(name.as_bytes())?;
        let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        rustix::net::bind(&listener, &address)?;
        rustix::net::listen(&listener, 1)?;
        let port = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        let any = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0);
        rustix::net::bind(&port, &any)?;
        Ok(Self {
            address,
            loopback: rustix::net::getsockname(&port)?,
            memory: child::SharedMemory::make()?,
            host: child::host_name()?,
            _open: [listener, port],
        })
    }
}
