//! The integration tests: one binary, one module a concern.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails loudly, at the place that went wrong; not only inside #[test] functions"
)]

mod architecture;
mod kit;
