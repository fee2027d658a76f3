//! The command line: what it prints, where, and with which exit code.

use serde_json::Value;
use testkit::{Gateway, Home, Upstream};

#[test]
fn one_command_answers_out_of_the_box() {
    let home = Home::new();
    let ran = home.run(&["up", "--once", "list the files"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(
        !ran.out.trim().is_empty(),
        "the answer is on standard output: {}",
        ran.err
    );
    let begun = home.audit().of("model.begin");
    assert!(!begun.is_empty(), "what was asked is on record");
}

#[test]
fn a_tool_runs_out_of_the_box_only_when_it_is_allowed() {
    let refused = Home::new();
    let _ = refused.run(&["up", "--once", "list the files"]);
    assert!(
        refused.audit().of("tool.begin").is_empty(),
        "nothing runs by default"
    );
    assert_eq!(refused.audit().of("security.tool.denied").len(), 1);
    let allowed = Home::new();
    let ran = allowed.run(&[
        "up",
        "--once",
        "list the files",
        "--allow",
        "list_directory",
    ]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(
        allowed.audit().of("tool.begin").len(),
        1,
        "{}{}",
        ran.out,
        ran.err
    );
    let stored = allowed
        .run(&["config", "get", "gateway.tools.allowList"])
        .ok("config get");
    assert_eq!(stored.out.trim(), "[]", "--allow holds for one run only");
}

#[test]
fn exit_codes_follow_sysexits() {
    let home = Home::new();
    for (args, code) in [
        (&["--version"][..], 0),
        (&["no-such-command"], 64),
        (&["config", "set", "gateway.port", "ten"], 65),
        (&["config", "set", "gateway.sandbox.mod", "strict"], 64),
        (&["status", "--port", "1"], 69),
        (&["tools", "check", "read_file"], 77),
    ] {
        let ran = home.run(args);
        assert_eq!(ran.code, code, "{args:?}: {}{}", ran.out, ran.err);
        assert!(
            code == 0 || !ran.err.is_empty() || !ran.out.is_empty(),
            "{args:?} says why"
        );
    }
}

#[test]
fn a_corrupt_settings_file_stops_the_start_and_is_left_as_it_is() {
    let home = Home::new();
    std::fs::create_dir_all(home.path().join("config")).unwrap();
    let file = home.path().join("config/gateway.json");
    for corrupt in [
        "",
        "{",
        "{\"gateway\": 7}",
        "{\"gateway\": {\"bnid\": \"lan\"}}",
        "\u{0}\u{0}",
    ] {
        std::fs::write(&file, corrupt).unwrap();
        let ran = home.run(&["gateway", "--port", "0"]);
        assert_eq!(ran.code, 78, "{corrupt:?}: {}", ran.err);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), corrupt);
    }
}

#[test]
fn a_home_that_cannot_be_made_is_named_with_a_way_out() {
    let home = Home::new();
    let file = home.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("home");
    let mut up = std::process::Command::new(testkit::binary::clawdbot());
    let up = up.arg("--home").arg(&below).args(["up", "--once", "hi"]);
    let up = up.output().unwrap();
    let said = String::from_utf8_lossy(&up.stderr);
    assert_eq!(up.status.code(), Some(73), "{said}");
    assert!(said.contains(below.to_str().unwrap()), "{said}");
    assert!(said.contains("--home DIR"), "{said}");
}

/// A token is shown once and an export is evidence: neither may be lost on a full disk and look well.
#[test]
fn an_answer_that_a_full_disk_swallows_is_no_success_and_a_reader_that_left_is_no_failure() {
    let home = Home::new();
    let _ = home.token("read");
    for args in [
        &["tokens", "create", "--name", "lost", "--scopes", "read"][..],
        &["audit", "export", "--format", "jsonl"],
        &["audit", "query"],
        &["config", "list"],
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let ran = home.command().args(args).stdout(full.unwrap()).output();
        let ran = ran.unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(74), "{args:?}: {said}");
        assert!(said.contains("No space left"), "{args:?}: {said}");
        // The reading end is gone before a byte is written.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let gone = home.command().args(args).stdout(writer).output().unwrap();
        assert_eq!(gone.status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn a_misspelt_key_is_refused_and_the_nearest_one_named() {
    let ran = Home::new().run(&["config", "set", "gateway.sandbox.enable", "false"]);
    assert_eq!(ran.code, 64, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("gateway.sandbox.enabled"), "{}", ran.err);
}

#[test]
fn the_settings_of_the_guide_can_be_set_and_read_back() {
    let home = Home::new();
    for (key, value) in [
        ("gateway.sandbox.mode", "strict"),
        ("gateway.sandbox.allowedCommands", "[]"),
        ("gateway.bind", "localhost"),
        ("gateway.cors.enabled", "false"),
        ("gateway.security.rateLimit.maxRequests", "100"),
        ("gateway.security.rateLimit.windowMs", "60000"),
        ("gateway.audit.logLevel", "info"),
        ("gateway.audit.maxLogSize", "100"),
        ("gateway.audit.maxLogFiles", "10"),
        ("gateway.tools.policy", "restrictive"),
        ("gateway.tools.allowList", "[]"),
    ] {
        home.set(key, value);
        let read = home.run(&["config", "get", key]).ok(key);
        assert_eq!(read.out.trim(), value, "{key}");
    }
}

#[test]
fn a_changed_setting_reaches_a_running_gateway() {
    let home = Home::new();
    home.set("gateway.security.rateLimit.maxRequests", "100000");
    let gateway = home.start();
    let read = || {
        gateway
            .invoke("read_file", &serde_json::json!({"path": "notes.txt"}))
            .status
    };
    assert_eq!(read(), 403);
    gateway
        .home
        .set("gateway.tools.allowList", r#"["read_file"]"#);
    let allowed = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        read() == 200
    });
    assert!(allowed, "the allow list was not taken in");
    gateway.home.set("gateway.tools.allowList", "[]");
    let denied = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        read() == 403
    });
    assert!(denied, "the emptied allow list was not taken in");
}

