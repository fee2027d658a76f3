//! A folder for each session, through the binary: what one conversation writes, no other reads.

use serde_json::{Value, json};
use testkit::{Answer, Call, Gateway, Home, Reply, Upstream};

/// A model that calls the tool that the user names, with the arguments that the user gives.
fn gateway() -> (Gateway, Upstream) {
    let upstream = Upstream::thinking(|seen, _| {
        let body = seen.json();
        let last = body["messages"].as_array().and_then(|m| m.last()).cloned();
        let last = last.unwrap_or_default();
        match (last["role"].as_str(), last["content"].as_str()) {
            (Some("user"), Some(text)) => match text.split_once(' ') {
                Some((tool, arguments)) => Reply::call_text(tool, arguments),
                None => Reply::say("done"),
            },
            _ => Reply::say("done"),
        }
    });
    let home = Home::with_upstream(&upstream);
    home.set("gateway.tools.policy", "whitelist");
    home.set(
        "gateway.tools.allowList",
        r#"["read_file", "write_file", "list_directory"]"#,
    );
    // What a tool says would otherwise hold the next write back.
    home.set("gateway.security.promptInjection.enabled", "false");
    home.set("gateway.sandbox.sessionWorkspaces", "true");
    home.set("gateway.sandbox.workspaceQuota", "1");
    (home.start(), upstream)
}

/// One turn in which a tool is called; what came back to the model, and the answer.
fn call(
    gateway: &Gateway,
    upstream: &Upstream,
    session: Option<&str>,
    token: &str,
    tool: &str,
    arguments: &Value,
) -> (String, Answer) {
    let messages = json!([{"role": "user", "content": format!("{tool} {arguments}")}]);
    let body = json!({"model": "clawdbot/main", "messages": messages});
    let mut call = Call::post("/v1/chat/completions", &body).bearer(token);
    if let Some(id) = session {
        call = call.header("clawdbot-session", id);
    }
    let answer = call.send(gateway.port);
    let heard = upstream
        .seen()
        .pop()
        .map(|seen| seen.body)
        .unwrap_or_default();
    (String::from_utf8_lossy(&heard).into_owned(), answer)
}

#[test]
fn what_one_conversation_writes_no_other_reads_and_it_goes_with_its_session() {
    let (gateway, upstream) = gateway();
    let token = gateway.token.clone();
    let write = json!({"path": "mine.txt", "content": "ALPHA-CANARY"});
    let (_, answer) = call(&gateway, &upstream, None, &token, "write_file", &write);
    let alpha = answer.header("clawdbot-session").unwrap().to_owned();
    let folder = gateway.home.path().join("workspaces").join(&alpha);
    assert_eq!(
        std::fs::read_to_string(folder.join("mine.txt")).unwrap(),
        "ALPHA-CANARY"
    );
    assert!(!gateway.home.workspace().join("mine.txt").exists());
    // Its own next turn reads it; another conversation, of the same person or another, does not.
    let read = json!({"path": "mine.txt"});
    let (heard, _) = call(
        &gateway,
        &upstream,
        Some(&alpha),
        &token,
        "read_file",
        &read,
    );
    assert!(heard.contains("ALPHA-CANARY"), "{heard}");
    let other = gateway.home.token("chat,tools");
    for token in [&token, &other] {
        for path in ["mine.txt".to_owned(), format!("../{alpha}/mine.txt")] {
            let read = json!({ "path": path });
            let (heard, answer) = call(&gateway, &upstream, None, token, "read_file", &read);
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(!heard.contains("ALPHA-CANARY"), "{path}: {heard}");
        }
    }
    // Whoever names somebody else's session gets nothing at all.
    let (_, answer) = call(
        &gateway,
        &upstream,
        Some(&alpha),
        &other,
        "read_file",
        &read,
    );
    assert!(
        answer.status >= 400 && !answer.text().contains("CANARY"),
        "{}",
        answer.text()
    );
    // A call by hand is in no session.
    let listed = gateway.invoke("list_directory", &json!({}));
    assert!(listed.text().contains("notes.txt"), "{}", listed.text());
    // When it is over, its folder is removed, which is written down.
    let _ = gateway
        .home
        .run(&["sessions", "end", &alpha])
        .ok("sessions end");
    let (_, home) = gateway.stop();
    let gateway = home.start();
    let removed = gateway.audit().wait_for("the removal", |record| {
        record.event() == "workspace.removed" && record.text("workspace") == alpha
    });
    assert_eq!(removed.text("outcome"), "begin");
    for _ in 0..200 {
        if !folder.exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the folder of a session that is over is still there");
}

#[test]
fn a_conversation_that_fills_its_folder_is_told_so() {
    let (gateway, upstream) = gateway();
    let token = gateway.token.clone();
    let mut session = None;
    for file in 0..4 {
        let write = json!({"path": format!("f{file}"), "content": "x".repeat(400_000)});
        let (heard, answer) = call(
            &gateway,
            &upstream,
            session.as_deref(),
            &token,
            "write_file",
            &write,
        );
        session = answer.header("clawdbot-session").map(str::to_owned);
        if heard.contains("workspace is full") || heard.contains("File too large") {
            assert!((2..=3).contains(&file), "{file} files of 400 KB in 1 MB");
            return;
        }
    }
    panic!("1.6 MB were written into a folder of 1 MB");
}
