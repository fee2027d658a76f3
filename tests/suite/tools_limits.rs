//! A token or an agent may be made for fewer tools. That takes away, and never adds.

use serde_json::{Value, json};
use testkit::{Call, Gateway, Home, Reply, Upstream, token_id};

/// A gateway whose policy allows reads and writes, and whose model proposes a write and then a read.
fn gateway(settings: &[(&str, &str)]) -> (Gateway, Upstream) {
    let upstream = Upstream::thinking(|_, before| match before % 2 {
        0 => Reply::calls([
            (
                "write_file",
                json!({"path": "made", "content": "x"}).to_string(),
            ),
            ("list_directory", json!({}).to_string()),
        ]),
        _ => Reply::say("done"),
    });
    let home = Home::with_upstream(&upstream);
    home.set("gateway.tools.policy", "whitelist");
    home.set(
        "gateway.tools.allowList",
        r#"["write_file", "list_directory"]"#,
    );
    for (key, value) in settings {
        home.set(key, value);
    }
    (home.start(), upstream)
}

fn turn(gateway: &Gateway, token: &str) -> u16 {
    let messages = json!([{"role": "user", "content": "go"}]);
    let body = json!({"model": "clawdbot/main", "messages": messages});
    let call = Call::post("/v1/chat/completions", &body).bearer(token);
    call.send(gateway.port).status
}

fn invoke(gateway: &Gateway, token: &str, name: &str, arguments: &Value) -> (u16, Value) {
    let body = json!({"name": name, "arguments": arguments});
    let answer = Call::post("/tools/invoke", &body)
        .bearer(token)
        .send(gateway.port);
    (answer.status, answer.json())
}

/// The names of the tools that the model was offered in its last request.
fn offered(upstream: &Upstream) -> Vec<String> {
    let asked = upstream.seen().pop().expect("the model was asked").json();
    let tools = asked["tools"].as_array().cloned().unwrap_or_default();
    let name = |tool: &Value| tool["function"]["name"].as_str().map(str::to_owned);
    tools.iter().filter_map(name).collect()
}

#[test]
fn a_token_made_for_one_tool_uses_no_other_by_hand_or_through_a_model() {
    let (gateway, upstream) = gateway(&[]);
    let narrow = gateway.home.token_for_tools("list_directory");
    let made = gateway.home.workspace().join("made");
    assert_eq!(turn(&gateway, &narrow), 200);
    assert!(!made.exists(), "a model wrote for a token that may not");
    assert_eq!(offered(&upstream), ["list_directory"]);
    let write = json!({"path": "made", "content": "x"});
    let (status, said) = invoke(&gateway, &narrow, "write_file", &write);
    assert_eq!(
        (status, &said["error"]["code"]),
        (403, &json!("tool_denied"))
    );
    assert_eq!(said["error"]["rules"][0]["rule"], "token.tools", "{said}");
    assert_eq!(
        invoke(&gateway, &narrow, "list_directory", &json!({})).0,
        200
    );
    // A tool that policy does not allow is not allowed by being on the list.
    let wider = gateway.home.token_for_tools("read_file,write_file");
    let (status, said) = invoke(&gateway, &wider, "read_file", &json!({"path": "notes.txt"}));
    assert_eq!(status, 403, "{said}");
    // A token that takes the place of another has its limit.
    let rotated = gateway.home.run(&["tokens", "rotate", token_id(&narrow)]);
    let rotated = rotated.ok("tokens rotate").out.trim().to_owned();
    assert_eq!(invoke(&gateway, &rotated, "write_file", &write).0, 403);
    assert!(!made.exists());
    // And the control: the same calls with a token without a limit.
    let free = gateway.home.token("chat,tools");
    assert_eq!(turn(&gateway, &free), 200);
    assert!(made.exists(), "what is allowed does run");
    assert!(offered(&upstream).len() > 2);
    let denied = gateway.audit().of("security.tool.denied");
    let rules = denied.iter().map(|r| r.get("rules").to_string());
    assert!(rules.filter(|r| r.contains("token.tools=deny")).count() >= 3);
}

