//! A person's yes: for one call to the byte, of one token, in one session, once, for five minutes.

mod always;
mod terminal;
mod turns;

use serde_json::{Value, json};
use testkit::{Answer, Call, Gateway, Home, Reply, Upstream};

const CHAT: &str = "/v1/chat/completions";
const INVOKE: &str = "/tools/invoke";

fn restrictive(home: Home) -> Gateway {
    home.set("gateway.tools.allowList", r#"["read_file", "write_file"]"#);
    home.start()
}

fn write(content: &str) -> Value {
    json!({"name": "write_file", "arguments": {"path": "out.txt", "content": content}})
}

fn with(mut call: Value, approval: &str) -> Value {
    call["approval"] = json!(approval);
    call
}

fn written(gateway: &Gateway) -> Option<String> {
    std::fs::read_to_string(gateway.home.workspace().join("out.txt")).ok()
}

/// The id of the approval that a call waits for.
fn waits(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{}", answer.text());
    let body = answer.json();
    let approval = body
        .pointer("/approval/id")
        .or(body.pointer("/clawdbot/approval/id"));
    approval.and_then(Value::as_str).unwrap().to_owned()
}

fn approve(gateway: &Gateway, id: &str) {
    let _ = gateway
        .home
        .run(&["approvals", "approve", id])
        .ok("approve");
}

fn code(answer: &Answer) -> String {
    answer.json()["error"]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// A model that proposes to write a file, and reports what it was told.
fn writer() -> Upstream {
    Upstream::thinking(|seen, _| {
        let body = seen.json();
        let last = body["messages"]
            .as_array()
            .and_then(|m| m.last())
            .cloned()
            .unwrap_or_default();
        if last["role"] == "tool" {
            return Reply::say(&format!(
                "I heard: {}",
                last["content"].as_str().unwrap_or_default()
            ));
        }
        Reply::call("write_file", &json!({"path": "out.txt", "content": "x"}))
    })
}

fn question() -> Value {
    json!({"model": "clawdbot/main", "messages": [{"role": "user", "content": "write it"}]})
}

#[test]
fn a_call_that_needs_a_person_waits_runs_once_after_a_yes_and_each_step_is_in_the_log() {
    let gateway = restrictive(Home::new());
    let asked = gateway.post(INVOKE, &write("x"));
    let id = waits(&asked);
    assert_eq!(
        asked.header("location"),
        Some(format!("/approvals/{id}").as_str())
    );
    assert_eq!(
        waits(&gateway.post(INVOKE, &write("x"))),
        id,
        "the same call is asked about once"
    );
    assert_eq!(
        waits(&gateway.post(INVOKE, &with(write("x"), &id))),
        id,
        "not decided yet"
    );
    assert_eq!(written(&gateway), None);
    let polled = gateway.ask(Call::get(&format!("/approvals/{id}")));
    assert_eq!(polled.json()["state"], "waiting");
    let listed = gateway
        .home
        .run(&["approvals", "list", "--json"])
        .ok("list")
        .json();
    assert_eq!(
        listed[0]["arguments"],
        r#"{"content":"x","path":"out.txt"}"#
    );
    approve(&gateway, &id);
    let ran = gateway.post(INVOKE, &with(write("x"), &id));
    assert_eq!(ran.status, 200, "{}", ran.text());
    assert_eq!(written(&gateway).as_deref(), Some("x"));
    let again = gateway.post(INVOKE, &with(write("x"), &id));
    assert_eq!(
        (again.status, code(&again).as_str()),
        (403, "approval_refused"),
        "{}",
        again.text()
    );
    let log = gateway.audit();
    for event in [
        "security.approval.requested",
        "security.approval.given",
        "tool.begin",
        "security.approval.refused",
    ] {
        let record = log.wait_for(event, |r| r.event() == event);
        assert_eq!(record.text("approval"), id, "{event}");
    }
    let order = log.records();
    let at = |event: &str| order.iter().position(|r| r.event() == event).unwrap();
    assert!(at("security.approval.requested") < at("security.approval.given"));
    assert!(at("security.approval.given") < at("tool.begin"));
}

#[test]
fn an_approval_is_good_for_nothing_but_its_very_call() {
    let gateway = restrictive(Home::new());
    let id = waits(&gateway.post(INVOKE, &write("x")));
    approve(&gateway, &id);
    for other in [
        write("y"),
        write("x "),
        json!({"name": "write_file", "arguments": {"path": "./out.txt", "content": "x"}}),
    ] {
        let refused = gateway.post(INVOKE, &with(other, &id));
        assert_eq!(
            (refused.status, code(&refused).as_str()),
            (403, "approval_refused")
        );
    }
    // Another token, which may call tools as well.
    let token = gateway.home.token("tools,admin");
    let refused = Call::post(INVOKE, &with(write("x"), &id))
        .bearer(&token)
        .send(gateway.port);
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (404, "no_such_approval")
    );
    let polled = Call::get(&format!("/approvals/{id}"))
        .bearer(&token)
        .send(gateway.port);
    assert_eq!(polled.status, 404, "whose call it is not is told nothing");
    // Another session.
    let hello =
        json!({"model": "clawdbot/main", "messages": [{"role": "user", "content": "hello"}]});
    let session = gateway.post(CHAT, &hello);
    let session = session.header("clawdbot-session").unwrap();
    let call = Call::post(INVOKE, &with(write("x"), &id)).header("clawdbot-session", session);
    let refused = gateway.ask(call);
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (404, "no_such_approval")
    );
    // One that never was, and one that is no id.
    for none in ["apr_000000000000000000000000", "", "../x"] {
        let refused = gateway.post(INVOKE, &with(write("x"), none));
        assert_eq!(refused.status, 404, "{}", refused.text());
    }
    assert_eq!(written(&gateway), None);
    // Keys in another order are the same call.
    let body = format!(
        r#"{{"approval": "{id}", "name": "write_file", "arguments": {{"content": "x", "path": "out.txt"}}}}"#
    );
    let ran = gateway.ask(Call::post_bytes(INVOKE, body.as_bytes()));
    assert_eq!(ran.status, 200, "{}", ran.text());
}

