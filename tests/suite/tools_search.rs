//! `search_web` with a provider that wants a key: the key reaches that provider and nothing else.

use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use testkit::{Gateway, Home};

const KEY: &str = "search-key-0123456789abcdef-canary";
const NEW_KEY: &str = "search-key-fedcba9876543210-canary";

/// A search provider on this machine, in both dialects, that remembers what it was sent.
struct Provider {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Provider {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let remembers = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.set_read_timeout(Some(std::time::Duration::from_millis(300)));
                let mut text = Vec::new();
                let mut piece = [0; 4096];
                // Head and body come at once or not at all; the client closes neither.
                while let Ok(read @ 1..) = stream.read(&mut piece) {
                    text.extend_from_slice(&piece[..read]);
                    let text = String::from_utf8_lossy(&text);
                    if text.starts_with("GET") && text.ends_with("\r\n\r\n") || text.ends_with('}')
                    {
                        break;
                    }
                }
                let text = String::from_utf8_lossy(&text).into_owned();
                let known = [KEY, NEW_KEY].iter().any(|key| text.contains(key));
                let result = r#"[{"title":"Found","url":"https://a.example/","content":"c","description":"d"}]"#;
                let body = format!(r#"{{"results":{result},"web":{{"results":{result}}}}}"#);
                let status = if known { "200 OK" } else { "401 Unauthorized" };
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
                );
                remembers.lock().unwrap().push(text);
                let _ = stream.write_all((head + &body).as_bytes());
            }
        });
        Self { port, seen }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn home(kind: &str, provider: &Provider) -> Home {
    let home = Home::new();
    home.set("gateway.tools.policy", "whitelist");
    home.set("gateway.tools.allowList", r#"["search_web"]"#);
    home.set("gateway.tools.searchProvider", kind);
    home.set("gateway.tools.search", &provider.url());
    home
}

fn paste(home: &Home, kind: &str, key: &str) -> testkit::Ran {
    let args = ["models", "auth", "paste-token", "--provider", kind];
    home.run_with_input(&args, &format!("{key}\n"))
}

fn search(gateway: &Gateway, query: &str) -> String {
    let answer = gateway.invoke("search_web", &json!({"query": query, "count": 2}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["output"].as_str().unwrap().to_owned()
}

/// Every file of a home, but for the vault, whose content is sealed, and what the gateway said.
fn holds_no_key(gateway: &Gateway) {
    let mut folders = vec![gateway.home.path().to_owned()];
    let mut texts = vec![("standard error".to_owned(), gateway.said().into_bytes())];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let bytes = std::fs::read(entry.path()).unwrap_or_default();
                texts.push((entry.path().display().to_string(), bytes));
            }
        }
    }
    for (place, bytes) in texts {
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            !text.contains(KEY) && !text.contains(NEW_KEY),
            "a key is in {place}"
        );
    }
}

#[test]
fn brave_and_tavily_are_asked_with_a_key_of_the_vault_that_is_nowhere_else() {
    for (kind, header) in [
        ("brave", "x-subscription-token: "),
        ("tavily", "authorization: Bearer "),
    ] {
        let provider = Provider::new();
        let home = home(kind, &provider);
        let gateway = home.start();
        // Without a key it is not asked at all, and the words say what to do.
        let said = search(&gateway, "first");
        assert!(
            said.contains("no key is stored") && said.contains("paste-token"),
            "{said}"
        );
        assert_eq!(provider.seen(), [""; 0]);
        let stored = paste(&gateway.home, kind, KEY).ok("paste-token");
        assert!(stored.out.contains(&provider.url()), "{}", stored.out);
        // A running gateway takes the key, and the next one, without a restart.
        let said = search(&gateway, "two words");
        assert!(
            said.contains("Found") && said.contains("https://a.example/"),
            "{kind}: {said}"
        );
        let _ = paste(&gateway.home, kind, NEW_KEY).ok("paste-token");
        assert!(search(&gateway, "again").contains("Found"));
        let seen = provider.seen();
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen[0].contains(&format!("{header}{KEY}")), "{seen:?}");
        assert!(seen[1].contains(&format!("{header}{NEW_KEY}")), "{seen:?}");
        let words = if kind == "brave" {
            "two%20words"
        } else {
            "two words"
        };
        assert!(seen[0].contains(words), "{seen:?}");
        let egress = gateway.audit().of("tool.egress");
        assert_eq!(egress.len(), 2);
        assert!(egress[0].text("origin").starts_with("http://127.0.0.1:"));
        holds_no_key(&gateway);
    }
}

#[test]
fn a_search_key_goes_to_the_place_it_was_stored_for_and_to_no_other() {
    let provider = Provider::new();
    let elsewhere = Provider::new();
    let home = home("brave", &provider);
    let _ = paste(&home, "brave", KEY).ok("paste-token");
    home.set("gateway.tools.search", &elsewhere.url());
    let gateway = home.start();
    let said = search(&gateway, "where to");
    assert!(said.contains("cannot be read"), "{said}");
    assert!(!said.contains(KEY));
    assert_eq!((provider.seen().len(), elsewhere.seen().len()), (0, 0));
    assert!(
        gateway.said().contains("search provider"),
        "{}",
        gateway.said()
    );
}

#[test]
fn a_search_provider_has_no_models_and_needs_a_key_of_its_own() {
    let home = Home::new();
    let ran = home.run(&["models", "set-default", "brave/web"]);
    assert_eq!(ran.code, 65, "{}", ran.err);
    let ran = home.run(&["config", "set", "gateway.tools.searchProvider", "google"]);
    assert_eq!(ran.code, 65, "{}", ran.err);
    // With no address set, a key is for the provider's own.
    let stored = paste(&home, "tavily", KEY).ok("paste-token");
    assert!(
        stored.out.contains("https://api.tavily.com"),
        "{}",
        stored.out
    );
    assert!(
        stored.err.contains("searchProvider tavily"),
        "{}",
        stored.err
    );
    let removed = home.run(&["models", "auth", "reset", "--all"]).ok("reset");
    assert!(removed.out.contains("tavily"), "{}", removed.out);
    let listed = home.run(&["models", "auth", "list", "--json"]).ok("list");
    assert_eq!(listed.json(), json!([]));
}
