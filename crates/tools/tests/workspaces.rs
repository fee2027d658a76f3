//! Each session in a folder of its own: what one does, no other sees, and each is bounded.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may fail as loudly as tests"
)]

mod house;

use clawdbot_domain::SandboxMode;
use house::House;
use serde_json::{Value, json};

async fn said(house: &House, session: &str, tool: &str, arguments: Value) -> (String, bool) {
    let outcome = house.run_in(Some(session), tool, arguments).await;
    (
        outcome.output.reveal_untrusted().to_owned(),
        outcome.is_error,
    )
}

#[tokio::test]
async fn a_session_sees_nothing_of_another_by_any_tool_or_command() {
    let house = House::of_sessions(SandboxMode::Moderate, &["cat", "ls", "find"], 1 << 20);
    std::fs::write(house.path("shared"), "SHARED-CANARY").unwrap();
    let write = json!({"path": "mine", "content": "ALPHA-CANARY"});
    assert!(!said(&house, "alpha", "write_file", write).await.1);
    let folder = house.root.path().join("home/workspaces");
    let alpha = folder.join("alpha").display().to_string();
    for path in [
        "mine".to_owned(),
        "../alpha/mine".to_owned(),
        format!("{alpha}/mine"),
        "../../workspace/shared".to_owned(),
        "..".to_owned(),
    ] {
        for (tool, arguments) in [
            ("read_file", json!({ "path": path })),
            ("list_directory", json!({ "path": path })),
            ("search_files", json!({"text": "CANARY", "path": path})),
            ("run_command", json!({"command": ["cat", path]})),
            ("run_command", json!({"command": ["find", path]})),
        ] {
            let (said, failed) = said(&house, "beta", tool, arguments).await;
            assert!(!said.contains("CANARY"), "{tool} {path}: {said}");
            // A listing of the folder above may not even be empty: it is refused.
            assert!(failed || !said.contains("alpha"), "{tool} {path}: {said}");
        }
    }
    // The control: the session itself, and a call outside any session.
    let read = json!({"path": "mine"});
    assert_eq!(
        said(&house, "alpha", "read_file", read).await.0,
        "ALPHA-CANARY"
    );
    let read = json!({"path": "shared"});
    assert_eq!(house.said("read_file", read).await.0, "SHARED-CANARY");
    let read = json!({"command": ["cat", "mine"]});
    assert!(
        said(&house, "alpha", "run_command", read)
            .await
            .0
            .starts_with("ALPHA-CANARY")
    );
}

#[tokio::test]
async fn a_link_that_a_session_plants_leads_it_nowhere() {
    let house = House::of_sessions(SandboxMode::Permissive, &["ln", "cat"], 1 << 20);
    let write = json!({"path": "mine", "content": "ALPHA-CANARY"});
    assert!(!said(&house, "alpha", "write_file", write).await.1);
    let plant = json!({"command": ["ln", "-s", "../alpha", "door"]});
    let _ = said(&house, "beta", "run_command", plant).await;
    assert!(
        house
            .root
            .path()
            .join("home/workspaces/beta/door")
            .is_symlink()
    );
    for (tool, arguments) in [
        ("read_file", json!({"path": "door/mine"})),
        ("run_command", json!({"command": ["cat", "door/mine"]})),
        ("write_file", json!({"path": "door/mine", "content": "x"})),
    ] {
        let (said, failed) = said(&house, "beta", tool, arguments).await;
        assert!(failed && !said.contains("CANARY"), "{tool}: {said}");
    }
    let mine = house.root.path().join("home/workspaces/alpha/mine");
    assert_eq!(std::fs::read_to_string(mine).unwrap(), "ALPHA-CANARY");
}

#[tokio::test]
async fn a_session_that_fills_its_workspace_is_stopped_and_no_other_is() {
    let house = House::of_sessions(SandboxMode::Moderate, &["dd"], 256 << 10);
    let big = "x".repeat(100 << 10);
    let mut files = 0;
    let mut told = String::new();
    for file in 0..8 {
        let write = json!({"path": format!("f{file}"), "content": big});
        let (said, failed) = said(&house, "alpha", "write_file", write).await;
        if failed {
            told = said;
            break;
        }
        files += 1;
    }
    assert!(
        (2..=3).contains(&files),
        "{files} files of 100 KiB in 256 KiB"
    );
    assert!(
        told.contains("full") || told.contains("too large"),
        "{told}"
    );
    let one = json!({"path": "small", "content": "y"});
    assert!(!said(&house, "beta", "write_file", one).await.1);
    let read = json!({"path": "f0", "limit": 1});
    assert!(
        !said(&house, "alpha", "read_file", read).await.1,
        "reading goes on"
    );
    // A command is held to what is left, file by file and all together.
    let dd = ["dd", "if=/dev/zero", "of=zero", "bs=64k", "count=64"];
    let (told, failed) = said(&house, "gamma", "run_command", json!({"command": dd})).await;
    assert!(failed, "{told}");
    let zero = house.root.path().join("home/workspaces/gamma/zero");
    assert!(std::fs::metadata(zero).unwrap().len() <= 256 << 10);
}
