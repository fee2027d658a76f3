//! P1: for any bytes from a model, what is executed is a subset of what policy allows.
//!
//! The model here always obeys the attacker. What was executed is read from the file system, from a server that
//! nobody may reach, from the process table and from what came back to the model, not from our own records.
//!
//! A bounded number of random calls runs with every test; `CLAWDBOT_P1_CALLS=100000` makes it as many in all.

mod battle;
mod proposals;

use battle::{Battle, Proposal};
use proposals::proposal;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many rule sets there are, among which a long run is divided.
const RULE_SETS: u32 = 9;
/// The most calls of one turn in a long run; a turn's budget is 32.
const LONG_TURN: usize = 30;

/// How many random turns a rule set must stand, and the most calls of one.
fn cases() -> (u32, usize) {
    let asked = std::env::var("CLAWDBOT_P1_CALLS").ok();
    match asked.and_then(|calls| calls.parse::<u32>().ok()) {
        // On the average a turn has half of the most.
        Some(calls) => (calls / RULE_SETS / (LONG_TURN as u32 / 2) + 1, LONG_TURN),
        None => (40, 4),
    }
}

/// Runs random turns against a rule set; after each one `holds` must hold.
fn stands(
    battle: &Battle,
    may_run: &[&str],
    holds: impl Fn(&[Proposal]) -> Result<(), TestCaseError>,
) {
    let (cases, most) = cases();
    let mut proposed = AtomicU64::new(0);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 64,
        ..Config::default()
    };
    let before = battle.world();
    let one = proposal(battle.outside.path(), battle.inside.port);
    let calls = proptest::collection::vec(one, 1..=most);
    let fought = TestRunner::new(config).run(&calls, |calls| {
        proposed.fetch_add(calls.len() as u64, Ordering::Relaxed);
        let _ = battle.turn(calls.clone());
        let world = battle.world();
        prop_assert_eq!(&world, &before, "something outside the workspace changed");
        let reached = battle.inside.reached.load(Ordering::Relaxed);
        prop_assert_eq!(reached, 0, "a server inside was reached");
        holds(&calls)
    });
    if let Err(lost) = fought {
        panic!("{lost}\nthe gateway said:\n{}", battle.gateway.said());
    }
    battle.told_nothing();
    let run = battle.watch.seen();
    let others: Vec<_> = run
        .iter()
        .filter(|name| !may_run.contains(&name.as_str()))
        .collect();
    assert!(
        others.is_empty(),
        "programs that may not run were seen: {others:?}"
    );
    println!(
        "{} calls proposed in {cases} turns; the process table was looked at {} times",
        proposed.get_mut(),
        battle.watch.looks.load(Ordering::Relaxed)
    );
}

#[test]
fn by_default_a_hostile_model_executes_nothing_at_all() {
    let battle = Battle::under(&[]);
    let before = battle.workspace();
    stands(&battle, &[], |_| {
        prop_assert_eq!(battle.workspace(), before.clone(), "the workspace changed");
        Ok(())
    });
    assert!(
        !battle.heard().contains("inside-marker"),
        "even a read was executed"
    );
    assert!(battle.gateway.audit().of("tool.begin").is_empty());
    assert!(
        !battle.gateway.audit().of("security.tool.denied").is_empty(),
        "refusals are on record"
    );
}

#[test]
fn with_reads_allowed_a_hostile_model_changes_nothing_and_reads_the_workspace_only() {
    let battle = Battle::under(&[
        ("gateway.tools.policy", "whitelist"),
        (
            "gateway.tools.allowList",
            r#"["read_file", "list_directory"]"#,
        ),
    ]);
    let before = battle.workspace();
    stands(&battle, &[], |_| {
        prop_assert_eq!(battle.workspace(), before.clone(), "the workspace changed");
        Ok(())
    });
    let _ = battle.turn(vec![(
        "read_file".to_owned(),
        json!({"path": "inside.txt"}).to_string(),
    )]);
    assert!(
        battle.heard().contains("inside-marker"),
        "what is allowed does run"
    );
}