#[test]
fn an_approval_of_a_session_counts_in_that_session_only() {
    let gateway = restrictive(Home::new());
    let hello =
        json!({"model": "clawdbot/main", "messages": [{"role": "user", "content": "hello"}]});
    let session = gateway.post(CHAT, &hello);
    let session = session.header("clawdbot-session").unwrap().to_owned();
    let here =
        |body: &Value| gateway.ask(Call::post(INVOKE, body).header("clawdbot-session", &session));
    let id = waits(&here(&write("x")));
    approve(&gateway, &id);
    assert_eq!(gateway.post(INVOKE, &with(write("x"), &id)).status, 404);
    assert_eq!(here(&with(write("x"), &id)).status, 200);
    // With its session ends what waits in it.
    let id = waits(&here(&write("y")));
    let _ = gateway.home.run(&["sessions", "end", &session]).ok("end");
    assert_eq!(gateway.home.run(&["approvals", "approve", &id]).code, 77);
}

#[test]
fn a_no_is_a_no_and_asking_again_reaches_nobody() {
    let gateway = restrictive(Home::new());
    let id = waits(&gateway.post(INVOKE, &write("x")));
    let _ = gateway.home.run(&["approvals", "deny", &id]).ok("deny");
    for body in [write("x"), with(write("x"), &id)] {
        let refused = gateway.post(INVOKE, &body);
        assert_eq!(refused.status, 403, "{}", refused.text());
    }
    let listed = gateway
        .home
        .run(&["approvals", "list", "--json"])
        .ok("list")
        .json();
    assert_eq!(listed, json!([]), "nobody is asked a second time");
    assert_eq!(
        gateway.home.run(&["approvals", "approve", &id]).code,
        77,
        "what is decided is decided"
    );
    assert_eq!(written(&gateway), None);
}

#[test]
fn who_asks_cannot_say_yes_and_an_admin_can_over_the_api() {
    let gateway = restrictive(Home::new());
    let caller = gateway.home.token("chat,tools,read");
    let admin = gateway.home.token("admin");
    let ask = |body: &Value| Call::post(INVOKE, body).bearer(&caller).send(gateway.port);
    let id = waits(&ask(&write("x")));
    let decide = |token: &str, what: &str| {
        let path = format!("/approvals/{id}/{what}");
        Call::post(&path, &json!({}))
            .bearer(token)
            .send(gateway.port)
    };
    assert_eq!(decide(&caller, "approve").status, 403);
    let listed = Call::get("/approvals").bearer(&caller).send(gateway.port);
    assert_eq!(listed.status, 403);
    let listed = Call::get("/approvals").bearer(&admin).send(gateway.port);
    assert_eq!(listed.json()["data"][0]["id"], id.as_str());
    let given = decide(&admin, "approve");
    assert_eq!(
        (given.status, given.json()["state"].as_str()),
        (200, Some("given")),
        "{}",
        given.text()
    );
    assert_eq!(decide(&admin, "deny").status, 403, "it is decided");
    assert_eq!(ask(&with(write("x"), &id)).status, 200);
    let record = gateway.audit().of("security.approval.given").remove(0);
    assert!(admin.contains(record.text("actor")) && !record.text("actor").is_empty());
    assert!(caller.contains(record.text("requested_by")));
}

