//! The integration tests: one binary, one module a concern.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails loudly, at the place that went wrong; not only inside #[test] functions"
)]

mod approvals;
mod architecture;
mod audit_clock;
mod audit_disk;
mod audit_faults;
mod audit_flood;
mod audit_forged;
mod audit_keys;
mod audit_kill;
mod audit_power;
mod audit_pruned;
mod audit_random;
mod audit_reading;
mod audit_tamper;
mod audit_verify;
mod backup;
mod browser;
mod cli;
mod clock;
mod container;
mod crowd;
mod cut;
mod doctor;
mod durable;
mod edge;
mod egress;
mod guard_eval;
mod guard_out;
mod guard_out_places;
mod guard_worst;
mod guide;
mod http;
mod incident;
mod kit;
mod midway;
mod netns;
mod packaging;
mod policy_p1;
mod proxy;
mod reload;
mod routes;
mod sandbox_ends;
mod sandbox_layers;
mod sandbox_probes;
mod sdk;
mod secrets;
mod security_cli;
mod sessions;
mod slow;
mod tls;
mod tokens;
mod tokens_api;
mod tools_limits;
mod tools_search;
mod tools_stream;
mod turns;
mod upgrade;
mod vault;
mod workspaces;