#[test]
fn tools_check_tells_the_verdict_and_the_running_gateway_agrees() {
    let home = Home::new();
    home.set("gateway.tools.allowList", r#"["read_file", "write_file"]"#);
    for (tool, code) in [("read_file", 0), ("write_file", 69), ("list_directory", 77)] {
        let ran = home.run(&["tools", "check", tool, "--json"]);
        assert_eq!(ran.code, code, "{tool}: {}{}", ran.out, ran.err);
        assert!(ran.json().is_object(), "{}", ran.out);
    }
    let gateway = home.start();
    let status = |tool: &str, arguments: Value| gateway.invoke(tool, &arguments).status;
    assert_eq!(
        status("read_file", serde_json::json!({"path": "notes.txt"})),
        200
    );
    assert_eq!(
        status(
            "write_file",
            serde_json::json!({"path": "x", "content": "y"})
        ),
        202,
        "it waits for a person"
    );
    assert_eq!(
        status("list_directory", serde_json::json!({"path": "."})),
        403
    );
}

#[test]
fn lists_are_json_when_asked_for() {
    let home = Home::new();
    for args in [
        &["config", "list", "--json"][..],
        &["tools", "list", "--json"],
        &["tokens", "list", "--json"],
        &["models", "auth", "list", "--json"],
        &["models", "list-providers", "--json"],
    ] {
        let ran = home.run(args).ok(&args.join(" "));
        let json = ran.json();
        assert!(json.is_array() || json.is_object(), "{args:?}: {}", ran.out);
    }
}

#[test]
fn a_credential_is_never_shown_again() {
    let upstream = Upstream::saying("hi");
    let home = Home::with_upstream(&upstream);
    let key = testkit::gateway::UPSTREAM_KEY;
    let listed = home.run(&["models", "auth", "list"]).ok("models auth list");
    assert!(
        listed.out.contains("openai") && !listed.out.contains(key),
        "{}",
        listed.out
    );
    for folder in ["state", "secrets", "config", "logs"] {
        for entry in std::fs::read_dir(home.path().join(folder))
            .unwrap()
            .flatten()
        {
            let bytes = std::fs::read(entry.path()).unwrap_or_default();
            let found = bytes
                .windows(key.len())
                .any(|window| window == key.as_bytes());
            assert!(
                !found,
                "{} holds the key in the clear",
                entry.path().display()
            );
        }
    }
    let _ = home
        .run(&["models", "auth", "reset", "--provider", "openai"])
        .ok("models auth reset");
    let listed = home
        .run(&["models", "auth", "list", "--json"])
        .ok("models auth list");
    assert!(!listed.out.contains("openai"), "{}", listed.out);
}

#[test]
fn status_tells_of_a_running_gateway() {
    let gateway = Home::new().start();
    let port = gateway.port.to_string();
    let ran = gateway
        .home
        .run(&["status", "--port", &port, "--json"])
        .ok("status");
    assert_eq!(ran.json()["parts"]["audit"], "ok");
}

#[test]
fn the_log_of_a_used_gateway_verifies_and_a_changed_one_does_not() {
    let upstream = Upstream::saying("hi");
    let gateway = Gateway::before(&upstream);
    assert_eq!(gateway.turn("hello").status, 200);
    let (_, home) = gateway.stop();
    let _ = home.run(&["audit", "verify"]).ok("audit verify");
    let logs = std::fs::read_dir(home.path().join("logs"))
        .unwrap()
        .flatten();
    let segment = logs
        .map(|e| e.path())
        .find(|p| p.extension().is_some_and(|e| e == "jsonl"));
    let segment = segment.expect("there is a segment");
    let text = std::fs::read_to_string(&segment).unwrap();
    std::fs::write(
        &segment,
        text.replacen("\"model.begin\"", "\"model.bogus\"", 1),
    )
    .unwrap();
    let ran = home.run(&["audit", "verify"]);
    assert!(
        ran.code != 0,
        "a changed record went unnoticed: {}{}",
        ran.out,
        ran.err
    );
}

#[test]
fn health_needs_no_token_and_says_whether_every_control_works() {
    let home = Home::new();
    let nobody = home.run(&["health", "--port", "1"]);
    assert_eq!(nobody.code, 69, "{}{}", nobody.out, nobody.err);
    let gateway = home.start();
    let port = gateway.port.to_string();
    let ask = || gateway.home.run(&["health", "--port", &port]);
    let well = ask().ok("health");
    assert_eq!(well.json()["ready"], true);
    std::fs::rename(
        gateway.home.path().join("secrets/operator.token"),
        gateway.home.path().join("elsewhere"),
    )
    .unwrap();
    let _ = ask().ok("health without a token");
    gateway
        .home
        .set_accepting_the_risk("gateway.sandbox.enabled", "false");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while ask().code != 1 {
        assert!(std::time::Instant::now() < until, "it is still well");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(ask().json()["parts"]["sandbox"], false);
}

#[test]
fn a_second_gateway_of_a_home_is_refused_on_every_port_and_the_rest_goes_on() {
    let gateway = Home::new().start();
    for second in [&["gateway", "--port", "0"][..], &["up", "--port", "0"]] {
        let mut command = gateway.home.command();
        let refused = command.args(second).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(69), "{second:?}: {said}");
        assert!(
            said.contains("serves") && said.contains("already"),
            "{said}"
        );
        assert!(
            said.contains("clawdbot gateway stop"),
            "how to mend it: {said}"
        );
    }
    let _ = gateway.home.run(&["up", "--once", "hello"]).ok("up --once");
    let _ = gateway.home.run(&["tokens", "list"]).ok("tokens list");
    assert_eq!(testkit::Call::get("/ready").send(gateway.port).status, 200);
    // A crash leaves nothing that stands in the way.
    let again = gateway.kill().start();
    let (code, home) = again.stop();
    assert_eq!(code, 0);
    let _ = home.start();
}
