//! The tools, one file each.
//!
//! A [`Toolbox`] says which tools there are, turns what a model proposed into a valid call, and runs
//! permitted calls: each in a sandboxed child of its own. There is one way to run a tool, and it takes a
//! permit that was written down first. A call alone does not run:
//!
//! ```compile_fail,E0308
//! # async fn run(toolbox: clawdbot_tools::Toolbox, call: clawdbot_domain::ToolCall) {
//! toolbox.run(call).await;
//! # }
//! ```
//!
//! nor does a permit that was not written down:
//!
//! ```compile_fail,E0308
//! # async fn run(toolbox: clawdbot_tools::Toolbox, permit: clawdbot_policy::Permit) {
//! toolbox.run(permit).await;
//! # }
//! ```

mod broker;
mod catalogue;
mod child;
mod json;
mod online;
mod schema;
mod tool;
mod toolbox;
mod workspace;
mod workspaces;

pub use broker::{Broker, Dialect, HostRules, Keeper, Lookup, Resolve, SearchSettings, System};
pub use catalogue::Catalogue;
pub use child::child_main;
pub use schema::BadCall;
pub use tool::run_command::{CommandRefused, Prepared, prepare as prepare_command};
pub use tool::traps::trap;
pub use toolbox::{ToolOutcome, Toolbox};
pub use workspaces::{SessionFolders, Workspaces};
