//! The wall clock, moved under a running gateway.

use serde_json::json;
use std::path::Path;
use testkit::{Call, Gateway, Home};

/// Debian's libfaketime: the wall clock as a file says, the monotonic one as it is; with a lock, for
/// without one a thread reads the true time now and then.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

fn under_a_clock(home: Home, file: &Path) -> Gateway {
    assert!(
        Path::new(LIBRARY).exists(),
        "libfaketime is installed; ./test does it"
    );
    let mut command = home.command();
    command
        .env("LD_PRELOAD", LIBRARY)
        .env("FAKETIME_TIMESTAMP_FILE", file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Gateway::start(home, command)
}

/// EDGE-15. Neither an hour back nor two hours forward opens the window early or keeps it shut.
#[test]
fn setting_the_wall_clock_does_not_move_the_rate_limit() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let home = Home::new();
    home.set("gateway.security.rateLimit.maxRequests", "20");
    let gateway = under_a_clock(home, &clock);
    let ask = || Call::get("/health").send(gateway.port);
    while ask().status == 200 {}
    for moved in ["-1h", "+2h", "-1d", "+10y"] {
        std::fs::write(&clock, moved).unwrap();
        let answer = ask();
        assert_eq!(answer.status, 429, "{moved}");
        let wait = answer
            .header("retry-after")
            .unwrap()
            .parse::<u64>()
            .unwrap();
        assert!((1..=61).contains(&wait), "{moved}: {wait}");
    }
    let date = ask().header("date").map(str::to_owned);
    assert!(
        date.is_some_and(|d| d.contains("2036") || d.contains("2037")),
        "the control: the clock was moved"
    );
}

/// TOK-03. What was over at one time is over at an earlier one, and what was not asked for yet is not
/// approved yet, in the gateway as it runs and in the one after it.
#[test]
fn setting_the_wall_clock_back_revives_no_token_and_no_approval() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let set = |moved: &str| std::fs::write(&clock, moved).unwrap();
    set("+0");
    let home = Home::new();
    home.set("gateway.tools.allowList", r#"["write_file"]"#);
    let args = ["--name", "brief", "--scopes", "read", "--ttl", "1h"];
    let brief = home.run(&[&["tokens", "create"][..], &args].concat());
    let brief = brief.ok("tokens create").out.trim().to_owned();
    let gateway = under_a_clock(home, &clock);
    let status = |gateway: &Gateway| {
        let call = Call::get("/status").bearer(&brief);
        call.send(gateway.port).status
    };
    let call = |name: &str, approval: Option<&str>| {
        let mut call = json!({"name": "write_file", "arguments": {"path": name, "content": "x"}});
        if let Some(id) = approval {
            call["approval"] = json!(id);
        }
        gateway.post("/tools/invoke", &call)
    };
    let approved = |name: &str| {
        let asked = call(name, None).json();
        let id = asked["approval"]["id"].as_str().unwrap().to_owned();
        let given = gateway.post(&format!("/approvals/{id}/approve"), &json!({}));
        assert_eq!(given.status, 200, "{}", given.text());
        id
    };
    let ids = ["late", "early"].map(|name| (name, approved(name)));
    assert_eq!(
        status(&gateway),
        200,
        "the control: it counts within its hour"
    );
    set("-1h");
    assert_eq!(call("early", Some(&ids[1].1)).status, 403);
    set("+6m");
    assert_eq!(call("late", Some(&ids[0].1)).status, 403);
    set("+2h");
    assert_eq!(status(&gateway), 401);
    for moved in ["+0", "-1h"] {
        set(moved);
        assert_eq!(status(&gateway), 401, "{moved}");
        for (name, id) in &ids {
            assert_eq!(call(name, Some(id)).status, 403, "{moved}: {name}");
        }
    }
    set("+0");
    let ran = call("now", Some(&approved("now")));
    assert_eq!(ran.status, 200, "the control: {}", ran.text());
    let written = |name: &str| gateway.home.workspace().join(name).exists();
    assert!(written("now") && !written("early") && !written("late"));
    let (_, home) = gateway.stop();
    assert_eq!(
        status(&under_a_clock(home, &clock)),
        401,
        "nor after a restart"
    );
}
