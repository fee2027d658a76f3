//! The edge, attacked: what gets in from where, how much of it, and in which form.

use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use testkit::{Call, Gateway, Home, http};

fn unlimited() -> Gateway {
    let home = Home::new();
    home.set("gateway.security.rateLimit.enabled", "false");
    home.start()
}

/// Everything that comes back until the gateway hangs up, or until it waits for a next request. (The
/// answer to a failed authentication is held back for up to two seconds.)
fn said_to(port: u16, bytes: &[u8]) -> (String, bool) {
    let mut stream = http::connect(port);
    stream
        .set_read_timeout(Some(Duration::from_secs(8)))
        .unwrap();
    let _ = stream.write_all(bytes);
    let mut said = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return (String::from_utf8_lossy(&said).into_owned(), true),
            Ok(n) => said.extend_from_slice(&piece[..n]),
            Err(error) => {
                let closed = error.kind() == std::io::ErrorKind::ConnectionReset;
                return (String::from_utf8_lossy(&said).into_owned(), closed);
            }
        }
    }
}

/// EDGE-09. A second request hides in what another reader would take for a body, or the other way
/// round. Whatever the gateway makes of the first, nothing behind it is ever answered.
#[test]
fn a_smuggled_request_is_never_answered() {
    let gateway = unlimited();
    let hidden = "GET /smuggled HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    let both = |headers: &str, body: &str| {
        format!(
            "POST /tools/invoke HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{headers}\r\n\r\n{body}{hidden}"
        )
    };
    let chunk = "2\r\n{}\r\n0\r\n\r\n";
    let vectors = [
        both("content-length: 2\r\ntransfer-encoding: chunked", chunk),
        both("transfer-encoding: chunked\r\ncontent-length: 2", chunk),
        both(
            "transfer-encoding: chunked\r\ntransfer-encoding: identity",
            chunk,
        ),
        both("transfer-encoding: xchunked", chunk),
        both("transfer-encoding: chunked, gzip", chunk),
        both("transfer-encoding: gzip, chunked", chunk),
        both("transfer-encoding:\u{b}chunked", chunk),
        both("transfer-encoding : chunked", chunk),
        both(" transfer-encoding: chunked", chunk),
        both("x: y\r\n transfer-encoding: chunked", chunk),
        both("transfer-encoding: \"chunked\"", chunk),
        both("content-length: 2\r\ncontent-length: 3", "{}"),
        both("content-length: 2, 2", "{}"),
        both("content-length: +2", "{}"),
        both("content-length: 0x2", "{}"),
        both("content-length: -2", "{}"),
        both("content-length: 2 2", "{}"),
        both("content-length: 99999999999999999999", "{}"),
        both("content-length:", "{}"),
        both("transfer-encoding: chunked", "2;\n{}\r\n0\r\n\r\n"),
        both("transfer-encoding: chunked", "+2\r\n{}\r\n0\r\n\r\n"),
        both("transfer-encoding: chunked", "0x2\r\n{}\r\n0\r\n\r\n"),
        both("transfer-encoding: chunked", "2\r\n{}0\r\n\r\n"),
        both(
            "transfer-encoding: chunked",
            "ffffffffffffffff2\r\n{}\r\n0\r\n\r\n",
        ),
        both(
            "transfer-encoding: chunked",
            "2\r\n{}\r\n0\r\nhost: evil\r\n\r\n",
        ),
        both("host: 127.0.0.1\r\ntransfer-encoding: chunked", chunk),
    ];
    for bytes in &vectors {
        let (said, closed) = said_to(gateway.port, bytes.as_bytes());
        let answers = said.matches("HTTP/1.1 ").count();
        assert!(
            answers <= 1 && !said.contains("HTTP/1.1 2"),
            "{bytes:?}: {said}"
        );
        assert!(closed, "{bytes:?} left the connection open: {said}");
    }
    let (_, home) = gateway.stop();
    let log = home.audit().records();
    assert!(
        log.iter().all(|r| r.text("path") != "/smuggled"),
        "the hidden request was served"
    );
}

/// EDGE-22. HTTP/2 is not spoken: its resets and floods have nothing to aim at.
#[test]
fn http2_is_not_spoken() {
    let gateway = unlimited();
    let (said, closed) = said_to(
        gateway.port,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    );
    assert!(closed && !said.contains(" 200 "), "{said}");
    let upgrade = "GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n";
    let (said, _) = said_to(gateway.port, upgrade.as_bytes());
    assert!(said.starts_with("HTTP/1.1 200"), "no 101: {said}");
}

