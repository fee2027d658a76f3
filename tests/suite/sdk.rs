//! The official SDKs, with nothing changed but base URL and key.

use serde_json::{Value, json};
use std::process::Command;
use testkit::{Gateway, Home, Reply, Seen, Upstream, binary};

/// What the models of the scripts do, by name.
fn brain(seen: &Seen, _nth: usize) -> Reply {
    let body = seen.json();
    let model = body["model"].as_str().unwrap_or_default();
    if let Some(status) = model.strip_prefix("fail-") {
        return Reply::fail(status.parse().expect("fail-<status>"));
    }
    if model == "echo" {
        // An answer that repeats the gateway's credential does not come through.
        let headers = seen
            .headers
            .iter()
            .filter(|(_, value)| !value.contains(testkit::gateway::UPSTREAM_KEY))
            .map(|(n, v)| (n.clone(), Value::from(v.as_str())));
        let told = json!({
            "target": seen.target, "headers": headers.collect::<serde_json::Map<_, _>>(), "body": body,
        });
        return Reply::say(&told.to_string());
    }
    let messages = body["messages"].to_string();
    if messages.contains("tool_call_id") || messages.contains("tool_result") {
        let marker = messages.contains("plum-17");
        return Reply::say(if marker {
            "the tool said plum-17"
        } else {
            "the tool said something else"
        });
    }
    if messages.contains("use the tool") {
        return Reply::call("read_file", &json!({"path": "hello.txt"}));
    }
    Reply::say("hello from the mock")
}

fn python() -> std::path::PathBuf {
    let python = std::env::var_os("CLAWDBOT_PYTHON").map_or_else(
        || binary::checkout().join(".venv/bin/python"),
        std::path::PathBuf::from,
    );
    assert!(
        python.is_file(),
        "the SDKs are not installed ({} is missing); install them: python3 -m venv .venv && \
         .venv/bin/pip install -r tests/python/requirements.txt",
        python.display()
    );
    python
}

fn script_passes(script: &str) {
    let python = python();
    let upstream = Upstream::thinking(brain);
    let home = Home::with_upstream(&upstream);
    home.set("gateway.tools.allowList", r#"["read_file"]"#);
    let gateway: Gateway = home.start();
    std::fs::write(
        gateway.home.workspace().join("hello.txt"),
        "the marker is plum-17",
    )
    .unwrap();
    let ran = Command::new(python)
        .arg(binary::checkout().join("tests/python").join(script))
        .env("GATEWAY_URL", format!("http://127.0.0.1:{}", gateway.port))
        .env("GATEWAY_TOKEN", &gateway.token)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python starts");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    println!("{}", said(&ran.stdout));
    assert!(
        ran.status.success(),
        "{script}:\n{}{}",
        said(&ran.stdout),
        said(&ran.stderr)
    );
    assert!(
        said(&ran.stdout).contains(" claims hold"),
        "{script} made no claim"
    );
}

#[test]
fn openais_python_sdk_works_unchanged() {
    script_passes("openai_sdk.py");
}

#[test]
fn anthropics_python_sdk_works_unchanged() {
    script_passes("anthropic_sdk.py");
}
