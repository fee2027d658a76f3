//! Tokens under attack, through the binary and its gateway: at once, with kills in between.

use serde_json::{Value, json};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use testkit::{Call, Home};

fn unlimited() -> Home {
    let home = Home::new();
    home.set_accepting_the_risk("gateway.security.rateLimit.enabled", "false");
    // Failed attempts are limited whatever the settings: each one here comes from an address of its
    // own, so that what refuses a token is the token.
    home.set_accepting_the_risk("gateway.trustedProxies", r#"["127.0.0.1/32"]"#);
    home
}

fn spawn(home: &Home, args: &[&str]) -> Child {
    let mut command = home.command();
    command
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("the binary under test starts")
}

/// The public id in a token's text.
fn id_of(token: &str) -> String {
    let id = token.split(['-', '.']).nth(2).expect("cb-env-id.secret");
    id.to_owned()
}

fn status(port: u16, token: &str) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let address = format!("198.18.{}.{}", n / 256, n % 256);
    let call = Call::get("/status").header("x-forwarded-for", &address);
    call.bearer(token).send(port).status
}

fn listed(home: &Home) -> Vec<Value> {
    let all = home.run(&["tokens", "list", "--json"]).ok("tokens list");
    all.json().as_array().expect("a list").clone()
}

fn redeem(port: u16, setup: &str) -> u16 {
    let body = json!({"token": setup, "name": "first"});
    Call::post("/setup", &body).send(port).status
}

fn setup_token(home: &Home) -> String {
    let made = home.run(&["tokens", "setup"]).ok("tokens setup");
    made.out.trim().to_owned()
}

#[test]
fn a_hundred_commands_at_once_lose_no_token_and_revive_none() {
    let gateway = unlimited().start();
    let home = &gateway.home;
    let doomed: Vec<String> = (0..10).map(|_| home.token("read")).collect();
    let ids: Vec<String> = doomed.iter().map(|token| id_of(token)).collect();
    let mut running = Vec::new();
    let start = |args: &[&str]| {
        let kept = args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
        (kept, spawn(home, args))
    };
    for n in 0..90 {
        let name = format!("n{n}");
        running.push(start(&[
            "tokens", "create", "--name", &name, "--scopes", "read",
        ]));
        if let Some(id) = ids.get(n / 9).filter(|_| n % 9 == 0) {
            running.push(start(&["tokens", "revoke", id]));
        }
        // The gateway writes when they were last used, all the while.
        let _ = status(gateway.port, &doomed[n % 10]);
    }
    assert_eq!(running.len(), 100);
    for (args, child) in running {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            // A slow disk and a hundred at once: refused, so it did not happen, and may be done again.
            assert!(said.contains("nothing was changed"), "{said}");
            let args = args.iter().map(String::as_str).collect::<Vec<_>>();
            let again = (0..10).any(|_| home.run(&args).code == 0);
            assert!(again, "{args:?} is refused for good: {said}");
        }
    }
    for token in &doomed {
        assert_eq!(status(gateway.port, token), 401, "revoked stays revoked");
    }
    let all = listed(home);
    let named = |n: usize| all.iter().filter(|t| t["name"] == format!("n{n}")).count();
    assert!((0..90).all(|n| named(n) == 1), "{all:?}");
    let revoked = all.iter().filter(|t| t["state"] == "revoked").count();
    assert_eq!(revoked, 10);
    let _ = home.run(&["audit", "verify"]).ok("audit verify");
}

