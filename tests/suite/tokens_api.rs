//! Tokens over HTTP: what an admin token can do with them, and what nobody else can.

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use testkit::{Call, Gateway, Home, Upstream};

/// Makes a token over the API; its id and its secret.
fn made(gateway: &Gateway, body: &Value) -> (String, String) {
    let answer = gateway.post("/tokens", body);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let text = |field: &str| answer.json()[field].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

fn status_of(gateway: &Gateway, token: &str, path: &str) -> u16 {
    Call::get(path).bearer(token).send(gateway.port).status
}

#[test]
fn a_token_made_over_the_api_works_rotates_and_is_taken_back() {
    let gateway = Home::new().start();
    let (id, secret) = made(&gateway, &json!({"name": "ci", "scopes": ["read"]}));
    assert_eq!(status_of(&gateway, &secret, "/status"), 200);
    assert_eq!(status_of(&gateway, &secret, "/tokens"), 403);

    let rotate = |body: &Value| gateway.post(&format!("/tokens/{id}/rotate"), body);
    for wrong in [
        json!(1.5),
        json!(-1),
        json!("60"),
        json!(1e300),
        json!(null),
    ] {
        let refused = rotate(&json!({"grace_seconds": wrong}));
        assert_eq!(refused.status, 400, "{}", refused.text());
    }
    // JSON knows no other whole numbers than doubles that happen to be whole.
    let rotated = rotate(&json!({"grace_seconds": 600.0}));
    assert_eq!(rotated.status, 201, "{}", rotated.text());
    let next = rotated.json()["secret"].as_str().unwrap().to_owned();
    for token in [&secret, &next] {
        assert_eq!(
            status_of(&gateway, token, "/status"),
            200,
            "during the grace both count"
        );
    }
    assert_eq!(rotate(&json!({})).status, 409, "it has a successor already");

    let next_id = rotated.json()["id"].as_str().unwrap().to_owned();
    let revoked = gateway.post(&format!("/tokens/{next_id}/revoke"), &json!({}));
    assert_eq!(
        (revoked.status, &revoked.json()["state"]),
        (200, &json!("revoked"))
    );
    assert_eq!(status_of(&gateway, &next, "/status"), 401);

    let listed = gateway.ask(Call::get("/tokens"));
    assert_eq!(listed.status, 200);
    for secret in [&secret, &next, &gateway.token] {
        assert!(
            !listed.text().contains(secret.as_str()),
            "a list never shows a secret"
        );
    }
    let successor = listed.json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|t| t["id"] == id.as_str())
        .cloned();
    assert_eq!(successor.unwrap()["replaced_by"], next_id.as_str());
    let events = gateway.audit();
    assert_eq!(
        events
            .of("security.token.created")
            .iter()
            .filter(|r| r.text("name") == "ci")
            .count(),
        4
    );
    events.wait_for("the revocation's end", |r| {
        r.event() == "security.token.revoked"
            && r.text("token") == next_id
            && r.text("outcome") == "ok"
    });
}

