//! The integration tests: one binary, one module a concern.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails loudly, at the place that went wrong; not only inside #[test] functions"
)]

mod architecture;
mod cli;
mod cut;
mod durable;
mod http;
mod kit;
mod policy_p1;
mod sdk;