#[test]
fn an_agent_has_fewer_tools_than_its_operator_and_takes_a_change_while_it_runs() {
    let (gateway, upstream) = gateway(&[("agents.main.tools", r#"["list_directory"]"#)]);
    let made = gateway.home.workspace().join("made");
    let token = gateway.token.clone();
    assert_eq!(turn(&gateway, &token), 200);
    assert!(!made.exists(), "the agent wrote");
    assert_eq!(offered(&upstream), ["list_directory"]);
    // A call by hand is not the agent's.
    let write = json!({"path": "by-hand", "content": "x"});
    assert_eq!(invoke(&gateway, &token, "write_file", &write).0, 200);
    gateway.home.set("agents.main.tools", r#"["*"]"#);
    for _ in 0..100 {
        let _ = turn(&gateway, &token);
        if made.exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the change was not taken up");
}

#[test]
fn a_misspelt_tool_makes_no_token_and_the_nearest_is_named() {
    let (gateway, _upstream) = gateway(&[]);
    let home = &gateway.home;
    let args = ["tokens", "create", "--name", "x", "--tools", "read_fil"];
    let ran = home.run(&args);
    assert_eq!(ran.code, 64, "{}", ran.err);
    assert!(ran.err.contains("read_file"), "{}", ran.err);
    for tools in [
        "",
        "read_file,",
        "*",
        "READ_FILE",
        "read_file list_directory",
    ] {
        let ran = home.run(&["tokens", "create", "--name", "x", "--tools", tools]);
        assert_eq!((ran.code, ran.out.as_str()), (64, ""), "{tools:?}");
    }
    let create = |tools: Value| {
        let body = json!({"name": "x", "scopes": ["tools"], "tools": tools});
        gateway.post("/tokens", &body)
    };
    let refused = create(json!(["read_fil"]));
    assert_eq!(refused.status, 404);
    assert_eq!(create(json!(["Read File"])).status, 400);
    assert!(refused.text().contains("read_file"), "{}", refused.text());
    assert_eq!(create(json!([])).status, 400);
    let made = create(json!(["read_file", "list_directory"]));
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.json()["tools"], json!(["list_directory", "read_file"]));
    let ran = home.run(&["config", "set", "agents.main.tools", r#"["read_fil"]"#]);
    assert_eq!(ran.code, 65, "{}", ran.err);
    assert!(ran.err.contains("is read_file meant?"), "{}", ran.err);
}

#[test]
fn the_command_line_explains_a_limit_before_anybody_runs_into_it() {
    let (gateway, _upstream) = gateway(&[("agents.main.tools", r#"["read_file", "write_file"]"#)]);
    let home = &gateway.home;
    let narrow = home.token_for_tools("list_directory");
    let check = |args: &[&str]| {
        let args = [&["tools", "check"], args].concat();
        let ran = home.run(&args);
        (ran.code, ran.out)
    };
    let (code, said) = check(&["write_file", "--token", token_id(&narrow)]);
    assert_eq!(code, 77, "{said}");
    assert!(said.contains("token.tools") && said.contains("--tools list_directory,write_file"));
    let (code, said) = check(&["list_directory"]);
    assert_eq!(code, 77, "{said}");
    assert!(said.contains("agents.tools") && said.contains("config set agents.main.tools"));
    let (code, said) = check(&["list_directory", "--token", token_id(&narrow), "--by-hand"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(check(&["list_directory", "--token", "nobody"]).0, 65);
    let listed = home.run(&["tools", "list", "--json", "--token", token_id(&narrow)]);
    let listed = listed.ok("tools list").json();
    let denied = |row: &&Value| row["verdict"] == "deny";
    let rows = listed.as_array().unwrap();
    assert_eq!(rows.iter().filter(denied).count(), rows.len(), "{listed}");
    let tokens = home.run(&["tokens", "list", "--json"]).ok("list").json();
    let is = |row: &&Value| row["id"] == token_id(&narrow);
    let row = tokens.as_array().unwrap().iter().find(is).unwrap();
    assert_eq!(row["tools"], json!(["list_directory"]));
}
