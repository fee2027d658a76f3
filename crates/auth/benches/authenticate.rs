//! What the door costs, in a request's hot path.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench fails loudly and prints what it found"
)]

use clawdbot_auth::{Authenticator, NewToken, TokenStore};
use clawdbot_domain::{ScopeSet, Secret, TokenEnv, UnixTime};
use std::sync::Arc;
use std::time::Instant;

fn main() {
    divan::main();
    tell_ratios();
}

/// So many rounds of so many checks; the quickest round counts, since noise only adds.
const ROUNDS: u32 = 30;
const CHECKS: u32 = 2_000;

/// Nanoseconds a check.
fn cost(door: &Authenticator, text: &str) -> f64 {
    let now = UnixTime::now();
    let round = || {
        let begun = Instant::now();
        for _ in 0..CHECKS {
            let _ = std::hint::black_box(door.authenticate(std::hint::black_box(text), now));
        }
        begun.elapsed().as_secs_f64() * 1e9 / f64::from(CHECKS)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// What two ratios say: looking up is no walk through the list, and an unknown id takes as long as a
/// wrong secret.
fn tell_ratios() {
    let (few, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (few, few_secret) = door(few.path());
    fill(many.path(), 10_000);
    let (many, many_secret) = door(many.path());
    let (a, b) = (
        cost(&few, few_secret.expose()),
        cost(&many, many_secret.expose()),
    );
    println!(
        "1 token: {a:.0} ns, 10,000 tokens: {b:.0} ns, ratio {:.2}",
        b / a
    );
    let id = few_secret.expose().split(['-', '.']).nth(2).unwrap();
    let (wrong, unknown) = (cost(&few, &forged(id)), cost(&few, &forged("unknown00000")));
    println!(
        "unknown id: {unknown:.0} ns, wrong secret: {wrong:.0} ns, ratio {:.2}",
        unknown / wrong
    );
}

/// A well-formed token of this id with a secret that is not its own.
fn forged(id: &str) -> String {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let body = format!("cb-prod-{id}.{}", "A".repeat(43));
    let mut rest = crc32fast::hash(body.as_bytes()) as usize;
    let mut sum = [0; 6];
    for digit in sum.iter_mut().rev() {
        *digit = *DIGITS.get(rest % 62).unwrap();
        rest /= 62;
    }
    body + std::str::from_utf8(&sum).unwrap()
}

/// Puts that many tokens there, in one go: made one by one they would wait for the disk each.
fn fill(dir: &std::path::Path, count: u32) {
    drop(door(dir));
    let db = rusqlite::Connection::open(dir.join("state/tokens.db")).unwrap();
    let sql = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})
         INSERT INTO tokens (id, tag, name, scopes, env, created, expires, operator)
         SELECT 'n' || i, zeroblob(32), name, scopes, env, created, expires, 0 FROM n, tokens",
        count - 2
    );
    db.execute_batch(&sql).unwrap();
}

fn door(dir: &std::path::Path) -> (Authenticator, Secret) {
    let store = TokenStore::open(&dir.join("state"), &dir.join("secrets")).unwrap();
    let new = NewToken {
        name: "bench",
        scopes: ScopeSet::ALL,
        env: TokenEnv::Prod,
        ttl: None,
    };
    let (secret, _) = store.create(&new, UnixTime::now()).unwrap();
    (Authenticator::new(Arc::new(store), TokenEnv::Prod), secret)
}

#[divan::bench]
fn genuine(bencher: divan::Bencher<'_, '_>) {
    let dir = tempfile::tempdir().unwrap();
    let (door, secret) = door(dir.path());
    let now = UnixTime::now();
    bencher.bench_local(|| door.authenticate(secret.expose(), now).unwrap());
}

#[divan::bench]
fn garbage(bencher: divan::Bencher<'_, '_>) {
    let dir = tempfile::tempdir().unwrap();
    let (door, secret) = door(dir.path());
    let mut text = secret.expose().to_owned();
    text.pop();
    text.push('!');
    let now = UnixTime::now();
    bencher.bench_local(|| door.authenticate(&text, now).is_err());
}
