//! TLS at the gateway's own door.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use testkit::{Home, http};

/// A certificate for this machine and its key, signed by itself.
fn certificate(folder: &Path, name: &str) -> (String, String) {
    let (cert, key) = (folder.join("tls.pem"), folder.join("tls.key"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-subj"])
        .arg(format!("/CN={name}"))
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1,DNS:localhost",
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stderr(Stdio::null())
        .status()
        .expect("openssl is installed");
    assert!(made.success());
    (cert.display().to_string(), key.display().to_string())
}

/// A gateway that speaks TLS; killed when dropped.
struct Running(Child);

impl Running {
    /// A gateway of this home, which may not be ready yet.
    fn gateway(home: &Home) -> Self {
        let mut command = home.command();
        command
            .arg("gateway")
            .stderr(Stdio::null())
            .stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..200 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} did not happen");
}

#[test]
fn the_gateway_speaks_tls_renews_its_certificate_and_its_own_command_line_trusts_no_other() {
    let home = Home::new();
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path(), "first");
    let port = free_port();
    home.set("gateway.tls.certificate", &cert);
    let half = home.run(&["gateway", "--port", "0"]);
    assert_eq!(half.code, 78, "half of TLS is no TLS: {}", half.err);
    assert!(half.err.contains("gateway.tls.key"), "{}", half.err);
    home.set("gateway.tls.key", &key);
    home.set("gateway.port", &port.to_string());
    let _running = Running::gateway(&home);
    until("an answer over TLS", || home.run(&["status"]).code == 0);

    let mut plain = http::connect(port);
    let said = {
        use std::io::{Read as _, Write as _};
        let _ = plain.write_all(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        let mut said = Vec::new();
        let _ = plain.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    };
    assert!(
        !said.contains("HTTP/1.1 200"),
        "plain HTTP is not answered: {said}"
    );

    // Somebody else's certificate, or the old one after a renewal, is refused by our own client.
    let old = folder.path().join("old.pem");
    std::fs::copy(&cert, &old).unwrap();
    let _ = certificate(folder.path(), "second");
    until("the renewal", || home.run(&["status"]).code == 0);
    let mut stale = home.command();
    let stale = stale
        .env("CLAWDBOT_GATEWAY_TLS_CERTIFICATE", &old)
        .arg("status")
        .output()
        .unwrap();
    assert_eq!(
        stale.status.code(),
        Some(77),
        "{}",
        String::from_utf8_lossy(&stale.stderr)
    );

    // A renewal that is broken changes nothing.
    let good = std::fs::read(&cert).unwrap();
    std::fs::write(&cert, "-----BEGIN CERTIFICATE-----\nbroken").unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    std::fs::write(folder.path().join("good.pem"), good).unwrap();
    let mut still = home.command();
    let still = still
        .env(
            "CLAWDBOT_GATEWAY_TLS_CERTIFICATE",
            folder.path().join("good.pem"),
        )
        .arg("status")
        .output()
        .unwrap();
    assert_eq!(
        still.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&still.stderr)
    );
}

/// As certbot and Kubernetes renew: what is pointed at stays as it is, and a link is pointed elsewhere.
#[test]
fn a_certificate_renewed_by_swapping_a_link_is_taken_up_and_slow_or_huge_headers_are_cut() {
    let home = Home::new();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["first", "second"] {
        std::fs::create_dir(at(name)).unwrap();
        let _ = certificate(&at(name), name);
    }
    let point_to = |name: &str| {
        std::os::unix::fs::symlink(name, at("next")).unwrap();
        std::fs::rename(at("next"), at("now")).unwrap();
    };
    point_to("first");
    let port = free_port();
    let path = |file: &str| at("now").join(file).display().to_string();
    home.set("gateway.tls.certificate", &path("tls.pem"));
    home.set("gateway.tls.key", &path("tls.key"));
    home.set("gateway.port", &port.to_string());
    let _running = Running::gateway(&home);
    let answers = |name: &str| {
        let trusted = at(name).join("tls.pem");
        let mut status = home.command();
        let status = status.env("CLAWDBOT_GATEWAY_TLS_CERTIFICATE", trusted);
        status.arg("status").output().unwrap().status.code() == Some(0)
    };
    until("an answer over TLS", || answers("first"));
    point_to("second");
    until("the renewal", || answers("second"));
    assert!(!answers("first"), "the old one is no longer shown");

    let whole = "GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
    let said = over_tls(port, whole);
    assert!(said.contains("HTTP/1.1 200"), "the control: {said}");
    let flood = format!("x-flood: {}\r\n", "a".repeat(1000)).repeat(200);
    let many = "a: b\r\n".repeat(5000);
    for (what, headers) in [("large", flood), ("many", many), ("slow", String::new())] {
        let said = over_tls(
            port,
            &format!("GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}"),
        );
        assert!(!said.contains("HTTP/1.1 200"), "{what} headers: {said}");
    }
    assert!(answers("second"), "others are answered all the same");
}

/// What is said to the beginning of a request, until the gateway hangs up.
fn over_tls(port: u16, begun: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-no_ign_eof", "-connect"])
        .arg(format!("127.0.0.1:{port}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed");
    let mut input = client.stdin.take().unwrap();
    // It may hang up before it has read all of it.
    let _ = input.write_all(begun.as_bytes());
    let mut said = Vec::new();
    let _ = client.stdout.take().unwrap().read_to_end(&mut said);
    drop(input);
    let _ = client.wait();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn tls_files_that_are_none_stop_the_start_and_say_which() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path(), "one");
    let other = tempfile::tempdir().unwrap();
    let (_, other_key) = certificate(other.path(), "two");
    for (certificate, key, said) in [
        (cert.as_str(), other_key.as_str(), "does not belong"),
        ("/nowhere/tls.pem", key.as_str(), "/nowhere/tls.pem"),
        (key.as_str(), key.as_str(), "certificate"),
        (cert.as_str(), cert.as_str(), "the key"),
    ] {
        let home = Home::new();
        home.set("gateway.tls.certificate", certificate);
        home.set("gateway.tls.key", key);
        let refused = home.run(&["gateway", "--port", "0"]);
        assert_eq!(refused.code, 78, "{}", refused.err);
        assert!(refused.err.contains(said), "{said}: {}", refused.err);
    }
    let refused = Home::new().run(&["config", "set", "gateway.tls.key", "relative.pem"]);
    assert_ne!(refused.code, 0);
}
