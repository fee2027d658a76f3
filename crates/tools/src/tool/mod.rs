//! The table of tools.

mod edit_file;
mod fetch_url;
mod list_directory;
mod read_file;
pub(crate) mod run_command;
mod search_files;
mod search_web;
pub(crate) mod traps;
mod write_file;

use crate::online::Line;
use crate::workspace::Workspace;
use clawdbot_domain::Effect;
use serde_json::{Map, Value};

/// A tool: what it is and how it works.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) effect: Effect,
    pub(crate) schema: fn() -> Value,
    /// The most bytes of arguments that are looked at.
    pub(crate) most_arguments: usize,
    pub(crate) work: Work,
}

/// How a tool works.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// In the confined child, on the open workspace. What it returns, good or bad, goes to the model.
    Inside(Inside),
    /// The same, with a line to the broker instead of a workspace.
    Online(Online),
    /// A program, started by the sandbox.
    Command,
}

/// The work of a built-in tool.
pub(crate) type Inside = fn(&Workspace<'_>, &Map<String, Value>) -> Result<String, String>;

/// The work of a tool that reaches the network.
pub(crate) type Online = fn(&mut Line, &Map<String, Value>) -> Result<String, String>;

/// Every tool, in the order people see them.
pub(crate) const ALL: [&Tool; 8] = [
    &read_file::TOOL,
    &list_directory::TOOL,
    &search_files::TOOL,
    &write_file::TOOL,
    &edit_file::TOOL,
    &run_command::TOOL,
    &fetch_url::TOOL,
    &search_web::TOOL,
];

/// The most bytes of arguments, but for a tool that takes a whole file.
pub(crate) const MOST_ARGUMENTS: usize = 64 << 10;

/// The tool of this name.
pub(crate) fn find(name: &str) -> Option<&'static Tool> {
    ALL.into_iter().find(|tool| tool.name == name)
}

/// An argument that the schema promises to be text.
pub(crate) fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    arguments
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("field `{name}` must be a string"))
}

/// An optional whole number.
pub(crate) fn number(arguments: &Map<String, Value>, name: &str) -> Option<usize> {
    let number = arguments.get(name)?.as_u64()?;
    usize::try_from(number).ok()
}
