//! Clients that are slow on purpose: they are given up, and nobody else notices.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use testkit::{Call, Gateway, Home};

/// Runs slowhttptest with 400 connections for ten seconds, asking `/health` all the while; the
/// latencies of those questions in milliseconds, sorted.
fn under_attack(gateway: &Gateway, args: &[&str]) -> Vec<u128> {
    let over = Arc::new(AtomicBool::new(false));
    let (port, done) = (gateway.port, Arc::clone(&over));
    let probe = std::thread::spawn(move || {
        let mut took = Vec::new();
        while !done.load(Ordering::Relaxed) {
            let asked = Instant::now();
            assert_eq!(Call::get("/health").send(port).status, 200);
            took.push(asked.elapsed().as_millis());
            std::thread::sleep(Duration::from_millis(50));
        }
        took.sort_unstable();
        took
    });
    let url = format!("http://127.0.0.1:{}/tokens", gateway.port);
    let ran = Command::new("slowhttptest")
        .args(["-c", "400", "-r", "200", "-l", "10", "-p", "5", "-u", &url])
        .args(args)
        .output()
        .expect("slowhttptest is installed; ./test does it");
    over.store(true, Ordering::Relaxed);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(said.contains("slow HTTP test status"), "{said}");
    probe.join().expect("every question was answered")
}

/// Slow headers, slow bodies, slow readers, each ten seconds: every question of an honest client is
/// answered meanwhile.
#[test]
fn slow_headers_bodies_and_readers_keep_nobody_waiting() {
    let home = Home::new();
    home.set("gateway.security.rateLimit.enabled", "false");
    let gateway = home.start();
    for (mode, args) in [
        ("slow headers", ["-H", "-i", "2", "-t", "GET"].as_slice()),
        (
            "slow bodies",
            &["-B", "-i", "2", "-s", "8192", "-t", "POST"],
        ),
        (
            "slow readers",
            &["-X", "-w", "8", "-y", "16", "-n", "2", "-z", "4", "-k", "3"],
        ),
    ] {
        let took = under_attack(&gateway, args);
        let at = |part: usize| {
            took.get(took.len() * part / 100)
                .copied()
                .unwrap_or_default()
        };
        println!(
            "{mode}: {} questions, p50 {} ms, p99 {} ms",
            took.len(),
            at(50),
            at(99)
        );
        assert!(
            took.len() > 10,
            "{mode}: only {} questions were answered",
            took.len()
        );
    }
}

/// A header block has ten seconds to arrive.
#[test]
fn a_header_that_never_ends_is_given_up() {
    use std::io::{Read as _, Write as _};
    let gateway = Home::new().start();
    let mut stream = testkit::http::connect(gateway.port);
    stream
        .write_all(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ")
        .unwrap();
    let mut said = Vec::new();
    let ended = stream.read_to_end(&mut said);
    assert!(
        ended.is_ok(),
        "the gateway hangs up within its deadline: {ended:?}"
    );
}