/// EDGE-24. One reading of a path, or none: what is routed is what was checked and written down.
#[test]
fn a_path_that_could_be_read_in_two_ways_is_refused() {
    let gateway = unlimited();
    let tricks = [
        "//status",
        "/./status",
        "/../status",
        "/status/..",
        "/v1/../status",
        "/v1/%2e%2e/status",
        "/v1/.%2e/status",
        "/%73tatus",
        "/status%00",
        "/status%2f",
        "/status%5c",
        "/status;jsessionid=1",
        "/status;",
        "/STATUS",
        "/Status",
        "/status.",
        "/status/",
        "/status%20",
        "/status%09",
        "/status%c0%af",
        "/%c0%ae%c0%ae/status",
        "/v1//models",
        "/v1/models/..;/tokens",
        "/tokens/%2e%2e/status",
        "/tokens/../status",
        "/\\status",
        "/status\\..",
        "/.status",
        "/status~",
        "/status%2500",
        "/%2e/status",
        "/status?x=/../../tokens",
        "/tokens%3f",
        "/tokens%23",
        "/..%2ftokens",
        "/tokens/x/../../status",
        "/tokens/aaaaaaaaaaaa%2frevoke",
        "/tokens/aaaaaaaaaaaa/revoke/",
        "/*",
        "/v1/*",
    ];
    for path in tricks {
        for method in ["GET", "POST"] {
            let answer = gateway.ask(Call::new(method, path));
            let bare = path.split('?').next().unwrap();
            // These have one reading, and name nothing.
            let plain = ["/STATUS", "/Status", "/status.", "/.status", "/status~"];
            let expected = if bare == "/status" {
                matches!(answer.status, 200 | 405)
            } else if plain.contains(&bare) {
                answer.status == 404
            } else {
                answer.status == 400
            };
            assert!(
                expected,
                "{method} {path}: {} {}",
                answer.status,
                answer.text()
            );
            // After ten of these not even that is told.
            let without = Call::new(method, path).send(gateway.port).status;
            assert!(
                matches!(without, 400 | 401 | 429),
                "{method} {path} without a token: {without}"
            );
        }
    }
    // A whole URL as the target names the host a second time; the first counts no more than that.
    let (said, _) = said_to(
        gateway.port,
        b"GET http://evil.example/status HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
    );
    assert!(said.starts_with("HTTP/1.1 421"), "{said}");
}

