//! What the door costs, in a request's hot path.

#![allow(clippy::unwrap_used, reason = "a bench fails loudly")]

use clawdbot_auth::{Authenticator, NewToken, TokenStore};
use clawdbot_domain::{ScopeSet, Secret, TokenEnv, UnixTime};
use std::sync::Arc;

fn main() {
    divan::main();
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
