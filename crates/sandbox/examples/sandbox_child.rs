//! A child for the tests of this room: what the gateway's binary does when it is started as one.

use clawdbot_sandbox::child::{ARGUMENT, Answer, Job, main as child};
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() != Some(ARGUMENT) {
        return ExitCode::from(64);
    }
    child(answer)
}

fn answer(job: &Job) -> Answer {
    Answer {
        output: format!("{} bytes", job.bytes.len()),
        is_error: false,
    }
}