#[test]
fn an_approval_lifts_no_denial() {
    let gateway = restrictive(Home::new());
    let id = waits(&gateway.post(INVOKE, &write("x")));
    approve(&gateway, &id);
    gateway
        .home
        .set("gateway.tools.denyList", r#"["write_file"]"#);
    let give_up = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let answer = gateway.post(INVOKE, &write("other"));
        if answer.status == 403 {
            break;
        }
        assert!(
            std::time::Instant::now() < give_up,
            "the setting was not taken up"
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let refused = gateway.post(INVOKE, &with(write("x"), &id));
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (403, "tool_denied"),
        "{}",
        refused.text()
    );
    assert_eq!(written(&gateway), None);
}

#[test]
fn what_a_screen_would_hide_is_written_out_where_a_person_decides() {
    let gateway = restrictive(Home::new());
    let content = "rm \u{202e}txt.exe\u{200b} \u{1b}[2K раyload";
    let id = waits(&gateway.post(INVOKE, &write(content)));
    let shown = gateway.home.run(&["approvals", "show", &id]).ok("show").out;
    let listed = gateway.home.run(&["approvals", "list"]).ok("list").out;
    let api = gateway.ask(Call::get("/approvals")).json()["data"][0]["arguments"].clone();
    for text in [&shown, &listed, api.as_str().unwrap()] {
        assert!(text.contains(r"rm \u202etxt.exe\u200b \u001b[2K"), "{text}");
        assert!(
            !text.chars().any(|c| "\u{202e}\u{200b}\u{1b}".contains(c)),
            "{text:?}"
        );
    }
    assert!(
        shown.contains("U+0440"),
        "look-alike letters are named: {shown}"
    );
}

/// Two people, one question, one moment: one of them is heard, and the other is told so.
#[test]
fn of_a_yes_and_a_no_at_the_same_moment_exactly_one_is_a_decision() {
    let home = Home::new();
    home.set("gateway.security.rateLimit.enabled", "false");
    let gateway = restrictive(home);
    let people = [gateway.home.token("admin"), gateway.home.token("admin")];
    let mut heard = [0, 0];
    for round in 0..50 {
        let call = write(&format!("{round}"));
        let id = waits(&gateway.post(INVOKE, &call));
        let start = std::sync::Barrier::new(2);
        let decide = |who: usize, what: &str| {
            let path = format!("/approvals/{id}/{what}");
            let call = Call::post(&path, &json!({})).bearer(&people[who]);
            start.wait();
            call.send(gateway.port).status
        };
        let (no, yes) = std::thread::scope(|threads| {
            let yes = threads.spawn(|| decide(0, "approve"));
            (decide(1, "deny"), yes.join().unwrap())
        });
        assert!(
            matches!((yes, no), (200, 403) | (403, 200)),
            "round {round}: yes {yes}, no {no}"
        );
        heard[usize::from(no == 200)] += 1;
        let acted = [(); 2].map(|()| gateway.post(INVOKE, &with(call.clone(), &id)).status);
        let expected = if yes == 200 { [200, 403] } else { [403, 403] };
        assert_eq!(acted, expected, "round {round}");
        let done = |event: &str| {
            let ended = gateway.audit().of(event).into_iter();
            let mut ended = ended.filter(|r| r.text("approval") == id);
            ended.any(|r| r.text("outcome") == "ok")
        };
        let (mut record, mut other) = ("security.approval.given", "security.approval.denied");
        if no == 200 {
            (record, other) = (other, record);
        }
        gateway.audit().wait_for(record, |r| {
            r.event() == record && r.text("approval") == id && r.text("outcome") == "ok"
        });
        assert!(
            !done(other),
            "round {round}: what was not decided is no decision in the log"
        );
    }
    println!("heard: yes {}, no {}", heard[0], heard[1]);
}