/// WEB-03. What another site can make a browser send without asking: forms, images, simple fetches.
#[test]
fn a_page_of_another_site_changes_nothing() {
    let gateway = unlimited();
    for (kind, status) in [
        (Some("text/plain"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
        (Some("multipart/form-data; boundary=x"), 415),
        (Some("application/jsonp"), 415),
        (None, 415),
        (Some("application/json; charset=utf-8"), 201),
    ] {
        let body = json!({"name": "x", "scopes": ["read"]}).to_string();
        let mut call = Call::new("POST", "/tokens").body(body.as_bytes());
        if let Some(kind) = kind {
            call = call.header("content-type", kind);
        }
        let answer = gateway.ask(call);
        assert_eq!(answer.status, status, "{kind:?}: {}", answer.text());
    }
    let upgrade = |origin: &str| {
        Call::get("/v1/chat/completions")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("origin", origin)
    };
    // EDGE-18. Cross-site WebSocket takeover: refused before any upgrade, token or not.
    for origin in [
        "https://evil.example",
        "null",
        "http://localhost:1",
        "http://127.0.0.1.evil.example",
    ] {
        assert_eq!(gateway.ask(upgrade(origin)).status, 403, "{origin}");
    }
    for path in ["/health", "/tokens", "/v1/models", "/nowhere"] {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            let call = Call::new(method, path).header("origin", "https://evil.example");
            let answer = gateway.ask(call);
            assert_eq!(answer.status, 403, "{method} {path}");
            assert!(answer.header("access-control-allow-origin").is_none());
        }
    }
}

/// EDGE-20. With CORS off a preflight learns nothing, not even which routes exist.
#[test]
fn a_preflight_tells_nothing_about_routes() {
    let gateway = unlimited();
    let ask = |path: &str| {
        let answer = Call::new("OPTIONS", path)
            .header("access-control-request-method", "POST")
            .send(gateway.port);
        (answer.status, answer.json()["error"]["message"].clone())
    };
    for path in ["/health", "/tokens", "/v1/messages"] {
        assert_eq!(ask(path), ask("/nowhere"), "{path}");
    }
}

/// EDGE-19 with CORS on: exactly the listed origin, and nobody who looks like it.
#[test]
fn cors_lets_in_exactly_the_listed_origin() {
    let home = Home::new();
    home.set("gateway.security.rateLimit.enabled", "false");
    home.set("gateway.cors.enabled", "true");
    home.set(
        "gateway.cors.allowedOrigins",
        r#"["https://trusted-domain.com"]"#,
    );
    let gateway = home.start();
    let listed = gateway.ask(Call::get("/status").header("origin", "https://trusted-domain.com"));
    assert_eq!(listed.status, 200);
    assert_eq!(
        listed.header("access-control-allow-origin"),
        Some("https://trusted-domain.com")
    );
    assert!(listed.header("access-control-allow-credentials").is_none());
    for origin in [
        "https://trusted-domain.com.evil.io",
        "https://eviltrusted-domain.com",
        "http://trusted-domain.com",
        "https://TRUSTED-domain.com",
        "https://trusted-domain.com.",
        "https://trusted-domain.com:443",
        "https://trusted-domain.com/",
        "https://sub.trusted-domain.com",
        "https://trusted-domain.com@evil.io",
        "https://trusted-domain.com https://evil.io",
        "null",
        "*",
        "file://",
        "chrome-extension://abc",
        "https://",
        "//trusted-domain.com",
        "trusted-domain.com",
        "https://trusted-domain.com%00.evil.io",
    ] {
        let answer = gateway.ask(Call::get("/status").header("origin", origin));
        assert_eq!(answer.status, 403, "{origin}");
        assert!(
            answer.header("access-control-allow-origin").is_none(),
            "{origin}"
        );
        assert!(
            answer
                .headers
                .iter()
                .any(|(n, v)| n == "vary" && v.contains("origin")),
            "{origin}"
        );
    }
    let preflight = Call::new("OPTIONS", "/tokens")
        .header("origin", "https://trusted-domain.com")
        .header("access-control-request-method", "POST")
        .send(gateway.port);
    assert_eq!(preflight.status, 204);
    for wrong in [
        r#"["*"]"#,
        r#"["null"]"#,
        r#"["https://a.example/path"]"#,
        r#"["http://a.example"]"#,
    ] {
        let refused = gateway
            .home
            .run(&["config", "set", "gateway.cors.allowedOrigins", wrong]);
        assert_ne!(refused.code, 0, "{wrong}");
    }
}

/// WEB-04, WEB-06. On every answer, errors included.
#[test]
fn every_answer_carries_the_headers_that_keep_browsers_honest() {
    let gateway = unlimited();
    for call in [
        Call::get("/health"),
        Call::get("/nowhere"),
        Call::get("/status"),
        Call::get("/..").header("origin", "null"),
        Call::get("/health").header("host", "evil.example"),
        Call::new("POST", "/tokens").body(b"{"),
    ] {
        let answer = call.send(gateway.port);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("cross-origin-resource-policy", "same-origin"),
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'",
            ),
        ] {
            assert_eq!(answer.header(name), Some(value), "{} {name}", answer.status);
        }
    }
}

/// EDGE-10. Two hundred at once, each with another `X-Forwarded-For`: exactly a hundred pass.
#[test]
fn random_forwarded_addresses_from_an_untrusted_peer_buy_nothing() {
    let gateway = Home::new().start();
    // The kit asked for /ready a few times on the way; a window of its own starts with a new limit.
    gateway
        .home
        .set("gateway.security.rateLimit.windowMs", "3600000");
    let used = gateway
        .audit()
        .wait_for("the change", |r| r.event() == "security.config.changed");
    drop(used);
    let port = gateway.port;
    let asking = (0..8_u32).map(|thread| {
        std::thread::spawn(move || {
            (0..25_u32)
                .map(|n| {
                    let forged = format!("10.{thread}.{n}.1");
                    let call = Call::get("/health")
                        .header("x-forwarded-for", &forged)
                        .header("x-real-ip", &forged)
                        .header("forwarded", &format!("for={forged}"));
                    u32::from(call.send(port).status == 200)
                })
                .sum::<u32>()
        })
    });
    let passed = asking
        .collect::<Vec<_>>()
        .into_iter()
        .map(|t| t.join().unwrap())
        .sum::<u32>();
    let before = Call::get("/health").send(port);
    assert_eq!(before.status, 429);
    // Whatever the kit used up before is missing here, and nothing else.
    assert!((90..=100).contains(&passed), "{passed} of 200 passed");
    assert!(before.header("retry-after").is_some() && before.header("ratelimit").is_some());
}

