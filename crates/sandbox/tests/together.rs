//! What the processes of a call use together.
#![allow(clippy::unwrap_used, reason = "tests fail loudly")]

mod harness;

use clawdbot_domain::SandboxMode;
use clawdbot_sandbox::{Ended, Limits, Outgrown};
use harness::House;

#[tokio::test]
async fn memory_spread_over_many_processes_ends_the_call_as_that_of_one_does() {
    let limits = Limits {
        memory_bytes: 256 << 20,
        ..Limits::COMMAND
    };
    for house in House::both(SandboxMode::Moderate) {
        let ran = house.command_within(limits, "hogs 6 100").await.unwrap();
        assert_eq!(ran.ended, Ended::Outgrown(Outgrown::Memory));
        assert_eq!(hogs(&house), 0, "the whole tree is gone");
        let ran = house.command_within(limits, "hogs 2 50").await.unwrap();
        assert_eq!(
            ran.ended,
            Ended::Exited(0),
            "less than that is nobody's affair"
        );
    }
}

#[tokio::test]
async fn pages_that_processes_share_are_counted_once() {
    let limits = Limits {
        memory_bytes: 256 << 20,
        ..Limits::COMMAND
    };
    for house in House::both(SandboxMode::Moderate) {
        let ran = house.command_within(limits, "sharers 6 150").await.unwrap();
        assert_eq!(ran.ended, Ended::Exited(0));
    }
}

/// The kernel holds an ordinary user to the number by itself; root is only held by looking.
#[tokio::test]
async fn a_crowd_beyond_the_limit_lives_under_no_user() {
    let limits = Limits {
        processes: 20,
        ..Limits::COMMAND
    };
    for house in House::both(SandboxMode::Moderate) {
        let ran = house.command_within(limits, "hogs 200 0").await.unwrap();
        if is_root() {
            assert_eq!(ran.ended, Ended::Outgrown(Outgrown::Processes));
        } else {
            assert_eq!(ran.ended, Ended::Exited(0));
        }
        assert_eq!(hogs(&house), 0, "the whole tree is gone");
    }
}

#[tokio::test]
async fn where_memory_is_at_an_end_a_tool_is_ended_before_whoever_called_it() {
    let score = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    let mine = score("self");
    for house in House::both(SandboxMode::Moderate) {
        let call = house.command_within(Limits::COMMAND, "hogs 1 0");
        let look = async {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            let tools = pids(&house);
            assert_eq!(tools.len(), 2);
            for pid in tools {
                assert_eq!(score(&pid), "1000\n");
            }
        };
        let (ran, ()) = tokio::join!(call, look);
        assert_eq!(ran.unwrap().ended, Ended::Exited(0));
        assert_eq!(score("self"), mine);
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

fn hogs(house: &House) -> usize {
    pids(house).len()
}

/// Processes whose home is this house's workspace.
fn pids(house: &House) -> Vec<String> {
    let home = house.path("home/workspace");
    let is_of_it = |pid: &String| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(&home)
    };
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(is_of_it).collect()
}
