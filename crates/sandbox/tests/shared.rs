//! Calls share a root and the rules for it, and nothing else.
#![allow(clippy::unwrap_used, reason = "tests fail loudly")]

mod harness;

use clawdbot_domain::SandboxMode;
use clawdbot_sandbox::{CommandJob, Ended, Extras, Finished, Need, Profile, RunError};
use harness::House;
use std::path::Path;
use std::time::Duration;

/// Runs a program that is granted by its path, with these arguments.
async fn run(house: &House, program: &Path, arguments: &[&str]) -> Result<Finished, RunError> {
    let need = Need {
        profile: Profile::Command,
        workspace: &house.root.path().join("home/workspace"),
        write: true,
        programs: &[program.to_owned()],
    };
    let confinement = house.sandbox.confine(&need).unwrap();
    let argv = ["program"].iter().chain(arguments);
    let argv = argv.map(ToString::to_string).collect();
    let job = CommandJob::new(program, argv, None).unwrap();
    let extras = Extras::default();
    house.sandbox.run_command(&confinement, &job, extras).await
}

#[tokio::test]
async fn a_program_that_was_upgraded_between_two_calls_runs_as_the_new_one() {
    for house in House::both(SandboxMode::Moderate) {
        let program = house.root.path().join("program");
        std::fs::copy("/bin/true", &program).unwrap();
        for _ in 0..2 {
            let ran = run(&house, &program, &[]).await.unwrap();
            assert_eq!(ran.ended, Ended::Exited(0));
        }
        let new = house.root.path().join("new");
        std::fs::copy("/bin/false", &new).unwrap();
        std::fs::rename(&new, &program).unwrap();
        let ran = run(&house, &program, &[]).await.unwrap();
        assert_eq!(ran.ended, Ended::Exited(1));
    }
}

#[tokio::test]
async fn a_call_that_ends_ends_no_other_with_the_same_grants() {
    for house in House::both(SandboxMode::Moderate) {
        // The end of each kills all that it can reach.
        let sleep = Path::new("/usr/bin/sleep");
        let long = run(&house, sleep, &["0.6"]);
        let short = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            for _ in 0..5 {
                let ran = run(&house, sleep, &["0.01"]).await.unwrap();
                assert_eq!(ran.ended, Ended::Exited(0));
            }
        };
        let (long, ()) = tokio::join!(long, short);
        assert_eq!(long.unwrap().ended, Ended::Exited(0));
    }
}

#[tokio::test]
async fn a_grant_to_read_is_not_widened_by_a_grant_to_write_before_it() {
    for house in House::both(SandboxMode::Moderate) {
        let marker = house.path("home/workspace/marker");
        for (write, expected) in [(true, true), (false, false), (true, true)] {
            let _ = std::fs::remove_file(&marker);
            let confinement = house.confine(Profile::Command, write);
            let touch = harness::job(&format!("write {marker}"));
            let extras = Extras::default();
            let ran = house.sandbox.run_command(&confinement, &touch, extras);
            ran.await.unwrap();
            assert_eq!(Path::new(&marker).exists(), expected, "write: {write}");
        }
    }
}