#[test]
fn commands_killed_at_any_moment_leave_a_store_in_which_revoked_means_revoked() {
    let gateway = unlimited().start();
    let home = &gateway.home;
    let mut acknowledged = Vec::new();
    for round in 0..12_u64 {
        let (token, kept) = (home.token("read"), home.token("read"));
        let (id, rotated) = (id_of(&token), id_of(&kept));
        let mut killed = [
            spawn(
                home,
                &["tokens", "create", "--name", "cut", "--scopes", "read"],
            ),
            spawn(home, &["tokens", "rotate", &rotated, "--grace", "10m"]),
            spawn(home, &["tokens", "revoke", &id]),
        ];
        std::thread::sleep(Duration::from_millis(round * 4));
        for child in &mut killed {
            let _ = child.kill();
        }
        let revoked = killed.map(|c| c.wait_with_output().unwrap())[2]
            .status
            .success();
        if revoked {
            acknowledged.push(token);
        } else {
            // Killed: it was revoked or it was not, and it can be said which.
            let state = &listed(home).into_iter().find(|t| t["id"] == id).unwrap()["state"];
            let expected = if state == "revoked" { 401 } else { 200 };
            assert_eq!(status(gateway.port, &token), expected, "round {round}");
            let _ = home.run(&["tokens", "revoke", &id]).ok("tokens revoke");
            acknowledged.push(token);
        }
        // A rotation that was cut short leaves the old one working: whole, or within its grace.
        assert_eq!(status(gateway.port, &kept), 200, "round {round}");
        for token in &acknowledged {
            assert_eq!(status(gateway.port, token), 401, "round {round}");
        }
    }
    let home = gateway.kill();
    let again = home.start();
    for token in &acknowledged {
        assert_eq!(status(again.port, token), 401, "after a crash");
    }
}

#[test]
fn a_setup_token_that_was_spent_before_a_crash_is_spent_after_it() {
    let mut home = unlimited();
    for round in 0..4_u64 {
        let gateway = home.start();
        let setup = setup_token(&gateway.home);
        let port = gateway.port;
        let (first, second) = std::thread::scope(|scope| {
            let one = scope.spawn(|| redeem(port, &setup));
            let two = scope.spawn(|| redeem(port, &setup));
            (one.join().unwrap(), two.join().unwrap())
        });
        let won = [first, second]
            .iter()
            .filter(|s| (200..300).contains(*s))
            .count();
        assert_eq!(won, 1, "round {round}: {first}, {second}");
        // At once: nothing may hang on what would have been written later.
        home = gateway.kill();
        let gateway = home.start();
        assert_eq!(redeem(gateway.port, &setup), 401, "round {round}");
        home = gateway.kill();
    }
    let firsts = listed(&home);
    let firsts = firsts.iter().filter(|t| t["name"] == "first").count();
    assert_eq!(firsts, 4, "one token for each setup token");
}

