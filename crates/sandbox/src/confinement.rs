//! What a child may do, as plain data: made by the parent, enforced by the child upon itself.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Which system calls a child needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Profile {
    /// A built-in tool: one process that works on files. No program is started, no socket made.
    Builtin,
    /// One program, and what it starts.
    Command,
}

/// Whether a child may speak to anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Network {
    /// Not a socket.
    Denied,
    /// As the gateway itself. Mode `permissive` only.
    Inherited,
}

/// What may be done beneath a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Rights {
    /// Read files, list folders.
    Read,
    /// Read and start.
    ReadExecute,
    /// Read, write, create, remove; never start, never make a device, a socket or a FIFO.
    ReadWrite,
    /// All of it. Mode `permissive` only.
    All,
}

/// A path and what may be done beneath it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) path: PathBuf,
    pub(crate) rights: Rights,
}

/// Which walls stand round a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Walls {
    /// Every layer; a child that cannot raise one ends without having read its job.
    All,
    /// `gateway.sandbox.enabled` is false: only what costs nothing (empty environment, own session,
    /// limits, no new privileges).
    DangerousNone,
}

/// A layer that is raised inside the child, and that an experiment may leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    not(feature = "holes"),
    expect(unreachable_pub, reason = "only an experiment names one outside")
)]
pub enum Part {
    /// Files, TCP, signals and abstract sockets.
    Landlock,
    /// System calls.
    Seccomp,
}

/// Everything about one child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    pub(crate) profile: Profile,
    pub(crate) network: Network,
    pub(crate) walls: Walls,
    pub(crate) grants: Vec<Grant>,
    /// Links beside what is granted, and where they lead: `/bin` is one on most systems.
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    pub(crate) workspace: PathBuf,
    pub(crate) limits: Limits,
    #[cfg(feature = "holes")]
    pub(crate) holes: Vec<Part>,
}

impl Confinement {
    /// Which system calls it has.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Whether it may speak to anyone.
    pub fn network(&self) -> Network {
        self.network
    }

    /// Its limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether this child raises that layer: all of them, but where the operator switched the sandbox off.
    #[cfg(not(feature = "holes"))]
    pub(crate) fn raises(&self, _part: Part) -> bool {
        self.walls == Walls::All
    }

    /// The same in a build for experiments.
    #[cfg(feature = "holes")]
    pub(crate) fn raises(&self, part: Part) -> bool {
        self.walls == Walls::All && !self.holes.contains(&part)
    }

    /// The same without these layers.
    #[cfg(feature = "holes")]
    #[must_use]
    pub fn without(mut self, parts: Vec<Part>) -> Self {
        self.holes = parts;
        self
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The paths it can reach and how, one line each.
    pub fn reach(&self) -> Vec<String> {
        let word = |rights| match rights {
            Rights::Read => "read",
            Rights::ReadExecute => "read and start",
            Rights::ReadWrite => "read and write",
            Rights::All => "everything",
        };
        self.grants
            .iter()
            .map(|grant| format!("{}: {}", grant.path.display(), word(grant.rights)))
            .collect()
    }
}

/// What a call may use up. Each is a hard stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Wall clock, milliseconds; then the whole process tree is killed.
    pub wall_ms: u64,
    /// Processor time of each process, seconds.
    pub cpu_s: u64,
    /// Address space of each process, and memory of all processes of a command together, bytes. The sum is looked at
    /// while it runs.
    pub memory_bytes: u64,
    /// Processes at once, beyond those the user already has. The kernel does not hold uid 0 to it; looks while a
    /// command runs do.
    pub processes: u64,
    /// Size of each file written, bytes.
    pub file_bytes: u64,
    /// Open descriptors of each process.
    pub descriptors: u64,
    /// What a command may add to the workspace, bytes on disk; looked at while it runs.
    pub added_bytes: u64,
    /// The same in files and folders.
    pub added_files: u64,
    /// Output kept, bytes; what comes after ends the call.
    pub output_bytes: usize,
}

impl Limits {
    /// For a built-in tool.
    pub const BUILTIN: Self = Self {
        wall_ms: 30_000,
        cpu_s: 20,
        memory_bytes: 1 << 30,
        processes: 0,
        file_bytes: 16 << 20,
        descriptors: 64,
        // A built-in tool writes one file; `file_bytes` bounds it.
        added_bytes: 16 << 20,
        added_files: 64,
        // A listing or page of 256 KiB and the notes round it.
        output_bytes: 320 << 10,
    };

    /// For a command.
    pub const COMMAND: Self = Self {
        wall_ms: 30_000,
        cpu_s: 20,
        memory_bytes: 1 << 30,
        processes: 64,
        file_bytes: 64 << 20,
        descriptors: 256,
        added_bytes: 128 << 20,
        added_files: 10_000,
        output_bytes: 256 << 10,
    };
}
