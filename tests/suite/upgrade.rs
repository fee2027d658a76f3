//! Homes that earlier states of this program made, and what becomes of them under this one.
//!
//! `tests/fixtures/home-DATE.tar.xz` hold a home that was lived in, a token that worked and one that was revoked.
//! Their tokens last 90 days, so everything here happens on a day on which they still do.

use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use testkit::{Call, Gateway, Home};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const DAY: &str = "@2026-12-01 12:00:00";
/// Where SQLite keeps `user_version`: four bytes, the highest first.
const VERSION_AT: usize = 60;

struct Old {
    home: Home,
    token: String,
    gone: String,
}

fn unpacked(name: &str) -> Old {
    assert!(
        Path::new(LIBRARY).exists(),
        "libfaketime is installed; ./test does it"
    );
    let archive = testkit::binary::checkout()
        .join("tests/fixtures")
        .join(name);
    let folder = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    let tar = tar
        .arg("xJf")
        .arg(archive)
        .arg("--no-same-owner")
        .arg("-C")
        .arg(folder.path());
    assert!(tar.status().unwrap().success());
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let (token, gone) = (
        read("token.txt").trim().into(),
        read("gone.txt").trim().into(),
    );
    let home = Home::new();
    fs::remove_dir(home.path()).unwrap();
    // Not a rename: the two may lie on different file systems.
    let mut copy = Command::new("cp");
    let copy = copy
        .arg("-a")
        .arg(folder.path().join("home"))
        .arg(home.path());
    assert!(copy.status().unwrap().success());
    Old { home, token, gone }
}

fn then(home: &Home) -> Command {
    let mut command = home.command();
    command
        .env("LD_PRELOAD", LIBRARY)
        .env("FAKETIME", DAY)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command
}

/// The exit code and everything that was said.
fn run(home: &Home, args: &[&str]) -> (Option<i32>, String) {
    let ran = then(home).args(args).stdin(Stdio::null()).output().unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    (
        ran.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[track_caller]
fn well(home: &Home, args: &[&str]) -> String {
    let (code, said) = run(home, args);
    assert_eq!(code, Some(0), "{args:?}: {said}");
    said
}

/// Every file with what is in it.
fn content(folder: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            all.extend(content(&entry.path()));
        } else {
            all.insert(entry.path(), fs::read(entry.path()).unwrap());
        }
    }
    all
}

/// What was there is there, byte for byte. Locks and the like may have come.
#[track_caller]
fn nothing_is_lost(before: &BTreeMap<std::path::PathBuf, Vec<u8>>, folder: &Path) {
    let after = content(folder);
    for (path, bytes) in before {
        assert!(after.get(path) == Some(bytes), "{} changed", path.display());
    }
}

fn status(gateway: &Gateway, token: &str) -> u16 {
    Call::get("/status").bearer(token).send(gateway.port).status
}

#[test]
fn a_home_of_an_earlier_version_goes_on_with_everything_in_it() {
    let Old { home, token, gone } = unpacked("home-2026-11-26.tar.xz");
    let verified = well(&home, &["audit", "verify"]);
    assert!(verified.contains("840 records, 2 segment(s)"), "{verified}");
    let limit = ["config", "get", "gateway.security.rateLimit.maxRequests"];
    assert_eq!(well(&home, &limit).trim(), "77");
    let listed = well(&home, &["sessions", "list"]);
    assert_eq!(listed.matches("untrusted").count(), 5, "{listed}");
    let session = listed
        .lines()
        .find_map(|line| line.split(' ').find(|w| w.starts_with("ses_")));
    let session = session.unwrap().to_owned();
    let credentials = well(&home, &["models", "auth", "list"]);
    assert!(credentials.contains("anthropic"), "{credentials}");
    assert!(!credentials.contains("locked"), "{credentials}");

    let command = then(&home);
    let gateway = Gateway::start(home, command);
    assert_eq!(status(&gateway, &token), 200, "a token works on");
    assert_eq!(
        status(&gateway, &gone),
        401,
        "what was revoked stays revoked"
    );
    let turn = json!({"model": "clawdbot/main", "messages": [{"role": "user", "content": "read notes.txt"}]});
    let turn = Call::post("/v1/chat/completions", &turn).header("clawdbot-session", &session);
    let answer = turn.bearer(&token).send(gateway.port);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(
        answer.text().contains("kept"),
        "a file of before: {}",
        answer.text()
    );
    let (code, home) = gateway.stop();
    assert_eq!(code, 0);
    // One log over both versions, under the keys it began with.
    let verified = well(&home, &["audit", "verify"]);
    assert!(
        verified.contains("intact") && !verified.contains("840 records"),
        "{verified}"
    );
    let store = fs::read(home.path().join("state/tokens.db")).unwrap();
    assert_eq!(
        store[VERSION_AT..VERSION_AT + 4],
        [0, 0, 0, 3],
        "and an older program refuses it"
    );
}

