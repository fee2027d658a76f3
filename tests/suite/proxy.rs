//! Behind a reverse proxy, with the very configuration that the documentation prints.

use serde_json::json;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use testkit::http::Call;
use testkit::{Gateway, Home, Upstream, binary};

/// The name people reach the gateway under.
const NAME: &str = "assistant.example";
/// From where the people of these tests ask.
const PERSON: &str = "127.0.0.3";
/// Whom somebody claims to be.
const FORGED: &str = "198.51.100.7";

/// nginx in front of a gateway; ended when dropped.
struct Nginx {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Nginx {
    fn before(gateway: &Gateway) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (pem, key) = (dir.path().join("tls.pem"), dir.path().join("tls.key"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
            .args(["-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-subj", &format!("/CN={NAME}")])
            .args(["-addext", &format!("subjectAltName=DNS:{NAME}"), "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&pem)
            .stderr(Stdio::null())
            .status()
            .expect("openssl must be installed");
        assert!(made.success());
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);

        let page = fs::read_to_string(binary::checkout().join("docs/user/reverse-proxy.md"));
        let page = page.unwrap();
        let site = page.split("```nginx\n").nth(1).unwrap();
        let mut site = site.split("```").next().unwrap().to_owned();
        for (printed, here) in [
            ("443", format!("127.0.0.1:{port}")),
            ("/etc/ssl/assistant.pem", pem.display().to_string()),
            ("/etc/ssl/assistant.key", key.display().to_string()),
            ("127.0.0.1:18789", format!("127.0.0.1:{}", gateway.port)),
        ] {
            assert!(site.contains(printed), "{printed}");
            site = site.replace(printed, &here);
        }
        let at = dir.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
            .concat();
        let whole = format!(
            "daemon off;\npid {at}/pid;\nerror_log stderr;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}{site}}}\n"
        );
        let file: PathBuf = dir.path().join("nginx.conf");
        fs::write(&file, whole).unwrap();
        let child = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .spawn()
            .expect("nginx must be installed");
        let nginx = Self { child, port, dir };
        let give_up = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < give_up, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        nginx
    }

    /// Sends a request over TLS as `PERSON` would; its answer, as it comes.
    fn ask(&self, request: &str) -> Asked {
        let mut child = Command::new("openssl")
            .args([
                "s_client",
                "-quiet",
                "-verify_return_error",
                "-verify_hostname",
                NAME,
            ])
            .args(["-servername", NAME, "-bind", PERSON, "-connect"])
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("-CAfile")
            .arg(self.dir.path().join("tls.pem"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut to = child.stdin.take().unwrap();
        to.write_all(request.as_bytes()).unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        Asked { child, from }
    }

    /// The status of a turn asked for under this host name, with these further header lines.
    fn turn(&self, host: &str, headers: &str) -> u16 {
        let mut text = String::new();
        let mut asked = self.ask(&turn(host, headers, false));
        asked.from.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap_or_else(|| panic!("{text:?}"));
        status.parse().unwrap()
    }
}

/// A request for a turn, as it is sent.
fn turn(host: &str, headers: &str, stream: bool) -> String {
    let messages = json!([{"role": "user", "content": "hello"}]);
    let body =
        json!({"model": "clawdbot/main", "stream": stream, "messages": messages}).to_string();
    let length = body.len();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\n{headers}content-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Asked, so that it ends its workers as well.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

struct Asked {
    child: Child,
    from: BufReader<ChildStdout>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The settings of the page, and a token line for a header.
fn set_up(home: Home) -> (Gateway, Nginx, String) {
    home.set("gateway.allowedHosts", &json!([NAME]).to_string());
    home.set("gateway.trustedProxies", r#"["127.0.0.2/32"]"#);
    let gateway = home.start();
    let nginx = Nginx::before(&gateway);
    let token = format!("authorization: Bearer {}\r\n", gateway.token);
    (gateway, nginx, token)
}

/// From which address the newest turn was asked for, as the log has it: by the record that was there before the
/// model was asked.
fn came_from(gateway: &Gateway) -> String {
    let newest = gateway.audit().of("model.begin").pop().unwrap();
    newest.text("address").to_owned()
}

#[test]
fn behind_nginx_the_log_names_the_person_and_nobody_names_another() {
    let upstream = Upstream::saying("hello");
    let (gateway, nginx, token) = set_up(Home::with_upstream(&upstream));
    // Directly, a client is whom it is seen to be, whatever it says.
    let messages = json!([{"role": "user", "content": "hello"}]);
    let body = json!({"model": "clawdbot/main", "messages": messages});
    let beside = Call::post("/v1/chat/completions", &body).header("x-forwarded-for", FORGED);
    assert_eq!(gateway.ask(beside).status, 200);
    assert_eq!(came_from(&gateway), "127.0.0.1");
    // Through the proxy it is whom the proxy sees…
    assert_eq!(nginx.turn(NAME, &token), 200);
    assert_eq!(came_from(&gateway), PERSON);
    // …also when it says something else.
    let forged = format!("{token}x-forwarded-for: {FORGED}\r\n");
    assert_eq!(nginx.turn(NAME, &forged), 200);
    assert_eq!(came_from(&gateway), PERSON);
    assert_eq!(gateway.audit().of("model.begin").len(), 3);

    // Coming through the proxy, from this machine, is no token; another name is another site.
    assert_eq!(nginx.turn(NAME, ""), 401);
    assert_eq!(nginx.turn("rebound.example", &token), 421);
}

#[test]
fn behind_nginx_an_answer_arrives_while_it_is_written() {
    let script = "echo first; until [ -e go ]; do sleep 0.05; done; echo second";
    let (home, _upstream) = Home::that_runs(script, &["sleep"]);
    let (gateway, nginx, token) = set_up(home);
    let headers = format!("{token}x-clawdbot-steps: 1\r\n");
    let mut asked = nginx.ask(&turn(NAME, &headers, true));
    let mut text = String::new();
    let mut line = String::new();
    while asked.from.read_line(&mut line).unwrap() > 0 {
        // The command waits for this: that we are here shows that the proxy let it through at once.
        if line.contains("first\\n") && text.is_empty() {
            fs::write(gateway.home.workspace().join("go"), "").unwrap();
        }
        if line.contains("\"output\"") {
            text.push_str(&line);
        }
        line.clear();
    }
    assert!(text.contains("first") && text.contains("second"), "{text}");
}
