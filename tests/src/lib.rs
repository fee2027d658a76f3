//! The testkit: a gateway as its users run it, a model provider that can be told to misbehave, and
//! readers for what both leave behind.
//!
//! Everything is blocking, so that a test reads from top to bottom; only the provider inside runs
//! on a thread and a runtime of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    reason = "a test kit fails loudly, at the place that went wrong"
)]

pub mod audit;
pub mod binary;
pub mod container;
pub mod disk;
pub mod gateway;
pub mod homes;
pub mod http;
pub mod judges;
pub mod upstream;

pub use audit::{AuditLog, Record};
pub use container::Deployment;
pub use gateway::{BrokenLog, Gateway, Home, Ran};
pub use homes::token_id;
pub use http::{Answer, Call};
pub use judges::{Found, Judges};
pub use upstream::{Dialect, Form, Reply, Seen, ToolUse, Upstream};