#[test]
fn a_gateway_killed_while_a_setup_token_is_traded_never_trades_it_twice() {
    let mut home = unlimited();
    for round in 0..6_u64 {
        let before = listed(&home)
            .iter()
            .filter(|t| t["name"] == "first")
            .count();
        let gateway = home.start();
        let setup = setup_token(&gateway.home);
        let port = gateway.port;
        let trade = setup.clone();
        let trading = std::thread::spawn(move || {
            // It may get no answer at all.
            let body = json!({"token": trade, "name": "first"}).to_string();
            let head = format!(
                "POST /setup HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) {
                use std::io::{Read as _, Write as _};
                let _ = stream.write_all(head.as_bytes());
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        std::thread::sleep(Duration::from_millis(round));
        home = gateway.kill();
        trading.join().unwrap();
        let gateway = home.start();
        let _ = redeem(gateway.port, &setup);
        assert_eq!(redeem(gateway.port, &setup), 401, "round {round}");
        let after = listed(&gateway.home);
        let after = after.iter().filter(|t| t["name"] == "first").count();
        assert_eq!(
            after,
            before + 1,
            "round {round}: one token, before or after the crash"
        );
        home = gateway.kill();
    }
}

#[test]
fn a_made_up_token_is_refused_and_no_text_of_it_is_kept() {
    let gateway = unlimited().start();
    let genuine = gateway.token.clone();
    let mut made_up = genuine[..genuine.len() - 6].to_owned();
    made_up.push_str("000000");
    for _ in 0..50 {
        let asked = Call::get("/status").bearer(&made_up).send(gateway.port);
        assert!([401, 429].contains(&asked.status), "{}", asked.status);
        let secret = made_up.split_once('.').expect("id.secret").1;
        assert!(!asked.text().contains(secret));
    }
    let (_, home) = gateway.stop();
    let refused = home.audit().of("security.request.refused");
    assert!(
        !refused.is_empty() && refused.len() < 25,
        "counted, not logged one by one: {}",
        refused.len()
    );
    let counts = refused
        .iter()
        .map(|r| r.get("repeats").as_u64().unwrap_or(1));
    assert_eq!(counts.sum::<u64>(), 50, "and every one is counted");
}

#[test]
fn tokens_are_listed_with_age_last_use_and_what_is_unused_and_revoked_by_that() {
    let gateway = unlimited().start();
    let home = &gateway.home;
    let (used, idle) = (home.token("read"), home.token("read"));
    assert_eq!(status(gateway.port, &used), 200);
    let all = listed(home);
    let of = |token: &str| {
        let found = all.iter().find(|t| t["id"] == id_of(token));
        found.expect("it is listed").clone()
    };
    assert!(of(&idle)["last_used"].is_null() && of(&idle)["unused"] == true);
    for key in [
        "created", "expires", "due", "age_days", "state", "env", "scopes",
    ] {
        assert!(!of(&used)[key].is_null(), "{key}: {:?}", of(&used));
    }
    let shown = home.run(&["tokens", "list"]).ok("tokens list").out;
    assert!(shown.contains("never") && !shown.contains(&idle), "{shown}");
    let nothing = home.run(&["tokens", "revoke", "--unused", "30d"]);
    assert_eq!(nothing.code, 0, "{}", nothing.err);
    assert_eq!(status(gateway.port, &idle), 200, "made just now");
    let _ = home
        .run(&["tokens", "revoke", "--unused", "0s"])
        .ok("--unused");
    assert_eq!(status(gateway.port, &idle), 401);
}

#[test]
fn a_rotated_token_counts_within_its_grace_and_without_grace_not_at_all() {
    let gateway = unlimited().start();
    let home = &gateway.home;
    for (grace, old_status) in [("10m", 200), ("0s", 401)] {
        let old = home.token("read");
        let args = ["tokens", "rotate", &id_of(&old), "--grace", grace];
        let fresh = home.run(&args).ok("tokens rotate").out.trim().to_owned();
        assert_eq!(status(gateway.port, &old), old_status, "{grace}");
        assert_eq!(status(gateway.port, &fresh), 200, "{grace}");
        let again = home.run(&args);
        assert_eq!(again.code, 65, "it has a successor: {}", again.err);
        assert!(again.err.contains("tokens create"), "{}", again.err);
    }
    let long = ["tokens", "rotate", "x", "--grace", "25h"];
    assert_eq!(
        home.run(&long).code,
        64,
        "a grace of more than a day is no grace"
    );
}

#[test]
fn a_token_as_an_argument_is_refused_and_not_repeated() {
    let home = Home::new();
    let token = home.token("read");
    for args in [
        &["tokens", "revoke", &token][..],
        &[
            "models",
            "auth",
            "paste-token",
            "--provider",
            "sk-ant-api03-0123456789abcdef",
        ],
        &["chat", "--message", "is sk-0123456789abcdefghij mine?"],
        &["config", "set", "gateway.bind", "sk-0123456789abcdefghij"],
    ] {
        let ran = home.run(args);
        assert_eq!(ran.code, 64, "{args:?}: {}", ran.err);
        assert!(ran.err.contains("standard input"), "{}", ran.err);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(
            !said.contains("0123456789abcdef") && !said.contains(&token),
            "{said}"
        );
    }
}
