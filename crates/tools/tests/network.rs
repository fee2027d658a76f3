//! The tools that reach the network, from call to record, against real servers on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail as loudly as tests"
)]

mod house;

use clawdbot_domain::SandboxMode;
use clawdbot_tools::{Dialect, HostRules, Lookup, Resolve, SearchSettings, ToolOutcome};
use house::House;
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A server that answers every request with what the function makes of its first line.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let remembers = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut text = [0; 8192];
                let mut length = 0;
                while !text[..length].windows(4).any(|w| w == b"\r\n\r\n") {
                    match stream.read(&mut text[length..]) {
                        Ok(0) | Err(_) => break,
                        Ok(read) => length += read,
                    }
                }
                let request = String::from_utf8_lossy(&text[..length]).into_owned();
                let line = request.lines().next().unwrap_or("").to_owned();
                remembers.lock().unwrap().push(request);
                let _ = stream.write_all(&answer(&line));
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn page(media: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: {media}\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn redirect(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

/// Names that lead where the test says, each time somewhere else.
struct Names {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Names {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |all: &&[&str]| all.iter().map(|a| a.parse().unwrap()).collect();
        Arc::new(Self {
            answers: answers.iter().map(parse).collect(),
            asked: AtomicUsize::new(0),
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Resolve for Names {
    fn lookup<'a>(&'a self, _host: &'a str, port: u16) -> Lookup<'a> {
        let at = self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.answers.get(at).or(self.answers.last());
        let answer = answer.into_iter().flatten();
        let found = answer.map(|ip| SocketAddr::new(*ip, port)).collect();
        Box::pin(async move { Ok(found) })
    }
}

fn online(mode: SandboxMode, hosts: &[&str], names: Arc<Names>) -> House {
    let hosts = hosts.iter().map(ToString::to_string).collect();
    House::online(mode, HostRules::new(mode, hosts), None, names)
}

async fn fetch(house: &House, url: &str) -> ToolOutcome {
    house.run("fetch_url", json!({ "url": url })).await
}

fn text(outcome: &ToolOutcome) -> &str {
    outcome.output.reveal_untrusted()
}

#[tokio::test]
async fn a_page_is_fetched_read_as_text_and_written_down() {
    let server = Server::new(|_| page("text/html", "<h1>Hi</h1><script>evil()</script><p>there"));
    let house = online(SandboxMode::Permissive, &["127.0.0.1"], Names::new(&[]));
    let outcome = fetch(&house, &server.url("/a?b")).await;
    let said = text(&outcome);
    assert!(
        !outcome.is_error && said.contains("Hi") && said.contains("there"),
        "{said}"
    );
    assert!(!said.contains("evil"), "{said}");
    let seen = server.seen();
    assert!(seen[0].starts_with("GET /a?b HTTP/1.1\r\n"), "{seen:?}");
    let log = house.log().await;
    assert!(
        log.contains("tool.egress") && log.contains(&server.address.to_string()),
        "{log}"
    );
    // The call itself ran where there is no network at all.
    assert!(
        outcome.layers.contains(&"net-namespace".to_owned()),
        "{:?}",
        outcome.layers
    );
}

#[tokio::test]
async fn nothing_inside_is_reached_in_any_spelling_and_each_try_is_in_the_log() {
    let server = Server::new(|_| page("text/plain", "CANARY"));
    let port = server.address.port();
    for mode in [
        SandboxMode::Strict,
        SandboxMode::Moderate,
        SandboxMode::Permissive,
    ] {
        let house = online(mode, &["*"], Names::new(&[&["127.0.0.1"]]));
        for host in [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "0.0.0.0",
            "[::]",
            "10.0.0.1",
            "169.254.169.254",
            "2130706433",
            "0177.0.0.1",
            "0x7f.1",
            "127.1",
            "localhost.",
            "127.0.0.1.",
            "user@127.0.0.1",
            "example.com@127.0.0.1",
            "rebind.example",
            "rebind.example.",
            "metadata.google.internal",
        ] {
            let outcome = fetch(&house, &format!("http://{host}:{port}/")).await;
            assert!(outcome.is_error, "{mode} {host}: {}", text(&outcome));
            assert!(!text(&outcome).contains("CANARY"), "{mode} {host}");
        }
        let log = house.log().await;
        assert!(log.contains("\"refused\""), "{mode}: {log}");
    }
    assert_eq!(server.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn a_name_is_resolved_once_a_hop_and_the_checked_address_is_the_one_that_is_dialled() {
    let server = Server::new(|line| {
        if line.contains("/start") {
            redirect("/next")
        } else {
            page("text/plain", "arrived")
        }
    });
    let port = server.address.port();
    // The second answer for each hop would be a machine that is not there.
    let names = Names::new(&[&["127.0.0.1"], &["127.0.0.1"], &["127.0.0.9"]]);
    let house = online(
        SandboxMode::Permissive,
        &["rebind.example"],
        Arc::clone(&names),
    );
    let outcome = fetch(&house, &format!("http://rebind.example:{port}/start")).await;
    assert!(text(&outcome).contains("arrived"), "{}", text(&outcome));
    assert_eq!((names.asked(), server.seen().len()), (2, 2));
    // One inside address among public ones was put there by somebody.
    for answers in [["1.1.1.1", "127.0.0.1"], ["::ffff:127.0.0.1", "1.1.1.1"]] {
        let house = online(SandboxMode::Strict, &["*"], Names::new(&[&answers]));
        let outcome = fetch(&house, &format!("http://mixed.example:{port}/")).await;
        assert!(
            text(&outcome).contains("not on the public internet"),
            "{}",
            text(&outcome)
        );
    }
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_redirect_is_judged_like_a_request() {
    let inside = Server::new(|_| page("text/plain", "CANARY"));
    let port = inside.address.port();
    for to in [
        format!("http://localhost:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("//other.example:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "file:///etc/passwd".to_owned(),
        format!("http://user@127.0.0.1:{port}/"),
    ] {
        let to_there = to.clone();
        let outside = Server::new(move |_| redirect(&to_there));
        let names = Names::new(&[&["127.0.0.1"]]);
        let house = online(SandboxMode::Permissive, &["first.example", "*"], names);
        let url = format!("http://first.example:{}/", outside.address.port());
        let outcome = fetch(&house, &url).await;
        assert!(
            outcome.is_error && !text(&outcome).contains("CANARY"),
            "{to}: {}",
            text(&outcome)
        );
        assert_eq!(outside.seen().len(), 1, "{to}");
    }
    assert_eq!(inside.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn redirects_sizes_and_kinds_are_bounded() {
    let circle = Server::new(|_| redirect("/again"));
    let house = online(SandboxMode::Permissive, &["127.0.0.1"], Names::new(&[]));
    let outcome = fetch(&house, &circle.url("/")).await;
    assert!(text(&outcome).contains("redirects"), "{}", text(&outcome));
    assert_eq!(circle.seen().len(), 6);
    let big = Server::new(|_| page("text/plain", &"0123456789".repeat(1 << 20)));
    let outcome = house
        .run("fetch_url", json!({"url": big.url("/"), "limit": 10}))
        .await;
    let said = text(&outcome);
    assert!(said.contains("\n0123456789\n[characters 0 to 10"), "{said}");
    assert!(said.contains("longer than what is fetched"), "{said}");
    let binary = Server::new(|_| page("image/png", "\u{0}PNG"));
    let outcome = fetch(&house, &binary.url("/")).await;
    assert!(
        outcome.is_error && text(&outcome).contains("not text"),
        "{}",
        text(&outcome)
    );
    let packed =
        Server::new(|_| b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n\x1f\x8b".to_vec());
    assert!(fetch(&house, &packed.url("/")).await.is_error);
    let nonsense = Server::new(|_| b"SSH-2.0-x\r\n".to_vec());
    assert!(fetch(&house, &nonsense.url("/")).await.is_error);
}

#[tokio::test]
async fn an_empty_list_of_hosts_allows_none_and_no_broker_means_no_network() {
    let server = Server::new(|_| page("text/plain", "CANARY"));
    let house = online(SandboxMode::Permissive, &[], Names::new(&[]));
    let outcome = fetch(&house, &server.url("/")).await;
    assert!(
        text(&outcome).contains("allowedHosts"),
        "{}",
        text(&outcome)
    );
    let house = House::new(SandboxMode::Permissive, &[]);
    let outcome = fetch(&house, &server.url("/")).await;
    assert!(
        text(&outcome).contains("no way to the network"),
        "{}",
        text(&outcome)
    );
    assert_eq!(server.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn a_search_asks_the_operators_provider_and_its_key_stays_outside() {
    for (dialect, path, body) in [
        (
            Dialect::SearXng,
            "/search?format=json&q=two%20words",
            r#"{"results":[{"title":"T","url":"U","content":"C"}]}"#,
        ),
        (
            Dialect::Brave,
            "/res/v1/web/search?count=3&q=two%20words",
            r#"{"web":{"results":[{"title":"T","url":"U","description":"C"}]}}"#,
        ),
        (
            Dialect::Tavily,
            "/search",
            r#"{"results":[{"title":"T","url":"U","content":"C"}]}"#,
        ),
    ] {
        let server = Server::new(|_| page("application/json", body));
        let search = SearchSettings {
            dialect,
            base_url: server.url(""),
            key: Arc::new(|| Ok(Some(clawdbot_domain::Secret::new("k3y-CANARY")))),
        };
        let rules = HostRules::new(SandboxMode::Strict, vec![]);
        let house = House::online(SandboxMode::Strict, rules, Some(search), Names::new(&[]));
        let outcome = house
            .run("search_web", json!({"query": "two words", "count": 3}))
            .await;
        assert_eq!(text(&outcome), "1. T\n   U\n   C\n", "{dialect:?}");
        let seen = server.seen();
        assert!(seen[0].split(' ').nth(1) == Some(path), "{seen:?}");
        assert_eq!(
            seen[0].contains("k3y-CANARY"),
            dialect != Dialect::SearXng,
            "{seen:?}"
        );
        assert!(!house.log().await.contains("k3y-CANARY"));
        // A provider that sends us elsewhere is not followed, and gets no key to another place.
        let elsewhere = Server::new(|_| page("application/json", body));
        let to = elsewhere.url("/");
        let moved = Server::new(move |_| redirect(&to));
        let search = SearchSettings {
            dialect,
            base_url: moved.url(""),
            key: Arc::new(|| Ok(Some(clawdbot_domain::Secret::new("k3y-CANARY")))),
        };
        let rules = HostRules::new(SandboxMode::Strict, vec![]);
        let house = House::online(SandboxMode::Strict, rules, Some(search), Names::new(&[]));
        let outcome = house.run("search_web", json!({"query": "x"})).await;
        assert!(outcome.is_error, "{}", text(&outcome));
        assert_eq!(elsewhere.seen(), Vec::<String>::new());
    }
}