/// From a trusted proxy each forwarded client has a limit of its own, read from the right.
#[test]
fn a_trusted_proxy_speaks_for_its_clients() {
    let home = Home::new();
    home.set("gateway.trustedProxies", r#"["127.0.0.0/8"]"#);
    home.set("gateway.security.rateLimit.maxRequests", "5");
    let gateway = home.start();
    let ask = |chain: &str| {
        Call::get("/health")
            .header("x-forwarded-for", chain)
            .send(gateway.port)
            .status
    };
    for client in ["198.51.100.1", "198.51.100.2", "2001:db8:1::1"] {
        let passed = (0..8)
            .filter(|n| ask(&format!("203.0.113.{n}, {client}")) == 200)
            .count();
        assert_eq!(passed, 5, "{client}");
    }
    assert_eq!(ask("2001:db8:1::ffff"), 429, "one /64 is one client");
}

/// Guessing: the answers get slower, then stop saying why; who knows a token is never held up.
#[test]
fn failed_attempts_are_delayed_and_limited_and_a_right_token_is_not() {
    let gateway = unlimited();
    let wrong = format!("{}x", &gateway.token[..gateway.token.len() - 1]);
    let started = Instant::now();
    let statuses = (0..14)
        .map(|_| {
            Call::get("/status")
                .bearer(&wrong)
                .send(gateway.port)
                .status
        })
        .collect::<Vec<_>>();
    assert!(
        started.elapsed() > Duration::from_secs(3),
        "nothing was held back"
    );
    assert_eq!(statuses, [[401; 10].as_slice(), &[429; 4]].concat());
    assert_eq!(gateway.ask(Call::get("/status")).status, 200);
}

/// MT-03. The address of somebody with a token is no token.
#[test]
fn localhost_has_no_rights_and_no_exemption() {
    let gateway = Home::new().start();
    assert_eq!(Call::get("/status").send(gateway.port).status, 401);
    let limited = (0..120).any(|_| gateway.ask(Call::get("/status")).status == 429);
    assert!(limited, "localhost is limited like everyone");
}

/// EDGE-07. A body without an end is read to the cap and no further.
#[test]
fn a_body_without_end_is_cut_at_the_cap() {
    let gateway = unlimited();
    for (headers, endless) in [
        ("content-length: 10737418240", false),
        ("transfer-encoding: chunked", true),
    ] {
        let mut stream = http::connect(gateway.port);
        write!(
            stream,
            "POST /tokens HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\n\
                content-type: application/json\r\n{headers}\r\n\r\n",
            gateway.token
        )
        .unwrap();
        let piece = vec![b' '; 65_536];
        let mut sent = 0_usize;
        while sent < 64 << 20 {
            let written = if endless {
                write!(stream, "10000\r\n")
                    .and_then(|()| stream.write_all(&piece))
                    .and_then(|()| stream.write_all(b"\r\n"))
            } else {
                stream.write_all(&piece)
            };
            if written.is_err() {
                break;
            }
            sent += piece.len();
        }
        assert!(sent < 16 << 20, "{headers}: the gateway took {sent} bytes");
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(
            said.is_empty() || said.starts_with("HTTP/1.1 413"),
            "{said}"
        );
    }
    let memory = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let peak = memory
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 100_000, "{peak} kB");
}

/// EDGE-08. Nothing is unpacked, so nothing can unfold.
#[test]
fn a_packed_body_is_not_unpacked() {
    let gateway = unlimited();
    for encoding in ["gzip", "gzip, gzip", "br", "zstd", "deflate", "GZIP"] {
        let answer = gateway.ask(
            Call::post_bytes("/v1/chat/completions", b"\x1f\x8b")
                .header("content-encoding", encoding),
        );
        assert_eq!(answer.status, 415, "{encoding}: {}", answer.text());
    }
}

