//! `clawdbot incident`: closed within a second, evidence that can be believed, every key changed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use testkit::{Call, Gateway, Home, Reply, Upstream};

/// `audit verify` and `incident verify`: tampered with.
const TAMPERED: i32 = 3;
const SECRET: &str = "sk-ant-canary-0123456789abcdefghijklmnop";

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < give_up, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn run(home: &Home, args: &[&str]) -> String {
    let ran = home.run(args).ok("the command");
    ran.out + &ran.err
}

fn status(gateway: &Gateway, path: &str) -> u16 {
    gateway.ask(Call::get(path)).status
}

#[test]
fn an_incident_closes_a_gateway_cuts_what_is_under_way_and_outlives_a_restart() {
    let upstream = Upstream::replying([Reply::Never]);
    let gateway = Home::with_upstream(&upstream).start();
    assert_eq!(status(&gateway, "/status"), 200);
    std::thread::scope(|scope| {
        let turn = scope.spawn(|| gateway.turn("hello"));
        wait_until("the turn is under way", || !upstream.seen().is_empty());
        run(&gateway.home, &["incident", "start", "--reason", "a test"]);
        // It would wait for the provider for ever.
        assert_ne!(turn.join().unwrap().status, 200);
    });
    wait_until("it is closed", || status(&gateway, "/status") == 503);
    let refused = gateway.ask(Call::get("/status"));
    assert_eq!(refused.json()["error"]["code"], "incident");
    assert_eq!(gateway.turn("hello").status, 503);
    assert_eq!(status(&gateway, "/health"), 200, "it lives");
    assert_eq!(upstream.seen().len(), 1, "nobody was asked anything more");

    let gateway = gateway.kill().start();
    assert_eq!(status(&gateway, "/status"), 503, "after a restart, too");
    run(&gateway.home, &["incident", "resume"]);
    wait_until("it is open", || status(&gateway, "/status") == 200);
    let level = run(&gateway.home, &["config", "get", "gateway.audit.logLevel"]);
    assert_eq!(level.trim(), "debug");
    for event in ["security.incident.started", "security.incident.ended"] {
        assert!(!gateway.audit().of(event).is_empty(), "{event}");
    }
    let again = gateway.home.run(&["incident", "resume"]);
    assert_ne!(again.code, 0, "there is none to end");
}

fn copy_of(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(copied.unwrap().success());
}

#[test]
fn evidence_is_believed_after_cp_r_and_every_change_of_it_is_found() {
    let gateway = Home::new().start();
    assert_eq!(gateway.turn("list the files").status, 200);
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("kept");
    // With the gateway running, as it will be.
    run(
        &gateway.home,
        &["incident", "preserve", kept.to_str().unwrap()],
    );
    let key = run(&gateway.home, &["audit", "key"]);
    let elsewhere = Home::new();
    let verify = |folder: &Path| {
        let folder = folder.to_str().unwrap();
        elsewhere.run(&["incident", "verify", folder, "--key", key.trim()])
    };
    let moved = dir.path().join("moved");
    copy_of(&kept, &moved);
    assert!(verify(&moved).ok("verify").out.contains("intact"));
    let sums = Command::new("sha256sum")
        .args(["--check", "--quiet", "SHA256SUMS"])
        .current_dir(&moved)
        .status();
    assert!(sums.unwrap().success(), "without our program, too");

    let mut tried = 0;
    let mut files: Vec<_> = fs::read_dir(&kept).unwrap().map(|e| e.unwrap()).collect();
    files.extend(fs::read_dir(kept.join("logs")).unwrap().map(|e| e.unwrap()));
    for file in files {
        if !file.file_type().unwrap().is_file() {
            continue;
        }
        let name = file.path().strip_prefix(&kept).unwrap().to_owned();
        let changed = dir.path().join("changed");
        copy_of(&kept, &changed);
        let mut bytes = fs::read(file.path()).unwrap();
        let Some(byte) = bytes.first_mut() else {
            continue;
        };
        *byte ^= 1;
        fs::write(changed.join(&name), bytes).unwrap();
        assert_ne!(verify(&changed).code, 0, "{}", name.display());
        fs::remove_file(changed.join(&name)).unwrap();
        // The key is given, so the one in the folder may be missing; it is on the list all the same.
        assert_ne!(verify(&changed).code, 0, "{} is missing", name.display());
        fs::remove_dir_all(&changed).unwrap();
        tried += 1;
    }
    assert!(tried >= 5, "{tried} files");

    // A list that fits changed files is still not the one the log tells of.
    let forged = dir.path().join("forged");
    copy_of(&kept, &forged);
    fs::write(forged.join("gateway.log"), "nothing happened\n").unwrap();
    let script = "sha256sum $(cut -c67- SHA256SUMS) > new && mv new SHA256SUMS";
    let made = Command::new("sh")
        .args(["-c", script])
        .current_dir(&forged)
        .status();
    assert!(made.unwrap().success());
    assert_eq!(verify(&forged).code, TAMPERED);
    let again = gateway
        .home
        .run(&["incident", "preserve", kept.to_str().unwrap()]);
    assert_ne!(again.code, 0, "never over a folder that is there");
}

#[test]
fn rotation_leaves_no_key_that_works_and_says_what_remains() {
    let home = Home::new();
    let paste = ["models", "auth", "paste-token", "--provider", "anthropic"];
    let _ = home.run_with_input(&paste, SECRET).ok("paste-token");
    let token = home.token("chat,read");
    let setup = run(&home, &["tokens", "setup"]);
    let setup = setup
        .split_whitespace()
        .find(|word| word.starts_with("st-"));
    let setup = setup.expect("a setup token").to_owned();
    let gateway = home.start();
    assert_eq!(status(&gateway, "/status"), 200);
    let told = run(&gateway.home, &["incident", "rotate", "--all"]);
    assert!(told.contains("anthropic at the provider"), "{told}");
    for token in [&token, &gateway.token] {
        let call = Call::get("/status").bearer(token);
        assert_eq!(call.send(gateway.port).status, 401);
    }
    let trade = Call::post(
        "/setup",
        &serde_json::json!({"token": setup, "name": "late"}),
    );
    assert!(trade.send(gateway.port).status >= 400);
    let list = gateway.home.run(&["models", "auth", "list", "--json"]);
    assert_eq!(list.ok("list").json(), serde_json::json!([]));
    // The way back in is the command line of whoever owns the home.
    let gateway = gateway.kill().start();
    assert_eq!(status(&gateway, "/status"), 200, "a new operator's token");
}

#[test]
fn a_report_tells_of_refusals_and_changes_and_leaves_the_rest_out() {
    let gateway = Home::new().start();
    assert_eq!(gateway.turn("list the files").status, 200);
    gateway.home.set("gateway.logLevel", "debug");
    run(
        &gateway.home,
        &["incident", "start", "--reason", "odd calls"],
    );
    let report = run(&gateway.home, &["incident", "report"]);
    for told in [
        "odd calls",
        "security.tool.denied",
        "security.config.changed",
    ] {
        assert!(report.contains(told), "{told}: {report}");
    }
    assert!(!report.contains("model.begin"), "{report}");
}
