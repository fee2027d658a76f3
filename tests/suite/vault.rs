//! The vault through the binary: a new key under a running gateway and under kills, and a lock that
//! says so.

use serde_json::json;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use testkit::gateway::UPSTREAM_KEY;
use testkit::{Call, Gateway, Home, Upstream};

const PASSPHRASE: &str = "correct horse battery staple";

fn asks_with_the_key(gateway: &Gateway, upstream: &Upstream) {
    let body = json!({"model": "openai/gpt-mock", "messages": [{"role": "user", "content": "hi"}]});
    let answer = gateway.post("/v1/chat/completions", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = upstream.seen();
    let last = seen.last().expect("the provider was asked");
    let expected = format!("Bearer {UPSTREAM_KEY}");
    assert_eq!(last.header("authorization"), Some(expected.as_str()));
}

fn rekey(home: &Home) -> Command {
    let mut command = home.command();
    command
        .args(["models", "auth", "rekey"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[test]
fn a_running_gateway_takes_up_a_new_vault_key_and_the_change_is_written_down_first() {
    let upstream = Upstream::saying("hi");
    let gateway = Gateway::before(&upstream);
    asks_with_the_key(&gateway, &upstream);
    let key = || std::fs::read(gateway.home.path().join("secrets/vault.key")).unwrap();
    let before = key();
    let ran = gateway.home.run(&["models", "auth", "rekey"]).ok("rekey");
    assert!(ran.out.contains("2 credentials"), "{}", ran.out);
    assert_ne!(key(), before);
    asks_with_the_key(&gateway, &upstream);
    let written = gateway.audit().of("security.vault.rekeyed");
    let outcomes: Vec<_> = written
        .iter()
        .map(|r| r.text("outcome").to_owned())
        .collect();
    assert_eq!(outcomes, ["begin", "ok"]);
}

#[test]
fn a_change_of_the_vault_key_that_is_killed_at_any_moment_loses_nothing() {
    let upstream = Upstream::saying("hi");
    let gateway = Gateway::before(&upstream);
    let begun = Instant::now();
    assert!(rekey(&gateway.home).status().unwrap().success());
    let whole = begun.elapsed();
    for round in 0..16_u32 {
        let mut child: Child = rekey(&gateway.home).spawn().unwrap();
        std::thread::sleep(whole * round / 16);
        let _ = child.kill();
        let _ = child.wait();
        let listed = gateway.home.run(&["models", "auth", "list", "--json"]);
        assert_eq!(listed.code, 0, "round {round}: {}", listed.err);
        assert_eq!(listed.json().as_array().unwrap().len(), 2);
        asks_with_the_key(&gateway, &upstream);
    }
    let home = gateway.kill();
    let again = home.start();
    asks_with_the_key(&again, &upstream);
}

#[test]
fn a_vault_without_its_key_is_locked_says_so_and_opens_when_the_key_is_back() {
    let upstream = Upstream::saying("hi");
    let gateway = Gateway::before(&upstream);
    let key = gateway.home.path().join("secrets/vault.key");
    let kept = gateway.home.path().join("kept");
    std::fs::rename(&key, &kept).unwrap();
    let ready = || Call::get("/ready").send(gateway.port);
    assert_eq!(ready().status, 503);
    let listed = gateway.home.run(&["models", "auth", "list"]);
    assert_eq!(listed.code, 1, "{}", listed.err);
    assert!(listed.err.contains("locked"), "{}", listed.err);
    let refused = gateway.home.run(&["models", "auth", "rekey"]);
    assert_eq!(refused.code, 78, "{}", refused.err);
    let args = ["models", "auth", "paste-token", "--provider", "openai"];
    let refused = gateway
        .home
        .run_with_input(&args, "sk-another-0123456789abcdef\n");
    assert_eq!(refused.code, 78, "{}", refused.err);
    assert!(!key.exists(), "no new key is made");
    std::fs::rename(&kept, &key).unwrap();
    assert_eq!(ready().status, 200);
    asks_with_the_key(&gateway, &upstream);
}

#[test]
fn a_gateway_starts_locked_without_the_passphrase_and_opens_with_it() {
    let upstream = Upstream::saying("hi");
    let home = Home::with_upstream(&upstream);
    let args = ["models", "auth", "rekey", "--passphrase"];
    let short = home.run_with_input(&args, "too short\n");
    assert_eq!(short.code, 65, "{}", short.err);
    let _ = home
        .run_with_input(&args, &format!("{PASSPHRASE}\n"))
        .ok("rekey");
    assert!(!home.path().join("secrets/vault.key").exists());
    let mut locked = home
        .command()
        .args(["gateway", "--port", "0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let port = port_of(&mut locked);
    let ready = Call::get("/ready").send(port);
    assert_eq!(ready.status, 503, "{}", ready.text());
    locked.kill().unwrap();
    let _ = locked.wait();
    let file = home.path().join("passphrase");
    std::fs::write(&file, format!("{PASSPHRASE}\n")).unwrap();
    private(&file);
    let mut command = home.command();
    command.env("CLAWDBOT_VAULT_PASSPHRASE_FILE", &file);
    let gateway = Gateway::start(home, command);
    asks_with_the_key(&gateway, &upstream);
}

#[test]
fn a_key_moved_out_of_the_home_is_found_by_a_running_gateway() {
    let upstream = Upstream::saying("hi");
    let gateway = Gateway::before(&upstream);
    let outside = Home::new();
    let file = outside.path().join("vault.key");
    let text = file.display().to_string();
    let args = ["models", "auth", "rekey", "--key-file", &text];
    let _ = gateway.home.run(&args).ok("rekey --key-file");
    assert!(!gateway.home.path().join("secrets/vault.key").exists());
    asks_with_the_key(&gateway, &upstream);
}

#[test]
fn a_subscription_token_is_recognised_and_sent_as_anthropic_wants_it() {
    let upstream = Upstream::saying("hi");
    let home = Home::with_upstream(&upstream);
    let token = "sk-ant-oat01-0123456789abcdefghij";
    let args = ["models", "auth", "paste-token", "--provider", "anthropic"];
    let pasted = home
        .run_with_input(&args, &format!("{token}\n"))
        .ok("paste-token");
    assert!(pasted.out.contains("setup-token"), "{}", pasted.out);
    let listed = home
        .run(&["models", "auth", "list", "--json"])
        .ok("list")
        .json();
    let found = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["provider"] == "anthropic");
    let found = found.unwrap();
    for key in [
        "kind",
        "fingerprint",
        "created",
        "age_days",
        "due",
        "is_due",
    ] {
        assert!(!found[key].is_null(), "{key}: {found}");
    }
    let gateway = home.start();
    let body = json!({
        "model": "anthropic/claude-mock", "max_tokens": 10,
        "messages": [{"role": "user", "content": "hi"}],
    });
    assert_eq!(gateway.post("/v1/messages", &body).status, 200);
    let seen = upstream.seen();
    let last = seen.last().unwrap();
    let bearer = format!("Bearer {token}");
    assert_eq!(last.header("authorization"), Some(bearer.as_str()));
    assert_eq!(last.header("x-api-key"), None);
    let betas = last
        .headers
        .iter()
        .filter(|(name, _)| name == "anthropic-beta");
    assert!(
        betas
            .into_iter()
            .any(|(_, value)| value.contains("oauth-2025-04-20"))
    );
}

fn private(file: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The port that a gateway says it listens on.
fn port_of(gateway: &mut Child) -> u16 {
    use std::io::{BufRead as _, BufReader};
    let (told, hear) = std::sync::mpsc::channel();
    let stderr = gateway.stderr.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some((_, address)) = line.split_once("listening on http://") {
                let port = address.rsplit(':').next().unwrap().trim().parse::<u16>();
                let _ = told.send(port.unwrap());
            }
        }
    });
    hear.recv_timeout(Duration::from_secs(60))
        .expect("it listens")
}