#[test]
fn a_home_from_before_the_log_was_signed_is_refused_in_words_and_left_as_it_is() {
    let Old { home, .. } = unpacked("home-2026-11-25.tar.xz");
    let before = content(home.path());
    for (args, why) in [
        (&["gateway", "--port", "0"][..], "older version"),
        (&["audit", "verify"], "older version"),
        (
            &["tokens", "list"],
            "an older version of clawdbot (format 1",
        ),
        (
            &["models", "auth", "list"],
            "an older version of clawdbot (format 1",
        ),
    ] {
        let (code, said) = run(&home, args);
        assert!(
            code.is_some_and(|code| code >= 2),
            "{args:?}: {code:?} {said}"
        );
        assert!(said.contains(why), "{args:?}: {said}");
        assert!(said.contains("away"), "what to do: {args:?}: {said}");
    }
    nothing_is_lost(&before, home.path());
    // As it was told: settings and workspace go on, what cannot be believed begins anew.
    for folder in ["logs", "state"] {
        let aside = home.path().join(format!("{folder}.before"));
        fs::rename(home.path().join(folder), aside).unwrap();
    }
    let command = then(&home);
    let gateway = Gateway::start(home, command);
    assert_eq!(status(&gateway, &gateway.token), 200);
    let limit = ["config", "get", "gateway.security.rateLimit.maxRequests"];
    assert_eq!(well(&gateway.home, &limit).trim(), "77");
}

/// What an older program sees of a newer home: this program, and stores of a format that it does not know.
#[test]
fn a_home_of_a_newer_version_is_refused_in_words_and_left_as_it_is() {
    for (store, named) in [
        ("tokens.db", "a newer version of clawdbot"),
        ("vault.db", "a newer version of clawdbot"),
        ("sessions.db", "version 9, this program knows"),
    ] {
        let Old { home, .. } = unpacked("home-2026-11-26.tar.xz");
        let file = home.path().join("state").join(store);
        let mut bytes = fs::read(&file).unwrap();
        bytes[VERSION_AT..VERSION_AT + 4].copy_from_slice(&[0, 0, 0, 9]);
        fs::write(&file, &bytes).unwrap();
        let (code, said) = run(&home, &["gateway", "--port", "0"]);
        assert!(
            code.is_some_and(|code| code >= 64),
            "{store}: {code:?} {said}"
        );
        assert!(said.contains(named), "{store}: {said}");
        assert!(fs::read(&file).unwrap() == bytes, "{store} changed");
    }
    let Old { home, .. } = unpacked("home-2026-11-26.tar.xz");
    let file = home.path().join("config/gateway.json");
    let newer = fs::read_to_string(&file).unwrap();
    let newer = newer.replacen('{', "{\"gateway.future\": true,", 1);
    fs::write(&file, &newer).unwrap();
    let (code, said) = run(&home, &["gateway", "--port", "0"]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("gateway.future"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), newer);
}
