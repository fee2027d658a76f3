//! Written, then done: what happens has a record on disk before it happens, and without a record
//! nothing happens.

use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use testkit::{AuditLog, BrokenLog, Gateway, Home, Reply, Upstream};

/// An upstream that counts the begin records on disk at the moment it is asked.
struct Watching {
    upstream: Upstream,
    log: Arc<Mutex<Option<AuditLog>>>,
    begun: Arc<Mutex<Vec<usize>>>,
}

fn watching() -> Watching {
    let log = Arc::new(Mutex::new(None::<AuditLog>));
    let begun = Arc::new(Mutex::new(Vec::new()));
    let (its_log, its_begun) = (Arc::clone(&log), Arc::clone(&begun));
    let upstream = Upstream::thinking(move |_, _| {
        let log = its_log
            .lock()
            .unwrap()
            .clone()
            .expect("the log is known before it is asked");
        its_begun.lock().unwrap().push(log.of("model.begin").len());
        Reply::say("hi")
    });
    Watching {
        upstream,
        log,
        begun,
    }
}

#[test]
fn a_begin_record_is_on_disk_before_the_provider_hears_anything() {
    let Watching {
        upstream,
        log,
        begun,
    } = watching();
    let home = Home::with_upstream(&upstream);
    *log.lock().unwrap() = Some(home.audit());
    let gateway = home.start();
    let relayed =
        json!({"model": "openai/gpt-mock", "messages": [{"role": "user", "content": "x"}]});
    for _ in 0..3 {
        assert_eq!(gateway.post("/v1/chat/completions", &relayed).status, 200);
        assert_eq!(gateway.turn("hello").status, 200);
    }
    assert_eq!(
        *begun.lock().unwrap(),
        [1, 2, 3, 4, 5, 6],
        "one more record at every question"
    );
}

#[test]
fn a_killed_gateway_leaves_a_record_of_everything_it_had_begun() {
    let upstream = Upstream::replying([Reply::say("hi"), Reply::Never]);
    let gateway = Gateway::before(&upstream);
    assert_eq!(gateway.turn("hello").status, 200);
    let port = gateway.port;
    let body = json!({"model": "clawdbot/main", "messages": [{"role": "user", "content": "wait"}]});
    let call = testkit::Call::post("/v1/chat/completions", &body).bearer(&gateway.token);
    let hanging = std::thread::spawn(move || {
        // It is cut off by the kill: whether anything comes back does not matter.
        let _ = std::panic::catch_unwind(|| call.send(port));
    });
    while upstream.seen().len() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let home = gateway.kill();
    hanging.join().unwrap();
    assert_eq!(
        home.audit().of("model.begin").len(),
        2,
        "both questions are on record"
    );
    let verified = home.run(&["audit", "verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    let again = home.start();
    assert_eq!(
        again.audit().of("gateway.start").len(),
        2,
        "the log goes on where it was cut"
    );
}

#[test]
fn without_a_writable_log_nothing_happens_and_the_answer_is_503() {
    let upstream = Upstream::saying("hi");
    let home = Home::with_upstream(&upstream);
    home.set("gateway.tools.allowList", r#"["read_file"]"#);
    let gateway = home.start_without_file_size_signal();
    assert_eq!(gateway.turn("hello").status, 200);
    let asked = upstream.seen().len();
    let broken = BrokenLog::of(&gateway);
    for (what, answer) in [
        ("a turn", gateway.turn("hello")),
        ("a relay", gateway.post(
            "/v1/messages",
            &json!({"model": "anthropic/claude-mock", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}),
        )),
        ("a tool", gateway.invoke("read_file", &json!({"path": "notes.txt"}))),
        ("a refused tool", gateway.invoke("write_file", &json!({"path": "x", "content": "y"}))),
    ] {
        assert_eq!(answer.status, 503, "{what}: {}", answer.text());
    }
    assert_eq!(
        upstream.seen().len(),
        asked,
        "the provider was asked without a record"
    );
    assert_eq!(
        testkit::Call::get("/ready").send(gateway.port).status,
        503,
        "/ready says so"
    );
    assert_eq!(
        testkit::Call::get("/health").send(gateway.port).status,
        200,
        "it lives all the same"
    );
    broken.mend();
    let recovered = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        gateway.turn("hello").status == 200
    });
    assert!(
        recovered,
        "it goes on by itself once the log can be written again"
    );
}

#[test]
fn a_gateway_that_cannot_open_its_log_does_not_start() {
    let home = Home::new();
    // A file where the folder should be stops root too.
    std::fs::write(home.path().join("logs"), "in the way").unwrap();
    let ran = home.run(&["gateway", "--port", "0"]);
    assert!([73, 74].contains(&ran.code), "{}: {}", ran.code, ran.err);
    assert!(
        !home.path().join("secrets/operator.token").exists(),
        "a token without a record"
    );
}

#[test]
fn what_is_secret_is_for_this_user_only() {
    let gateway = Home::new().start();
    for (path, mode) in [
        ("secrets", 0o700),
        ("state", 0o700),
        ("logs", 0o700),
        ("config", 0o700),
        ("secrets/operator.token", 0o600),
    ] {
        let path = gateway.home.path().join(path);
        let found = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{} has mode {found:o}", path.display());
    }
}
