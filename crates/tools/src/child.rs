//! A tool in its child: after the walls are up, one job.

use crate::online::Line;
use crate::tool::{self, Work};
use crate::workspace::Workspace;
use clawdbot_sandbox::child::{Answer, Job, main as confined};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::process::ExitCode;

/// One job as the parent writes it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ToolJob {
    pub(crate) tool: String,
    pub(crate) arguments: Map<String, Value>,
}

/// The whole life of the process that tools are forked from. Call it first thing in `main` when the first argument is
/// [`clawdbot_sandbox::child::ARGUMENT`], before any thread exists.
pub fn child_main() -> ExitCode {
    confined(answer)
}

fn answer(job: Job) -> Answer {
    match work(job) {
        Ok(output) => Answer {
            output,
            is_error: false,
        },
        Err(output) => Answer {
            output,
            is_error: true,
        },
    }
}

fn work(job: Job) -> Result<String, String> {
    let ToolJob { tool, arguments } =
        serde_json::from_slice(&job.bytes).map_err(|error| format!("not a job: {error}"))?;
    match tool::find(&tool).map(|tool| tool.work) {
        Some(Work::Inside(work)) => work(&Workspace::new(&job.workspace), &arguments),
        Some(Work::Online(work)) => {
            let line = job.line.ok_or("this call has no way to the network")?;
            work(&mut Line::new(line), &arguments)
        }
        Some(Work::Command) | None => Err(format!("{tool} is no built-in tool")),
    }
}
