//! A child for the tests of this room: what the gateway's binary does when it is started as one.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(clawdbot_sandbox::child::ARGUMENT) {
        clawdbot_tools::child_main()
    } else {
        ExitCode::from(64)
    }
}
