//! The kill switch: what runs can be seen and ended, one turn or all of them or the gateway with them, and
//! nothing that was started stays behind.

use serde_json::{Value, json};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use testkit::{Answer, Call, Gateway, Home, Reply, Upstream};

const CHAT: &str = "/v1/chat/completions";

/// A gateway on which one command may run: one that takes its time.
fn gateway() -> Gateway {
    let home = Home::new();
    home.set_accepting_the_risk("gateway.tools.policy", "whitelist");
    home.set("gateway.tools.allowList", r#"["run_command"]"#);
    home.set_accepting_the_risk("gateway.sandbox.mode", "moderate");
    home.set("gateway.sandbox.allowedCommands", r#"["sleep"]"#);
    home.start()
}

/// A number of seconds by which a process is known again.
fn mark(nth: u32) -> String {
    format!("{}.{nth}", 10_000 + std::process::id() % 50_000)
}

/// Processes with this argument, wherever they hide: namespaces are seen from here.
fn alive(mark: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let commands = processes.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
    let has = |command: &Vec<u8>| command.split(|b| *b == 0).any(|arg| arg == mark.as_bytes());
    commands.filter(has).count()
}

/// The process that tools are forked from: it belongs to nobody but to this test's process group.
fn zygotes() -> usize {
    let group = rustix::process::getpgrp().as_raw_nonzero().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let zygote = |path: std::path::PathBuf| {
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        // State, parent and group stand behind the name.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        command.ends_with(b"__tool\0") && rest.split_whitespace().nth(2) == Some(&group)
    };
    processes.filter(|process| zygote(process.path())).count()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < give_up, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Asks in a thread of its own.
fn asking(gateway: &Gateway, path: &str, body: &Value) -> JoinHandle<Answer> {
    let call = Call::post(path, body).bearer(&gateway.token);
    let port = gateway.port;
    std::thread::spawn(move || call.send(port))
}

fn sleeping(gateway: &Gateway, mark: &str) -> JoinHandle<Answer> {
    let call = json!({"name": "run_command", "arguments": {"command": ["sleep", mark]}});
    let asking = asking(gateway, "/tools/invoke", &call);
    until("the command runs", || alive(mark) > 0);
    asking
}

fn question() -> Value {
    json!({"model": "clawdbot/main", "messages": [{"role": "user", "content": "hello"}]})
}

fn turns(gateway: &Gateway, args: &[&str]) -> testkit::Ran {
    let port = gateway.port.to_string();
    gateway
        .home
        .run(&[&["turns"], args, &["--port", &port]].concat())
}

#[test]
fn a_turn_that_runs_is_seen_and_ended_by_hand_and_marked_in_the_log() {
    let upstream = Upstream::replying([Reply::Never]);
    let gateway = Gateway::before(&upstream);
    let asked = asking(&gateway, CHAT, &question());
    until("the model is asked", || !upstream.seen().is_empty());
    let listed = turns(&gateway, &["list", "--json"]).ok("list").json();
    assert_eq!(listed[0]["state"], "running");
    assert_eq!(listed[0]["path"], CHAT);
    let id = listed[0]["id"].as_str().unwrap();
    assert_eq!(
        turns(&gateway, &["cancel", "turn_000000000000000000000000"]).code,
        65
    );
    let ended = turns(&gateway, &["cancel", id]).ok("cancel");
    assert!(ended.out.contains(id), "{}", ended.out);
    let answer = asked.join().unwrap();
    // No status that a client's library tries again.
    assert_eq!(answer.status, 410, "{}", answer.text());
    assert_eq!(answer.json()["error"]["code"], "turn_cancelled");
    let record = gateway
        .audit()
        .wait_for("it", |r| r.event() == "security.turn.cancelled");
    assert_eq!(record.text("turn"), id);
    assert!(!record.text("session").is_empty(), "{record:?}");
    let listed = turns(&gateway, &["list", "--json"]).ok("list").json();
    assert_eq!(listed, json!([]));
}

#[test]
fn an_answer_in_events_that_is_ended_by_hand_says_so_and_is_not_whole() {
    let body = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one \"}}]}\n\n";
    let upstream = Upstream::thinking(move |_, _| Reply::Verbatim {
        status: 200,
        kind: "text/event-stream".into(),
        headers: vec![("content-length".into(), "100000".into())],
        body: body.as_bytes().to_vec(),
    });
    let gateway = Gateway::before(&upstream);
    let mut body = question();
    body["stream"] = json!(true);
    let asked = asking(&gateway, CHAT, &body);
    until("the model is asked", || !upstream.seen().is_empty());
    let _ = turns(&gateway, &["cancel", "--all"]).ok("cancel");
    let answer = asked.join().unwrap();
    assert!(!answer.text().contains("[DONE]"), "{}", answer.text());
}

#[test]
fn ending_every_turn_ends_every_process_they_started() {
    let gateway = gateway();
    let marks = [mark(1), mark(2), mark(3)];
    let asked = marks.each_ref().map(|mark| sleeping(&gateway, mark));
    let ended = turns(&gateway, &["cancel", "--all"]).ok("cancel");
    assert_eq!(ended.out.lines().count(), 3, "{}", ended.out);
    for (asked, mark) in asked.into_iter().zip(&marks) {
        assert_eq!(asked.join().unwrap().status, 410);
        until("its process is gone", || alive(mark) == 0);
    }
    let log = gateway.audit();
    log.wait_for("an end nobody saw", |r| {
        r.event() == "tool.begin" && r.text("outcome") == "abandoned"
    });
    assert_eq!(
        gateway.ask(Call::get("/ready")).status,
        200,
        "the gateway goes on"
    );
}

#[test]
fn a_gateway_that_is_stopped_at_once_leaves_no_process_and_marks_every_turn() {
    let gateway = gateway();
    let marks = [mark(11), mark(12), mark(13)];
    let asked = marks.each_ref().map(|mark| sleeping(&gateway, mark));
    assert_eq!(zygotes(), 1, "there is something to end");
    let stopped = gateway.home.run(&["gateway", "stop", "--now"]).ok("stop");
    assert_eq!(stopped.out.trim(), "stopped", "{}", stopped.err);
    assert_eq!(stopped.err, "", "it did not have to be killed");
    for (asked, mark) in asked.into_iter().zip(&marks) {
        until("its process is gone", || alive(mark) == 0);
        // The answer says so, or the connection is gone.
        let _ = asked.join();
    }
    until("what tools are forked from is gone", || zygotes() == 0);
    let log = gateway.audit();
    assert_eq!(log.of("security.turn.cancelled").len(), 3);
    let begun = log.of("tool.begin");
    let abandoned = begun.iter().filter(|r| r.text("outcome") == "abandoned");
    assert_eq!(abandoned.count(), 3);
    assert!(log.of("gateway.stop")[0].text("reason").contains("at once"));
    let home = gateway.kill();
    assert_eq!(home.run(&["audit", "verify"]).code, 0);
}

#[test]
fn a_gateway_that_is_stopped_in_peace_lets_what_runs_come_to_its_end() {
    let reply = Reply::After(Duration::from_millis(800), Box::new(Reply::say("done")));
    let upstream = Upstream::replying([reply]);
    let gateway = Gateway::before(&upstream);
    let asked = asking(&gateway, CHAT, &question());
    until("the model is asked", || !upstream.seen().is_empty());
    let _ = gateway.home.run(&["gateway", "stop"]).ok("stop");
    assert_eq!(asked.join().unwrap().status, 200);
    assert!(gateway.audit().of("security.turn.cancelled").is_empty());
}

#[test]
fn a_gateway_that_hangs_is_stopped_all_the_same() {
    let gateway = gateway();
    let mark = mark(21);
    let asked = sleeping(&gateway, &mark);
    let pid = rustix::process::Pid::from_raw(i32::try_from(gateway.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let stopped = gateway.home.run(&["gateway", "stop", "--now"]).ok("stop");
    assert!(stopped.err.contains("killed"), "{}", stopped.err);
    until("its process is gone", || alive(&mark) == 0);
    drop(gateway);
    let _ = asked.join();
}

#[test]
fn where_no_gateway_stands_nothing_is_signalled() {
    let home = Home::new();
    assert_eq!(home.run(&["gateway", "stop"]).code, 69);
    // A crash leaves the file behind, and the number in it may be anybody's by now.
    let home = home.start().kill();
    let file = home.path().join("state/gateway.lock");
    let told = std::fs::read_to_string(&file).unwrap();
    let mut told: Value = serde_json::from_str(&told).unwrap();
    let mut bystander = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    told["pid"] = json!(bystander.id());
    std::fs::write(&file, told.to_string()).unwrap();
    assert_eq!(home.run(&["gateway", "stop", "--now"]).code, 69);
    assert!(
        bystander.try_wait().unwrap().is_none(),
        "a bystander was signalled"
    );
    let _ = bystander.kill();
    let _ = bystander.wait();
}

#[test]
fn a_gateway_is_stopped_over_the_api_by_an_admin_only() {
    let gateway = gateway();
    let mark = mark(31);
    let asked = sleeping(&gateway, &mark);
    let other = gateway.home.token("chat,tools,read,audit");
    let stop = |token: &str| {
        Call::post("/gateway/stop", &json!({"now": true}))
            .bearer(token)
            .send(gateway.port)
    };
    assert_eq!(stop(&other).status, 403);
    assert_eq!(alive(&mark), 1);
    assert_eq!(stop(&gateway.token).status, 202);
    until("its process is gone", || alive(&mark) == 0);
    let _ = asked.join();
    gateway
        .audit()
        .wait_for("the stop", |r| r.event() == "gateway.stop");
}

#[test]
fn a_turn_that_waits_is_ended_by_hand_and_its_approval_is_void() {
    let upstream = Upstream::replying([Reply::call(
        "write_file",
        &json!({"path": "a", "content": "x"}),
    )]);
    let home = Home::with_upstream(&upstream);
    home.set("gateway.tools.allowList", r#"["write_file"]"#);
    let gateway = home.start();
    let answer = gateway.post(CHAT, &question());
    let turn = answer.header("clawdbot-turn").unwrap().to_owned();
    let approval = answer.json()["clawdbot"]["approval"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let listed = turns(&gateway, &["list", "--json"]).ok("list").json();
    assert_eq!(
        (&listed[0]["id"], &listed[0]["state"]),
        (&json!(turn), &json!("waiting"))
    );
    let _ = turns(&gateway, &["cancel", &turn]).ok("cancel");
    assert_eq!(
        gateway.home.run(&["approvals", "approve", &approval]).code,
        77
    );
    let resumed = gateway.post(&format!("/turns/{turn}/resume"), &json!({}));
    assert_eq!(resumed.status, 404, "{}", resumed.text());
    let state = gateway.ask(Call::get(&format!("/turns/{turn}"))).json()["state"].clone();
    assert_eq!(state, "cancelled");
    gateway.audit().wait_for("it", |r| {
        r.event() == "security.turn.cancelled" && r.text("turn") == turn
    });
}
