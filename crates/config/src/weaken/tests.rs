use super::{Change, Weaker, changes, weakening};
use crate::keys::Key;
use crate::table::KEYS;
use crate::{Cors, RateLimit, Settings, Values};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

fn with(name: &str, value: &Value) -> Values {
    let mut values = Values::default();
    if value.is_null() {
        // Unset, which is the default of a key that may be.
        return values;
    }
    Key::find(name)
        .unwrap()
        .kind
        .write(&mut values, value)
        .unwrap();
    values
}

/// Per row: key, the safer value, the weaker value.
#[allow(clippy::too_many_lines, reason = "a table")]
fn one_way() -> Vec<(&'static str, Value, Value)> {
    vec![
        ("gateway.bind", json!("localhost"), json!("lan")),
        ("gateway.bind", json!("loopback"), json!("192.168.1.7")),
        ("gateway.bind", json!("192.168.1.7"), json!("0.0.0.0")),
        ("gateway.environment", json!("prod"), json!("dev")),
        ("gateway.trustedProxies", json!([]), json!(["10.0.0.0/8"])),
        (
            "gateway.allowedHosts",
            json!(["a.test"]),
            json!(["a.test", "b.test"]),
        ),
        ("gateway.tls.certificate", json!("/a.pem"), json!(null)),
        ("gateway.tls.key", json!("/a.key"), json!(null)),
        (
            "gateway.sandbox.allowedHosts",
            json!(["a.test"]),
            json!(["*"]),
        ),
        (
            "gateway.sandbox.allowedHosts",
            json!(["*"]),
            json!(["*", "10.0.0.1"]),
        ),
        ("agents.main.tools", json!(["read_file"]), json!(["*"])),
        (
            "agents.main.tools",
            json!([]),
            json!(["read_file", "list_directory"]),
        ),
        (
            "gateway.tools.searchProvider",
            json!("searxng"),
            json!("tavily"),
        ),
        (
            "gateway.sandbox.sessionWorkspaces",
            json!(true),
            json!(false),
        ),
        ("gateway.sandbox.workspaceQuota", json!(1), json!(2)),
        ("gateway.sandbox.workspaceHours", json!(1), json!(2)),
        ("gateway.cors.enabled", json!(false), json!(true)),
        (
            "gateway.cors.allowedOrigins",
            json!([]),
            json!(["https://a.test"]),
        ),
        (
            "gateway.security.rateLimit.enabled",
            json!(true),
            json!(false),
        ),
        (
            "gateway.security.rateLimit.maxRequests",
            json!(100),
            json!(101),
        ),
        (
            "gateway.security.rateLimit.windowMs",
            json!(60_000),
            json!(59_999),
        ),
        (
            "gateway.security.promptInjection.enabled",
            json!(true),
            json!(false),
        ),
        (
            "gateway.security.promptInjection.strictMode",
            json!(true),
            json!(false),
        ),
        (
            "gateway.security.promptInjection.allowedLinkHosts",
            json!([]),
            json!(["docs.example.org"]),
        ),
        ("gateway.sandbox.enabled", json!(true), json!(false)),
        ("gateway.sandbox.mode", json!("strict"), json!("moderate")),
        (
            "gateway.sandbox.mode",
            json!("moderate"),
            json!("permissive"),
        ),
        (
            "gateway.sandbox.allowedCommands",
            json!(["ls"]),
            json!(["cat", "ls"]),
        ),
        (
            "gateway.tools.policy",
            json!("restrictive"),
            json!("whitelist"),
        ),
        (
            "gateway.tools.policy",
            json!("whitelist"),
            json!("permissive"),
        ),
        ("gateway.tools.allowList", json!([]), json!(["read_file"])),
        (
            "gateway.tools.denyList",
            json!(["read_file", "run_command"]),
            json!(["read_file"]),
        ),
        (
            "gateway.tools.approvedCalls",
            json!([]),
            json!([{"tool": "write_file", "arguments": {}, "token": "abcdefghijkl"}]),
        ),
        ("gateway.audit.enabled", json!(true), json!(false)),
        ("gateway.audit.logLevel", json!("debug"), json!("info")),
        ("gateway.audit.logLevel", json!("info"), json!("error")),
        ("gateway.audit.logRequests", json!(true), json!(false)),
        ("gateway.audit.logTools", json!(true), json!(false)),
        ("gateway.audit.maxLogSize", json!(100), json!(99)),
        ("gateway.audit.maxLogFiles", json!(10), json!(9)),
        ("gateway.audit.minAge", json!(24), json!(23)),
        ("gateway.audit.register", json!("/r"), json!(null)),
        (
            "models.providers.openai.baseUrl",
            json!("https://api.openai.com/v1"),
            json!("https://elsewhere.test/v1"),
        ),
        (
            "models.providers.ollama.baseUrl",
            json!("http://127.0.0.1:11434/v1"),
            json!("https://elsewhere.test/v1"),
        ),
    ]
}