#[test]
fn a_token_is_not_made_when_it_cannot_be_written_down_or_is_no_token() {
    let gateway = Home::new().start();
    for (body, status) in [
        (json!({"name": "", "scopes": ["read"]}), 400),
        (json!({"name": "x", "scopes": []}), 400),
        (json!({"name": "x", "scopes": ["root"]}), 400),
        (
            json!({"name": "x", "scopes": ["read"], "ttl_seconds": 0}),
            400,
        ),
        (
            json!({"name": "x", "scopes": ["read"], "ttl_seconds": 99_999_999}),
            400,
        ),
        (json!({"name": "x", "scopes": ["read"], "admin": true}), 400),
        (json!({"name": "operator", "scopes": ["read"]}), 400),
        (json!([]), 400),
    ] {
        let answer = gateway.post("/tokens", &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    for path in ["/tokens/aaaaaaaaaaaa/revoke", "/tokens/aaaaaaaaaaaa/rotate"] {
        assert_eq!(gateway.post(path, &json!({})).status, 404, "{path}");
    }
    assert_eq!(
        gateway.ask(Call::get("/tokens")).json()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// Upstream: a client brings its scopes along, in the body or in a header, and they are believed.
#[test]
fn scopes_come_from_the_token_and_never_from_the_client() {
    let gateway = Home::new().start();
    let (_, reader) = made(&gateway, &json!({"name": "reader", "scopes": ["read"]}));
    let body = json!({"name": "x", "scopes": ["admin"], "role": "operator"});
    let answer = Call::post("/tokens", &body)
        .bearer(&reader)
        .header("x-scopes", "operator.admin")
        .header("x-role", "admin")
        .send(gateway.port);
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (403, &json!("scope_missing"))
    );
}

/// Upstream: a token in a URL ends in logs, histories and referrers.
#[test]
fn a_token_in_the_url_is_no_token_and_is_not_in_the_log() {
    let gateway = Home::new().start();
    let token = gateway.home.token("read");
    for target in [
        format!("/status?token={token}"),
        format!("/status?access_token={token}"),
        format!("/status#token={token}"),
    ] {
        let answer = Call::get(&target).send(gateway.port);
        assert!(
            matches!(answer.status, 400 | 401),
            "{target}: {}",
            answer.status
        );
    }
    let _ = gateway
        .audit()
        .wait_for("the refusal", |r| r.event() == "security.request.refused");
    let (_, home) = gateway.stop();
    let log = std::fs::read_dir(home.path().join("logs"))
        .unwrap()
        .flatten();
    for file in log.filter(|f| f.path().is_file()) {
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        assert!(!text.contains(&token), "{}", file.path().display());
    }
}

#[test]
fn a_setup_token_made_over_the_api_is_traded_once() {
    let gateway = Home::new().start();
    let answer = gateway.post("/tokens/setup", &json!({}));
    assert_eq!(answer.status, 201, "{}", answer.text());
    let setup = answer.json()["secret"].as_str().unwrap().to_owned();
    let trade =
        || Call::post("/setup", &json!({"token": setup, "name": "first"})).send(gateway.port);
    let first = trade();
    assert_eq!(first.status, 200, "{}", first.text());
    let admin = first.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(status_of(&gateway, &admin, "/tokens"), 200);
    assert_eq!(trade().status, 401, "it is spent");
}

#[test]
fn admin_routes_have_a_tighter_limit_than_the_rest() {
    let gateway = Home::new().start();
    let statuses = (0..40)
        .map(|_| gateway.ask(Call::get("/tokens")).status)
        .collect::<Vec<_>>();
    assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 30);
    assert_eq!(statuses.iter().filter(|s| **s == 429).count(), 10);
    assert_eq!(
        status_of(&gateway, &gateway.token, "/status"),
        200,
        "the rest is not full"
    );
}

/// A provider that begins an answer and then says nothing more.
fn dripping() -> (u16, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                    line.clear();
                }
                let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m",
                    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "first words and more"}}]});
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                let _ = write!(stream, "{head}data: {chunk}\n\n");
                // Until the gateway hangs up, or a test has long failed.
                stream
                    .set_read_timeout(Some(Duration::from_secs(30)))
                    .unwrap();
                let _ = stream.read(&mut [0; 1]);
            });
        }
    });
    (port, serving)
}

/// Upstream honoured tokens of open connections after their rotation (a stale copy of the secret).
#[test]
fn open_streams_of_a_revoked_token_end_within_a_second() {
    let (upstream, _serving) = dripping();
    let home = Home::with_upstream(&Upstream::saying("unused"));
    home.set(
        "models.providers.openai.baseUrl",
        &format!("http://127.0.0.1:{upstream}/v1"),
    );
    let paste = ["models", "auth", "paste-token", "--provider", "openai"];
    let _ = home
        .run_with_input(&paste, "sk-canary-000000000000\n")
        .ok("paste-token");
    let gateway = home.start();
    let (id, token) = made(&gateway, &json!({"name": "stream", "scopes": ["chat"]}));
    let streams = ["clawdbot/main", "openai/gpt-mock"].map(|model| {
        let body = json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "hi"}]}).to_string();
        let mut stream = testkit::http::connect(gateway.port);
        write!(stream, "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
                content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains("first words") {
            let mut piece = [0; 4096];
            let n = stream.read(&mut piece).unwrap();
            assert!(n > 0, "{model}: {}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&piece[..n]);
        }
        (model, stream)
    });
    let revoked = Instant::now();
    let _ = gateway.home.run(&["tokens", "revoke", &id]).ok("revoke");
    for (model, mut stream) in streams {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(
            rest.contains("invalid_token") && !rest.contains("[DONE]"),
            "{model}: {rest}"
        );
    }
    println!(
        "both streams ended {:?} after the revocation was begun",
        revoked.elapsed()
    );
    let cut = gateway
        .audit()
        .wait_for("the cut", |r| r.event() == "security.answer.cut");
    assert_eq!(cut.text("actor"), id);
}