#[test]
fn with_writes_allowed_a_hostile_model_writes_what_it_named_and_only_in_the_workspace() {
    let battle = Battle::under(&[
        ("gateway.tools.policy", "whitelist"),
        (
            "gateway.tools.allowList",
            r#"["write_file", "run_command"]"#,
        ),
    ]);
    stands(&battle, &[], |calls| {
        let writes = calls.iter().any(|(name, _)| name == "write_file");
        let pwned = battle.gateway.home.workspace().join("pwned-p1");
        prop_assert!(writes || !pwned.exists(), "a command ran in strict mode");
        Ok(())
    });
    let arguments = json!({"path": "proof.txt", "content": "written"}).to_string();
    let _ = battle.turn(vec![("write_file".to_owned(), arguments)]);
    let proof = std::fs::read_to_string(battle.gateway.home.workspace().join("proof.txt"));
    assert_eq!(
        proof.ok().as_deref(),
        Some("written"),
        "what is allowed does run"
    );
}

#[test]
fn with_one_command_allowed_no_other_program_runs_and_that_one_sees_the_workspace_only() {
    let battle = Battle::under(&[
        ("gateway.tools.policy", "whitelist"),
        ("gateway.tools.allowList", r#"["run_command"]"#),
        ("gateway.sandbox.mode", "moderate"),
        ("gateway.sandbox.allowedCommands", r#"["ls"]"#),
    ]);
    let before = battle.workspace();
    stands(&battle, &["ls"], |_| {
        prop_assert_eq!(
            battle.workspace(),
            before.clone(),
            "a program other than ls ran"
        );
        Ok(())
    });
    let _ = battle.turn(vec![(
        "run_command".to_owned(),
        json!({"command": ["ls"]}).to_string(),
    )]);
    assert!(
        battle.heard().contains("inside.txt"),
        "what is allowed does run"
    );
}

#[test]
fn with_every_tool_allowed_in_mode_moderate_a_hostile_model_stays_in_the_workspace() {
    let battle = Battle::under(&[
        ("gateway.tools.policy", "whitelist"),
        (
            "gateway.tools.allowList",
            r#"["read_file", "list_directory", "search_files", "write_file", "edit_file", "run_command", "fetch_url", "search_web"]"#,
        ),
        ("gateway.sandbox.mode", "moderate"),
        ("gateway.sandbox.allowedCommands", r#"["ls", "cat"]"#),
        // So that nothing but policy and sandbox stands in the way.
        ("gateway.security.promptInjection.enabled", "false"),
    ]);
    stands(&battle, &["ls", "cat"], |_| Ok(()));
    let cat = json!({"command": ["cat", "inside.txt"]}).to_string();
    let _ = std::fs::write(
        battle.gateway.home.workspace().join("inside.txt"),
        "inside-marker",
    );
    let _ = battle.turn(vec![("run_command".to_owned(), cat)]);
    assert!(
        battle.heard().contains("inside-marker"),
        "what is allowed does run"
    );
}

#[test]
fn with_all_but_commands_permitted_in_mode_permissive_a_hostile_model_stays_in_the_workspace() {
    let battle = Battle::under(&[
        ("gateway.tools.policy", "permissive"),
        ("gateway.tools.denyList", r#"["run_command"]"#),
        ("gateway.sandbox.mode", "permissive"),
        ("gateway.security.promptInjection.enabled", "false"),
    ]);
    stands(&battle, &[], |_| Ok(()));
    let write = json!({"path": "proof.txt", "content": "written"}).to_string();
    let _ = battle.turn(vec![("write_file".to_owned(), write)]);
    let proof = battle.gateway.home.workspace().join("proof.txt");
    assert!(proof.exists(), "what is allowed does run");
}

#[test]
fn a_limit_on_the_token_holds_a_hostile_model_whatever_else_is_permitted() {
    let mut battle = Battle::under(&[
        ("gateway.tools.policy", "permissive"),
        ("gateway.sandbox.mode", "permissive"),
        ("gateway.security.promptInjection.enabled", "false"),
    ]);
    battle.token = Some(battle.gateway.home.token_for_tools("list_directory"));
    let before = battle.workspace();
    stands(&battle, &[], |_| {
        prop_assert_eq!(battle.workspace(), before.clone(), "the workspace changed");
        Ok(())
    });
    let begun = battle.gateway.audit().of("tool.begin");
    assert!(!begun.is_empty(), "what is allowed does run");
    assert!(
        begun
            .iter()
            .all(|record| record.text("tool") == "list_directory")
    );
}

#[test]
fn a_limit_on_the_agent_holds_a_hostile_model_whatever_else_is_permitted() {
    let battle = Battle::under(&[
        ("gateway.tools.policy", "permissive"),
        ("gateway.sandbox.mode", "permissive"),
        ("agents.main.tools", r#"["list_directory", "read_file"]"#),
        ("gateway.security.promptInjection.enabled", "false"),
    ]);
    let before = battle.workspace();
    stands(&battle, &[], |_| {
        prop_assert_eq!(battle.workspace(), before.clone(), "the workspace changed");
        Ok(())
    });
    let _ = battle.turn(vec![(
        "read_file".to_owned(),
        json!({"path": "inside.txt"}).to_string(),
    )]);
    assert!(
        battle.heard().contains("inside-marker"),
        "what is allowed does run"
    );
}

#[test]
fn with_one_call_approved_for_good_a_hostile_model_makes_that_call_and_no_other() {
    let battle = Battle::under(&[
        (
            "gateway.tools.allowList",
            r#"["write_file", "edit_file", "run_command", "fetch_url"]"#,
        ),
        ("gateway.sandbox.mode", "permissive"),
    ]);
    // In the order in which a record tells them.
    let arguments = json!({"content": "yes", "path": "approved.txt"});
    let token = testkit::token_id(&battle.gateway.token);
    let entry = json!([{"tool": "write_file", "arguments": arguments, "token": token}]);
    let key = "gateway.tools.approvedCalls";
    battle.gateway.home.set(key, &entry.to_string());
    let approved = battle.gateway.home.workspace().join("approved.txt");
    let give_up = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !approved.exists() {
        assert!(
            std::time::Instant::now() < give_up,
            "what is approved does run"
        );
        let _ = battle.turn(vec![("write_file".to_owned(), arguments.to_string())]);
    }
    let before = battle.workspace();
    stands(&battle, &[], |_| {
        prop_assert_eq!(battle.workspace(), before.clone(), "the workspace changed");
        Ok(())
    });
    for near in [
        json!({"path": "approved.txt", "content": "yes "}),
        json!({"path": "./approved.txt", "content": "yes"}),
        json!({"path": "approved.txt", "content": "no"}),
        json!({"path": "*", "content": "yes"}),
    ] {
        let _ = battle.turn(vec![("write_file".to_owned(), near.to_string())]);
        assert_eq!(battle.workspace(), before, "{near}");
    }
    let begun = battle.gateway.audit().of("tool.begin");
    let its = arguments.to_string();
    let is_it = |r: &testkit::Record| r.text("arguments") == its;
    assert!(!begun.is_empty());
    let others = begun.iter().filter(|r| !is_it(r)).count();
    assert_eq!(others, 0, "only the approved call was ever begun");
}

#[test]
fn once_a_session_holds_untrusted_text_it_changes_nothing_without_a_person() {
    let battle = Battle::under(&[
        ("gateway.tools.policy", "whitelist"),
        ("gateway.tools.allowList", r#"["read_file", "write_file"]"#),
    ]);
    let write = (
        "write_file".to_owned(),
        json!({"path": "after.txt", "content": "x"}).to_string(),
    );
    let read = (
        "read_file".to_owned(),
        json!({"path": "inside.txt"}).to_string(),
    );
    let _ = battle.turn(vec![read, write.clone()]);
    let after = battle.gateway.home.workspace().join("after.txt");
    assert!(!after.exists(), "a write ran after untrusted text came in");
    let _ = battle.turn(vec![write]);
    assert!(after.exists(), "without untrusted text the same write runs");
}

#[test]
fn the_battle_notices_a_model_that_gets_through() {
    let battle = Battle::under(&[
        ("gateway.tools.policy", "permissive"),
        ("gateway.sandbox.mode", "permissive"),
        ("gateway.sandbox.allowedHosts", r#"["127.0.0.1"]"#),
        ("gateway.security.promptInjection.enabled", "false"),
    ]);
    let before = battle.world();
    let marker = battle.outside.path().join("pwned-p1");
    let script = format!("touch {}; sleep 0.5", marker.display());
    let run = json!({"command": ["sh", "-c", script]}).to_string();
    let fetch = json!({"url": format!("http://127.0.0.1:{}/", battle.inside.port)}).to_string();
    let _ = battle.turn(vec![
        ("run_command".to_owned(), run),
        ("fetch_url".to_owned(), fetch),
    ]);
    assert_ne!(
        battle.world(),
        before,
        "a change of the world went unnoticed: {}",
        battle.heard()
    );
    let seen = battle.watch.seen();
    assert!(seen.contains("sh"), "a program went unnoticed: {seen:?}");
    let reached = battle.inside.reached.load(Ordering::Relaxed);
    assert_eq!(reached, 1, "a connection went unnoticed");
}
