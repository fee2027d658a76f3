//! Run a child where it cannot hurt.
//!
//! Every tool call is a process of its own, forked from a small [`Zygote`] that was started from this same
//! binary with an empty environment. Before it reads a word of its job it gives up everything the job does
//! not need, and the kernel holds it to that: namespaces of its own with a root in which only the granted
//! paths exist, Landlock for files, TCP, signals and abstract sockets, seccomp for system calls, no
//! capabilities, no way to new privileges, limits on all that grows. Where the kernel allows no namespaces
//! the rest must hold alone ([`Tier`]). [`Sandbox::prove`] tries the
//! forbidden things at start, once without and once with each layer, and refuses to go on where a
//! layer does not hold: there is no best effort here.
//!
//! This is the only crate with `unsafe` in it, block by block, in the modules under `child` and `zygote`
//! and in `seccomp::load`.

mod canary;
pub mod child;
mod confinement;
mod grants;
mod launch;
mod nursery;
mod prove;
mod quota;
mod report;
mod sandbox;
mod seccomp;
mod tree;
mod wire;
mod zygote;

#[cfg(feature = "holes")]
pub use confinement::Part;
pub use confinement::{Confinement, Limits, Network, Profile};
pub use launch::{CommandJob, Ended, Extras, Finished, Launcher, RunError, Watch};
pub use nursery::{Tier, Zygote};
pub use prove::{Layer, NotProven, Trial};
pub use report::Outgrown;
pub use sandbox::{CannotConfine, Need, Sandbox, SandboxSettings};
