//! What a command writes is seen while it writes it, and ends at its cap.

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;
use testkit::{Gateway, Home, Upstream};

/// The most that is kept of a command's output, bytes: `Limits::COMMAND`.
const CAP: usize = 256 << 10;

/// A gateway whose model runs this shell script once.
fn gateway(script: &str) -> (Gateway, Upstream) {
    let (home, upstream) = Home::that_runs(script, &["sleep", "yes", "head"]);
    (home.start(), upstream)
}

/// The lines of a streamed turn with its steps, as they come.
fn watch(gateway: &Gateway) -> impl Iterator<Item = String> {
    let messages = json!([{"role": "user", "content": "go"}]);
    let body = json!({"model": "clawdbot/main", "stream": true, "messages": messages}).to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\nx-clawdbot-steps: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        gateway.port,
        gateway.token,
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    BufReader::new(stream).lines().map(Result::unwrap)
}

fn step(line: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line.strip_prefix("data: ")?).ok()?;
    value.get("step").is_some().then_some(value)
}

#[test]
fn what_a_command_writes_is_seen_before_it_ends() {
    let script = "echo first; until [ -e go ]; do sleep 0.05; done; echo second";
    let (gateway, _upstream) = gateway(script);
    let mut text = String::new();
    let mut ran = Value::Null;
    for line in watch(&gateway) {
        let Some(step) = step(&line) else { continue };
        match step["step"].as_str().unwrap() {
            "output" => {
                assert_eq!(step["tool"], "run_command");
                text.push_str(step["text"].as_str().unwrap());
                // It waits for this: that we are here shows that it was seen while it ran.
                if text == "first\n" {
                    std::fs::write(gateway.home.workspace().join("go"), "").unwrap();
                }
            }
            "ran" => ran = step,
            _ => {}
        }
    }
    assert_eq!(text, "first\nsecond\n");
    assert_eq!(
        (&ran["exit"], &ran["truncated"]),
        (&json!(0), &json!(false))
    );
}

/// What who watches is shown of a command's output, and the verdict of the last record of a finding.
fn shown(gateway: &Gateway) -> String {
    let steps = watch(gateway).filter_map(|line| step(&line));
    let pieces = steps.filter(|step| step["step"] == "output");
    pieces
        .map(|step| step["text"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_secret_that_a_command_writes_in_pieces_reaches_neither_who_watches_nor_who_called() {
    for (pieces, pause) in [(2, "sleep 0.1;"), (8, "sleep 0.05;"), (1, "")] {
        let parts = (0..pieces).map(|n| format!("head -c 99 part{n}; {pause}"));
        let script = format!("echo before; {} echo after", parts.collect::<String>());
        let (gateway, upstream) = gateway(&script);
        let token = gateway.token.clone();
        let size = token.len().div_ceil(pieces);
        for (n, part) in token.as_bytes().chunks(size).enumerate() {
            std::fs::write(gateway.home.workspace().join(format!("part{n}")), part).unwrap();
        }
        let seen = shown(&gateway);
        assert!(seen.contains("[withheld by"), "{seen}");
        // What comes in one piece with the secret, or with half of it, goes with it.
        assert!(pieces < 8 || seen.starts_with("before\n"), "{seen}");
        assert!(!seen.contains("after"), "{seen}");
        // Of no piece more than its first letters: the form of a token is no secret, its body is.
        let body = token.split('.').next_back().unwrap();
        let told = (0..body.len() - 4).filter(|at| seen.contains(&body[*at..*at + 4]));
        assert_eq!(told.count(), 0, "{seen}");
        assert!(!String::from_utf8_lossy(&upstream.seen().pop().unwrap().body).contains(&token));
        let by_hand = gateway.invoke("run_command", &json!({"command": ["sh", "-c", script]}));
        assert_eq!(by_hand.status, 200, "{}", by_hand.text());
        assert!(by_hand.text().contains("[withheld by") && !by_hand.text().contains(body));
        let found = gateway.audit().of("security.guard.finding");
        assert_eq!(found.len(), 2, "one for each call");
        assert!(
            found.iter().all(|r| r.text("channel") == "tool"),
            "{found:?}"
        );
    }
}

#[test]
fn an_address_that_a_command_writes_in_pieces_loses_its_host_on_the_way_to_who_watches() {
    let script = "printf 'see https://evil.exa'; sleep 0.1; echo 'mple/?q=1 and more'";
    let (gateway, _upstream) = gateway(script);
    let seen = shown(&gateway);
    assert!(seen.contains("see ") && seen.contains("and more"), "{seen}");
    assert!(!seen.contains("evil.example/"), "{seen}");
    let found = gateway.audit().of("security.guard.finding");
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_flood_is_cut_at_the_cap_for_who_watches_for_the_model_and_in_the_log() {
    let (gateway, upstream) = gateway("yes");
    let (mut length, mut ran) = (0, Value::Null);
    for step in watch(&gateway).filter_map(|line| step(&line)) {
        match step["step"].as_str().unwrap() {
            "output" => length += step["text"].as_str().unwrap().len(),
            "ran" => ran = step,
            _ => {}
        }
    }
    assert_eq!(length, CAP);
    assert_eq!(ran["truncated"], true);
    let heard = String::from_utf8_lossy(&upstream.seen().pop().unwrap().body).into_owned();
    assert!(heard.contains(&format!("ended: more than {CAP} bytes of output")));
    assert!(heard.len() < 3 * CAP, "{}", heard.len());
    let end = gateway.audit().of("tool.end").pop().unwrap();
    assert_eq!(end.get("truncated"), &json!(true));
}

#[test]
fn the_chat_shows_what_a_command_writes_and_a_terminal_does_not_obey_it() {
    let script = r"printf 'one\033]0;owned\007\ntwo'; yes | head -c 300000";
    let (gateway, _upstream) = gateway(script);
    let port = gateway.port.to_string();
    let args = ["chat", "--port", &port, "--verbose", "go"];
    let ran = gateway.home.run(&args).ok("chat");
    assert!(
        ran.err.contains("  | one\\u{1b}]0;owned\\u{7}\n  | two"),
        "{:?}",
        &ran.err[..400.min(ran.err.len())]
    );
    assert!(
        !ran.err.contains('\u{1b}'),
        "an escape reached the terminal"
    );
    assert!(ran.err.contains("cut at its cap and ended"));
    assert_eq!(ran.out.trim(), "done");
    // Who does not ask for steps gets the answer alone.
    let quiet = gateway
        .home
        .run(&["chat", "--port", &port, "again"])
        .ok("chat");
    assert_eq!(
        (quiet.out.trim(), quiet.err.contains("one")),
        ("done", false)
    );
}

#[test]
fn who_goes_away_ends_the_command() {
    let script = "echo started; sleep 600; echo never > never";
    let (gateway, _upstream) = gateway(script);
    let mut lines = watch(&gateway);
    let started = |line: &String| line.contains("started") && line.contains("output");
    assert!(lines.any(|line| started(&line)));
    drop(lines);
    let end = gateway.audit().wait_for("the end of the call", |record| {
        record.event() == "tool.begin" && record.text("outcome") == "abandoned"
    });
    assert_eq!(end.text("tool"), "run_command");
    for _ in 0..100 {
        if !runs("sleep") {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the command outlived its caller");
}

/// Whether a process of this name runs with `600` as its argument.
fn runs(name: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
    lines.any(|line| line == format!("{name}\0600\0").into_bytes())
}
