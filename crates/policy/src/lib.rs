//! May this call happen, and why.
//!
//! One pure decision over plain facts: no clock, no file, no network. Every rule that had a say is
//! named in the answer, the strictest verdict wins, and a call that may happen is a [`Permit`]: a
//! value made here and nowhere else, that cannot be copied and is spent once.
//!
//! A permit cannot be forged outside this crate:
//!
//! ```compile_fail,E0451
//! # fn forge(call: clawdbot_domain::ToolCall, who: clawdbot_domain::Who) {
//! let forged = clawdbot_policy::Permit { call, who, rules: Vec::new() };
//! # }
//! ```
//!
//! nor spent twice:
//!
//! ```compile_fail,E0382
//! # fn twice(permit: clawdbot_policy::Permit) {
//! let first = permit.into_call();
//! let second = permit.into_call();
//! # }
//! ```
//!
//! nor copied:
//!
//! ```compile_fail,E0308
//! # fn copy(permit: &clawdbot_policy::Permit) -> clawdbot_policy::Permit {
//! permit.clone()
//! # }
//! ```

mod decision;
mod limits;
mod rules;

pub use decision::{Ask, Decision, Denial, Explanation, Permit, RuleSaid, Verdict};
pub use rules::{Facts, Presented, RuleOfTwo, SandboxRule, ToolPolicy};