/// From the first value to the second weakens; back again does not.
#[test]
fn the_weaker_direction_of_every_control() {
    let mut seen = BTreeSet::new();
    for (name, safe, weak) in one_way() {
        seen.insert(name);
        let (safe, weak) = (with(name, &safe), with(name, &weak));
        let to_weak = changes(&safe, &weak);
        assert_eq!(
            (to_weak.len(), to_weak[0].key, to_weak[0].weakens),
            (1, name, true),
            "{name}"
        );
        let back = changes(&weak, &safe);
        assert_eq!(
            (back.len(), back[0].key, back[0].weakens),
            (1, name, false),
            "{name} back"
        );
    }
    for key in KEYS.iter().filter(|key| key.weaker != Weaker::Never) {
        let tested = seen.contains(key.name()) || key.weaker == Weaker::Elsewhere;
        assert!(tested, "{} is a control without a row", key.name());
    }
}

#[test]
fn what_replaces_an_entry_by_another_weakens_both_ways() {
    for (name, one, other) in [
        (
            "gateway.tools.allowList",
            json!(["read_file"]),
            json!(["run_command"]),
        ),
        (
            "gateway.tools.denyList",
            json!(["read_file"]),
            json!(["run_command"]),
        ),
        ("gateway.bind", json!("192.168.1.7"), json!("10.0.0.7")),
    ] {
        let (one, other) = (with(name, &one), with(name, &other));
        assert!(
            changes(&one, &other)[0].weakens && changes(&other, &one)[0].weakens,
            "{name}"
        );
    }
}

#[test]
fn what_is_no_control_never_weakens() {
    for (name, value) in [
        ("gateway.port", json!(1)),
        ("gateway.logLevel", json!("error")),
        ("models.default", json!("ollama/qwen3")),
        ("models.demo.enabled", json!(false)),
        (
            "models.providers.openai.baseUrl",
            json!("http://127.0.0.1:1/v1"),
        ),
    ] {
        assert!(
            !changes(&Values::default(), &with(name, &value))[0].weakens,
            "{name}"
        );
    }
}

#[test]
fn turning_the_sandbox_off_needs_consent_and_nothing_else_does() {
    let off = with("gateway.sandbox.enabled", &json!(false));
    assert_eq!(
        changes(&Values::default(), &off),
        [Change {
            key: "gateway.sandbox.enabled",
            from: "true".into(),
            to: "false".into(),
            weakens: true,
            needs_restart: false,
            needs_consent: true,
        }]
    );
    assert!(!changes(&off, &Values::default())[0].needs_consent);
    let needing: Vec<_> = KEYS
        .iter()
        .filter(|k| k.needs_consent())
        .map(Key::name)
        .collect();
    assert_eq!(needing, ["gateway.sandbox.enabled"]);
}

#[test]
fn how_it_listens_needs_a_restart() {
    let needing: Vec<_> = KEYS
        .iter()
        .filter(|k| k.needs_restart())
        .map(Key::name)
        .collect();
    assert_eq!(
        needing,
        [
            "gateway.bind",
            "gateway.port",
            "gateway.tls.certificate",
            "gateway.tls.key",
            "gateway.audit.register"
        ]
    );
}

#[test]
fn settings_in_force_are_compared_by_their_states() {
    let safe = Settings::default();
    let mut weak = safe.clone();
    weak.gateway.cors = Cors::Allow(vec!["https://a.test".into()]);
    weak.gateway.rate_limit = RateLimit::Off;
    weak.gateway.sandbox.enabled = false;
    let keys = |from: &Settings, to: &Settings| -> Vec<&str> {
        weakening(from, to)
            .iter()
            .map(|change| change.key)
            .collect()
    };
    assert_eq!(
        keys(&safe, &weak),
        [
            "gateway.cors.enabled",
            "gateway.cors.allowedOrigins",
            "gateway.security.rateLimit.enabled",
            "gateway.sandbox.enabled",
        ]
    );
    assert!(keys(&weak, &safe).is_empty());
    // Off forgets its numbers: going off and on is no change of the numbers.
    let mut tight = safe.clone();
    tight.gateway.rate_limit = RateLimit::Limit {
        max_requests: 1,
        window: Duration::from_secs(3600),
    };
    let mut off = tight.clone();
    off.gateway.rate_limit = RateLimit::Off;
    assert_eq!(keys(&tight, &off), ["gateway.security.rateLimit.enabled"]);
    assert!(keys(&off, &tight).is_empty());
}