/// EDGE-23. Ten thousand that say nothing do not keep one out that speaks; the cap of one address
/// keeps places for the others.
#[test]
fn ten_thousand_idle_connections_are_held_and_others_still_get_in() {
    let open = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: open.maximum,
        maximum: open.maximum,
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    assert!(
        open.maximum.is_none_or(|most| most > 10_200),
        "this test needs 10,200 descriptors"
    );
    let gateway = unlimited();
    let target: SocketAddr = ([127, 0, 0, 1], gateway.port).into();
    let mut held = Vec::new();
    for n in 0..10_000_u32 {
        // From a thousand of this machine's own addresses, ten connections each.
        let [_, _, hi, lo] = (n / 10 + 2).to_be_bytes();
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::STREAM,
            None,
        )
        .unwrap();
        rustix::net::bind(&socket, &SocketAddr::from(([127, 1, hi, lo], 0))).unwrap();
        rustix::net::connect(&socket, &target).unwrap();
        held.push(TcpStream::from(socket));
    }
    assert_eq!(
        Call::get("/health").send(gateway.port).status,
        200,
        "who speaks gets in"
    );
    let count = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid()))
        .unwrap()
        .count();
    assert!(
        count > 10_000,
        "{count} descriptors: the connections are held"
    );
    // One address alone gets no more than its part.
    let mut greedy = (0..2_000)
        .map(|_| http::connect(gateway.port))
        .collect::<Vec<_>>();
    let shut = greedy.iter_mut().filter(|stream| {
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        !matches!(stream.peek(&mut [0; 1]), Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut))
    });
    assert!(shut.count() > 0, "one address took every place");
    drop((greedy, held));
    assert_eq!(gateway.stop().0, 0);
}

/// EDGE-23. With hardly any descriptors the gateway sheds, does not spin, and is whole afterwards.
#[test]
fn running_out_of_descriptors_is_survived_without_spinning() {
    let gateway = unlimited();
    let pid = rustix::process::Pid::from_raw(i32::try_from(gateway.pid()).unwrap()).unwrap();
    let used = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid()))
        .unwrap()
        .count() as u64;
    let tight = rustix::process::Rlimit {
        current: Some(used + 16),
        maximum: Some(20_000),
    };
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, tight).unwrap();
    let cpu = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
        let fields = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let held = (0..60)
        .map(|_| http::connect(gateway.port))
        .collect::<Vec<_>>();
    let before = cpu();
    std::thread::sleep(Duration::from_secs(1));
    // In ticks of a hundredth: a loop that spins takes a hundred of them.
    assert!(
        cpu() - before < 50,
        "it spins: {} ticks in a second",
        cpu() - before
    );
    drop(held);
    let answered = (0..50).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        TcpStream::connect(("127.0.0.1", gateway.port)).is_ok()
            && Call::get("/health").send(gateway.port).status == 200
    });
    assert!(answered, "it does not come back");
}

/// EDGE-16. What `gateway.bind` may be, and what it may not.
#[test]
fn a_bind_that_is_no_bind_is_refused_and_a_wide_one_needs_a_token() {
    let home = Home::new();
    for wrong in [
        "",
        "0",
        "localhost.",
        "example.com",
        "127.1",
        "0x7f.1",
        "*",
        "127.0.0.1:80",
        "[::1]",
        "lan ",
        "LAN",
    ] {
        let refused = home.run(&["config", "set", "gateway.bind", wrong]);
        assert!(
            matches!(refused.code, 64 | 65 | 78),
            "{wrong:?}: {} {}",
            refused.code,
            refused.err
        );
    }
    for wide in ["lan", "0.0.0.0", "::"] {
        home.set_accepting_the_risk("gateway.bind", wide);
        let refused = home.run(&["gateway", "--port", "0"]);
        assert_eq!(refused.code, 78, "{wide}: {}", refused.err);
        assert!(refused.err.contains("tokens create"), "{}", refused.err);
    }
    home.set("gateway.bind", "localhost");
    let gateway = home.start();
    let v6 = TcpStream::connect(("::1", gateway.port));
    assert!(
        v6.is_ok() || !std::path::Path::new("/proc/net/if_inet6").exists(),
        "localhost is ::1 as well"
    );
}

#[test]
fn a_wide_gateway_answers_to_the_address_it_was_reached_at_and_to_no_foreign_name() {
    let home = Home::new();
    home.set_accepting_the_risk("gateway.bind", "lan");
    let token = home.token("read");
    let gateway = home.start();
    let ask = |host: &str| {
        Call::get("/status")
            .bearer(&token)
            .header("host", host)
            .send(gateway.port)
            .status
    };
    assert_eq!(ask("127.0.0.1"), 200);
    assert_eq!(ask("evil.example"), 421);
    assert_eq!(ask("192.0.2.77"), 421, "an address it was not reached at");
}
