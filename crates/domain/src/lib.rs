//! The shared words of Clawdbot.
//!
//! Everything here is plain data: no IO, no runtime, no configuration. Every other room depends on
//! this crate and on little else, so it is kept small and still. A type belongs here only when two
//! rooms that must not know each other have to say the same word.

mod audited;
mod call;
mod limit;
mod mode;
mod principal;
mod provider;
mod secret;
mod shown;
mod text;
mod time;

pub use audited::{Audited, Class, Event, Level, Outcome, Usage, Who};
pub use call::{ApprovedCall, BadToolName, Effect, ToolCall, ToolName, ToolSpec, hex, sha256_hex};
pub use limit::ToolLimit;
pub use mode::{SandboxMode, ToolPolicyMode, UnknownMode};
pub use principal::{
    Approval, ApprovalId, Principal, RequestId, Scope, ScopeSet, SessionId, TokenEnv, TokenId,
    TurnId, UnknownScope,
};
pub use provider::{BadOrigin, Origin, Protocol, ProviderName, UnknownProvider};
pub use secret::Secret;
pub use shown::{foreign_letters, shown};
pub use text::{Channel, Provenance, Taint, Untrusted};
pub use time::UnixTime;
