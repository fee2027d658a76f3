//! A secret is planted in every place that one can stand in, and then everything that is left behind
//! is searched for it.

use serde_json::json;
use std::path::Path;
use testkit::{Call, Gateway, Home, Reply, Upstream};

/// Texts, and where each was found.
struct Search {
    canaries: Vec<(&'static str, String)>,
    hits: Vec<String>,
}

impl Search {
    fn bytes(&mut self, place: &str, bytes: &[u8]) {
        for (slot, canary) in &self.canaries {
            let needle = canary.as_bytes();
            if bytes.windows(needle.len()).any(|window| window == needle) {
                self.hits.push(format!("the {slot} is in {place}"));
            }
        }
    }

    /// Every file below, but for what a test itself put there.
    fn folder(&mut self, folder: &Path, skip: &[&Path]) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if skip.contains(&path.as_path()) {
                continue;
            }
            if path.is_dir() {
                self.folder(&path, skip);
            } else {
                let place = path.display().to_string();
                self.bytes(&place, &std::fs::read(&path).unwrap_or_default());
            }
        }
    }

    /// The command lines and environments of a process and all that it started.
    fn process(&mut self, pid: u32) {
        for file in ["cmdline", "environ"] {
            let path = format!("/proc/{pid}/{file}");
            // Nobody but root may read the memory of a gateway, its environment included.
            let bytes = std::fs::read(&path).unwrap_or_default();
            self.bytes(&path, &bytes);
        }
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|c| c.parse().ok()) {
            self.process(child);
        }
    }
}

/// The secret half of a token: the public id may be anywhere.
fn secret_half(token: &str) -> String {
    let (_, secret) = token.split_once('.').expect("id.secret");
    secret.to_owned()
}

fn shaped(slot: &str) -> String {
    format!("sk-canary-{slot}-0123456789abcdef0123")
}

const PROVIDER_KEY: &str = "plain0provider0key0without0any0shape";

