//! A real browser, on a page of another site that tries to reach the gateway.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use testkit::{Gateway, Home};

/// Serves one page to whoever asks, until the test is over.
fn site(page: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                line.clear();
            }
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close";
            let _ = write!(
                stream,
                "{head}\r\ncontent-length: {}\r\n\r\n{page}",
                page.len()
            );
        }
    });
    port
}

/// What stands in a page when its script is done.
fn shown(url: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let ran = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        // Every name is this machine, as after a rebinding.
        .args([
            "--host-resolver-rules=MAP * 127.0.0.1",
            "--virtual-time-budget=20000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .stderr(Stdio::null())
        .output()
        .expect("chromium is installed; ./test does it");
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// The page: each try writes `name=what came of it` into the document.
fn attack(gateway: &Gateway) -> String {
    let (port, token) = (gateway.port, &gateway.token);
    format!(
        r"<!doctype html><body><pre id=o></pre><script>
const say = (n, v) => {{ document.getElementById('o').textContent += n + '=' + v + ';\n'; }};
const body = JSON.stringify({{name: 'evil', scopes: ['admin']}});
const auth = {{authorization: 'Bearer {token}'}};
const json = {{...auth, 'content-type': 'application/json'}};
const tries = {{
  control: () => fetch('/').then(r => r.status),
  read: () => fetch('http://127.0.0.1:{port}/health').then(r => r.text()),
  readWithToken: () => fetch('http://127.0.0.1:{port}/status', {{headers: auth}}).then(r => r.text()),
  rebound: () => fetch('http://rebound.example:{port}/status', {{headers: auth}}).then(r => r.text()),
  preflighted: () => fetch('http://127.0.0.1:{port}/tokens', {{method: 'POST', headers: json, body}}).then(r => r.text()),
  blind: () => fetch('http://127.0.0.1:{port}/tokens', {{method: 'POST', mode: 'no-cors', body}}).then(r => r.type),
  frame: () => new Promise(done => {{
    const f = document.createElement('iframe'); f.src = 'http://127.0.0.1:{port}/';
    f.onload = () => {{ let seen = 'opaque'; try {{ seen = f.contentDocument.body.textContent; }} catch {{}} done(seen); }};
    document.body.append(f); setTimeout(() => done('refused'), 5000);
  }}),
  socket: () => new Promise(done => {{
    const s = new WebSocket('ws://127.0.0.1:{port}/v1/chat/completions');
    s.onopen = () => done('open'); s.onerror = () => done('refused'); setTimeout(() => done('refused'), 5000);
  }}),
}};
(async () => {{
  for (const [name, run] of Object.entries(tries)) {{
    try {{ say(name, await run()); }} catch (e) {{ say(name, 'refused'); }}
  }}
  say('all', 'done');
}})();
</script>"
    )
}

/// EDGE-17, WEB-03, WEB-04: even a page that knows the token reads nothing and changes nothing.
#[test]
fn a_real_browser_cannot_be_made_to_attack() {
    let home = Home::new();
    home.set("gateway.security.rateLimit.enabled", "false");
    let gateway = home.start();
    let port = site(attack(&gateway));
    let page = shown(&format!("http://evil.example:{port}/"));
    let said = |name: &str, what: &str| {
        assert!(
            page.contains(&format!("{name}={what};")),
            "{name} is not {what}: {page}"
        );
    };
    said("all", "done");
    said("control", "200");
    for name in ["read", "readWithToken", "rebound", "preflighted", "socket"] {
        said(name, "refused");
    }
    assert!(
        !page.contains("\"status\":\"ok\"") && !page.contains("{\"name\":\"clawdbot\"}"),
        "{page}"
    );
    let listed = gateway.ask(testkit::Call::get("/tokens"));
    assert!(
        !listed.text().contains("evil"),
        "a token was made: {}",
        listed.text()
    );
    let refused = gateway.audit().of("security.request.refused");
    assert!(!refused.is_empty(), "the tries were written down");

    // The same page's own name rebound to the gateway itself.
    let rebound = shown(&format!("http://evil.example:{}/status", gateway.port));
    assert!(
        rebound.contains("this host is not served here"),
        "{rebound}"
    );
}
