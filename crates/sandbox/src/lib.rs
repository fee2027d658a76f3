//! Run a child where it cannot hurt.
//!
//! Every tool call is a process of its own, started from this same binary with an empty environment. Before
//! it reads a word of its job it gives up everything the job does not need, and the kernel holds it
//! to that: Landlock for files, TCP, signals and abstract sockets, seccomp for system calls, no
//! capabilities, no way to new privileges, limits on all that grows. [`Sandbox::prove`] tries the
//! forbidden things at start, once without and once with each layer, and refuses to go on where a
//! layer does not hold: there is no best effort here.
//!
//! This is the only crate with `unsafe` in it, block by block, in the modules under `child` and in
//! `seccomp::load`.

mod canary;
pub mod child;
mod confinement;
mod grants;
mod launch;
mod prove;
mod report;
mod sandbox;
mod seccomp;
mod wire;

pub use confinement::{Confinement, Limits, Network, Profile};
pub use launch::{CommandJob, Ended, Finished, Launcher, RunError};
pub use prove::{Layer, NotProven, Trial};
pub use sandbox::{CannotConfine, Need, Sandbox, SandboxSettings};