/// Uses a gateway at its most talkative, with a secret in every slot.
fn used(search: &mut Search) -> Gateway {
    let echo = format!("your key is {PROVIDER_KEY} and {}", shaped("model"));
    let upstream = Upstream::thinking(move |_, n| match n % 4 {
        0 => Reply::call("read_file", &json!({"path": "canary.txt"})),
        3 => Reply::fail(500),
        _ => Reply::say(&echo),
    });
    let home = Home::with_upstream(&upstream);
    for (key, value) in [
        ("gateway.logLevel", "debug"),
        ("gateway.audit.logLevel", "debug"),
        ("gateway.tools.allowList", r#"["read_file"]"#),
    ] {
        home.set(key, value);
    }
    home.set_accepting_the_risk("gateway.security.rateLimit.enabled", "false");
    for provider in ["openai", "anthropic"] {
        let args = ["models", "auth", "paste-token", "--provider", provider];
        let ran = home
            .run_with_input(&args, &format!("{PROVIDER_KEY}\n"))
            .ok("paste-token");
        search.bytes(
            "what paste-token printed",
            format!("{}{}", ran.out, ran.err).as_bytes(),
        );
    }
    let (token, setup) = (
        home.token("chat,tools,read"),
        home.run(&["tokens", "setup"]),
    );
    search.canaries.push(("token", secret_half(&token)));
    search
        .canaries
        .push(("setup token", secret_half(setup.out.trim())));
    let gateway = home.start();
    std::fs::write(gateway.home.workspace().join("canary.txt"), shaped("tool")).unwrap();
    let body = json!({"token": setup.out.trim(), "name": "first"});
    let first = Call::post("/setup", &body).send(gateway.port);
    let again = Call::post("/setup", &body).send(gateway.port);
    assert_eq!((first.status, again.status), (200, 401), "{}", first.text());
    let given = first.json();
    let text = given["token"]
        .as_str()
        .expect("a token is given")
        .to_owned();
    search.canaries.push(("first token", secret_half(&text)));
    for path in ["/v1/chat/completions", "/v1/messages"] {
        for model in ["clawdbot/main", "openai/gpt-mock", "anthropic/claude-mock"] {
            let words = format!("my key: {}", shaped("body"));
            let body = json!({
                "model": model, "max_tokens": 10, "messages": [{"role": "user", "content": words}],
            });
            let query = format!("{path}?key={}", shaped("query"));
            let call = Call::post(&query, &body).header("x-odd", &shaped("header"));
            let _ = call.bearer(&token).send(gateway.port);
        }
    }
    let cut = format!("cb-prod-AbCdEfGhIjKl.{}", shaped("wrong"));
    let _ = Call::get("/status")
        .bearer(&shaped("wrong"))
        .send(gateway.port);
    let _ = Call::get(&format!("/{}", shaped("path")))
        .bearer(&cut)
        .send(gateway.port);
    let _ = gateway.invoke("read_file", &json!({"path": shaped("arguments")}));
    let _ = gateway.invoke("read_file", &json!({"path": "canary.txt"}));
    gateway
}

#[test]
fn a_secret_planted_in_every_slot_is_found_nowhere() {
    let slots = [
        "model",
        "tool",
        "body",
        "query",
        "header",
        "wrong",
        "path",
        "arguments",
    ];
    let mut search = Search {
        // What is left of a masked one must not be enough: the run after the prefix is looked for.
        canaries: slots
            .map(|slot| (slot, format!("canary-{slot}-0123456789abcdef0123")))
            .into(),
        hits: Vec::new(),
    };
    search
        .canaries
        .push(("provider key", PROVIDER_KEY.to_owned()));
    let gateway = used(&mut search);
    let operator = secret_half(&gateway.token);
    search.canaries.push(("operator's token", operator));
    search.process(gateway.pid());
    let port = gateway.port.to_string();
    for args in [
        &["status", "--port", &port][..],
        &["status", "--port", &port, "--json"],
        &["tokens", "list"],
        &["tokens", "list", "--json"],
        &["models", "auth", "list"],
        &["models", "auth", "list", "--json"],
        &["models", "list-providers"],
        &["models", "status", "--probe"],
        &["config", "list"],
        &["config", "export"],
        &["audit", "tail", "-n", "1000"],
        &["audit", "tail", "-n", "1000", "--json"],
    ] {
        let ran = gateway.home.run(args);
        assert!(!ran.out.is_empty() || !ran.err.is_empty(), "{args:?}");
        search.bytes(
            &args.join(" "),
            format!("{}{}", ran.out, ran.err).as_bytes(),
        );
    }
    search.bytes("standard error", gateway.said().as_bytes());
    assert!(gateway.said().contains("DEBUG") || gateway.said().contains("INFO"));
    let (_, home) = gateway.stop();
    let (planted, own) = (
        home.workspace().join("canary.txt"),
        home.path().join("secrets/operator.token"),
    );
    search.folder(home.path(), &[&planted, &own]);
    assert_eq!(search.hits, [""; 0]);
    // The search itself: what is there is found, in a file of the home and in a process.
    search.folder(home.path(), &[]);
    assert_eq!(search.hits.len(), 2, "{:?}", search.hits);
    search.hits.clear();
    let mut child = std::process::Command::new("/bin/sleep")
        .args(["60"])
        .env("PLANTED", shaped("body"))
        .spawn()
        .unwrap();
    // Until the child has become the program, its environment is this test's own.
    for _ in 0..500 {
        search.process(child.id());
        if !search.hits.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(search.hits.len(), 1, "{:?}", search.hits);
}

#[test]
fn a_gateway_leaves_no_core_behind() {
    use std::os::unix::process::ExitStatusExt as _;
    let gateway = Home::new().start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).unwrap();
    let core = limits.lines().find(|l| l.starts_with("Max core file size"));
    let words: Vec<_> = core.unwrap().split_whitespace().rev().take(3).collect();
    assert_eq!(words[1..], ["0", "0"], "{core:?}");
    let mut child = gateway
        .home
        .command()
        .args(["gateway", "--port", "0"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::ABORT).unwrap();
    assert!(!child.wait().unwrap().core_dumped());
}
