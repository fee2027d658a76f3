use super::{Origin, Overrides};
use crate::table::KEYS;
use crate::{Cors, Key, Place, RateLimit, Settings, SettingsFile, Values};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;
use tempfile::TempDir;

fn file_of(bytes: impl AsRef<[u8]>) -> (TempDir, SettingsFile) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.json");
    fs::write(&path, bytes).unwrap();
    (dir, SettingsFile::new(path))
}

/// The errors of a file, without the path of the folder they were tried in.
fn errors_of(bytes: impl AsRef<[u8]>) -> Vec<String> {
    let (dir, file) = file_of(&bytes);
    let errors = file.load(&Overrides::default()).unwrap_err();
    assert_eq!(
        fs::read(file.path()).unwrap(),
        bytes.as_ref(),
        "the file is left untouched"
    );
    let prefix = format!("{}/", dir.path().display());
    errors
        .iter()
        .map(|e| e.to_string().replace(&prefix, ""))
        .collect()
}

fn env(pairs: &[(&str, &str)]) -> Overrides {
    Overrides::from_vars(
        pairs
            .iter()
            .map(|(name, text)| ((*name).into(), (*text).into())),
    )
}

#[test]
fn a_missing_file_and_an_empty_object_are_the_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let missing = SettingsFile::new(dir.path().join("none/gateway.json"));
    let loaded = missing.load(&Overrides::default()).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert!(!loaded.stamp.is_there());
    let (_dir, empty) = file_of("{}\n");
    let loaded = empty.load(&Overrides::default()).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert_eq!(loaded.stamp, empty.stamp());
}

#[test]
fn the_defaults_pass_the_whole_checklist() {
    let gateway = Settings::default().gateway;
    assert!(gateway.sandbox.enabled);
    assert_eq!(gateway.sandbox.mode.as_str(), "strict");
    assert!(gateway.sandbox.allowed_commands.is_empty());
    assert!(!gateway.bind.is_wider_than_localhost());
    assert_eq!(gateway.cors, Cors::Disabled);
    let window = Duration::from_secs(60);
    assert_eq!(
        gateway.rate_limit,
        RateLimit::Limit {
            max_requests: 100,
            window
        }
    );
    assert!(gateway.audit.enabled && gateway.audit.log_requests && gateway.audit.log_tools);
    assert!(gateway.prompt_injection.enabled && gateway.prompt_injection.strict_mode);
    assert_eq!(gateway.tools.policy.as_str(), "restrictive");
    assert!(gateway.tools.allow_list.is_empty());
    assert!(gateway.trusted_proxies.is_empty() && gateway.allowed_hosts.is_empty());
    assert_eq!(gateway.environment.as_str(), "prod");
}

#[test]
fn a_corrupt_file_is_named_for_what_it_is() {
    for (bytes, said) in [
        (&b""[..], "gateway.json: is empty, not even {}"),
        (b"\0\0\0\0", "gateway.json: holds NUL bytes"),
        (b"{\"gateway\":{}}\0\0\0", "gateway.json: holds NUL bytes"),
        (
            b"\xef\xbb\xbf{}",
            "gateway.json: starts with a byte-order mark",
        ),
        (b"{\"a\": \"\xff\"}", "gateway.json:1:8: is not UTF-8"),
        (
            b"{\n  \"gateway\": {\"port\": 1",
            "gateway.json:2:23: is not valid JSON: EOF",
        ),
        (
            b"{} {}",
            "gateway.json:1:4: is not valid JSON: trailing characters",
        ),
        (
            b"{}x",
            "gateway.json:1:3: is not valid JSON: trailing characters",
        ),
        (b"[]", "gateway.json: must be a JSON object"),
        (b"null", "gateway.json: must be a JSON object"),
        (
            b"{gateway: 1}",
            "gateway.json:1:2: is not valid JSON: key must be a string",
        ),
        (
            b"{\"a\": 1,}",
            "gateway.json:1:9: is not valid JSON: trailing comma",
        ),
        (
            b"// hi\n{}",
            "gateway.json:1:1: is not valid JSON: expected value",
        ),
    ] {
        let errors = errors_of(bytes);
        assert!(
            errors.len() == 1 && errors[0].starts_with(said),
            "{said}: {errors:?}"
        );
    }
}

#[test]
fn a_file_nested_to_break_the_parser_is_an_error_and_no_crash() {
    let deep = |open: &str| format!("{{\"gateway\": {}", open.repeat(100_000));
    for bytes in [deep("["), deep("{\"a\":"), deep("{\"gateway\":")] {
        assert_eq!(errors_of(bytes).len(), 1);
    }
    let huge = format!("{{\"gateway\":{{\"bind\":\"{}\"}}}}", "x".repeat(2 << 20));
    assert!(errors_of(huge)[0].contains("larger than 1 MiB"));
}

#[test]
fn a_key_that_stands_twice_is_refused_wherever_it_stands() {
    let errors = errors_of(
        "{\n \"gateway\": {\"port\": 1, \"port\": 2},\n \"gateway\": {\"sandbox\": {\"enabled\": false}}\n}",
    );
    assert_eq!(
        errors,
        [
            "gateway.json:2:33: gateway.port: stands here a second time (keep one of the two)",
            "gateway.json:3:13: gateway: stands here a second time (keep one of the two)",
        ]
    );
    let escaped = errors_of(r#"{"gateway":{"port":1,"p\u006frt":2}}"#);
    assert!(
        escaped[0].contains("gateway.port: stands here a second time"),
        "{escaped:?}"
    );
}

#[test]
fn a_mistyped_group_is_told_the_group() {
    let errors = errors_of(r#"{"gateway": {"sandbx": {"mode": "strict"}}}"#);
    assert!(
        errors[0].contains("gateway.sandbx") && errors[0].contains("is gateway.sandbox meant?"),
        "{errors:?}"
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let errors = errors_of(
        r#"{
  "gateway": {
    "port": "abc",
    "sandbox": {"mode": "Strict", "enabeld": true},
    "tools": [],
    "cors": {"allowedOrigins": ["*"]},
    "gateway.port": 1
  },
  "models": {"default": "gpt-4"}
}"#,
    );
    assert_eq!(
        errors,
        [
            "gateway.json:4:46: gateway.sandbox.enabeld: there is no such key (is gateway.sandbox.enabled meant?)",
            "gateway.json:5:14: gateway.tools = []: is a group of keys: must be an object { … }",
            "gateway.json:7:21: gateway.gateway.port: a name in the file has no '.' (write it nested: {\"gateway\": {\"port\": …}})",
            "gateway.json:3:13: gateway.port = \"abc\": must be a whole number from 1 to 65535",
            "gateway.json:4:25: gateway.sandbox.mode = \"Strict\": must be one of strict, moderate, permissive",
            "gateway.json:6:32: gateway.cors.allowedOrigins = [\"*\"]: entry 1 (\"*\"): wildcards would let in sites nobody named; list each origin",
            "gateway.json:9:25: models.default = \"gpt-4\": must be provider/model, as in demo/demo",
        ]
    );
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let errors = errors_of(r#"{"models":{"providers":{"openai":{"apiKey":"sk-hunter2"}}}}"#);
    assert!(
        errors[0].contains("secrets are never kept in the configuration"),
        "{errors:?}"
    );
    assert!(!errors[0].contains("hunter2"));
}

/// For each key: every value of another JSON type is refused, with key, value and what is allowed.
#[test]
fn every_key_refuses_every_wrong_type() {
    let all = [
        Value::Null,
        json!(true),
        json!(7),
        json!(7.5),
        json!(-1),
        json!(1e300),
        json!("word"),
        json!(["word word"]),
        json!([1]),
        json!([null]),
        json!([["ls"]]),
        json!({}),
        json!({"a": 1}),
    ];
    for key in &KEYS {
        for bad in &all {
            let fits = match key.default_value() {
                Value::Bool(_) => bad.is_boolean(),
                Value::Number(_) => bad.is_u64(),
                // Text and lists: none of the above is a valid one.
                Value::String(_) | Value::Array(_) | Value::Null => false,
                Value::Object(_) => unreachable!("{}", key.name()),
            };
            let (mut text, mut depth) = (String::new(), 0);
            for part in key.name().split('.') {
                write!(text, "{{\"{part}\":").unwrap();
                depth += 1;
            }
            text.push_str(&bad.to_string());
            text.push_str(&"}".repeat(depth));
            if fits {
                let (_dir, file) = file_of(&text);
                // 7 is below some minimums; whether it fits is not a question of type then.
                let _ = file.load(&Overrides::default());
            } else {
                let errors = errors_of(&text);
                let said = format!("{} = {bad}: ", key.name());
                assert!(
                    errors.len() == 1 && errors[0].contains(&said),
                    "{text}: {errors:?}"
                );
                assert!(
                    ["must", "entry 1", "a base URL"]
                        .iter()
                        .any(|w| errors[0].contains(w)),
                    "{errors:?}"
                );
            }
        }
    }
}

#[test]
fn numbers_hold_their_bounds() {
    for (key, min, max) in [
        ("PORT", 1, 65_535),
        ("SECURITY_RATE_LIMIT_MAX_REQUESTS", 1, 1_000_000),
        ("SECURITY_RATE_LIMIT_WINDOW_MS", 100, 86_400_000),
        ("AUDIT_MAX_LOG_SIZE", 1, 10_240),
        ("AUDIT_MAX_LOG_FILES", 2, 10_000_u64),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = SettingsFile::new(dir.path().join("gateway.json"));
        let try_it = |text: String| {
            file.load(&env(&[(&format!("CLAWDBOT_GATEWAY_{key}"), &text)]))
                .is_ok()
        };
        assert!(try_it(min.to_string()) && try_it(max.to_string()), "{key}");
        for bad in [
            (min - 1).to_string(),
            (max + 1).to_string(),
            format!("+{min}"),
            format!("{min}.0"),
        ] {
            assert!(!try_it(bad.clone()), "{key} {bad}");
        }
        for bad in [
            "ten",
            "0x10",
            "1e3",
            " 100",
            "100 ",
            "1_000",
            "-1",
            "99999999999999999999",
        ] {
            assert!(!try_it(bad.to_owned()), "{key} {bad}");
        }
    }
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let (_dir, file) =
        file_of(r#"{"gateway":{"port":1000,"sandbox":{"mode":"moderate"},"bind":"lan"}}"#);
    let mut overrides = env(&[
        ("CLAWDBOT_GATEWAY_PORT", "2000"),
        ("CLAWDBOT_GATEWAY_SANDBOX_MODE", "permissive"),
        ("CLAWDBOT_GATEWAY_SANDBOX_ALLOWED_COMMANDS", r#"["ls"]"#),
    ]);
    overrides.flags.push(("gateway.port".into(), "3000".into()));
    let loaded = file.load(&overrides).unwrap();
    assert_eq!(loaded.settings.gateway.port, 3000);
    assert_eq!(loaded.settings.gateway.sandbox.mode.as_str(), "permissive");
    assert_eq!(loaded.settings.gateway.sandbox.allowed_commands, ["ls"]);
    assert_eq!(loaded.origins["gateway.port"], Origin::Flag);
    assert_eq!(
        loaded.origins["gateway.sandbox.mode"],
        Origin::Env("CLAWDBOT_GATEWAY_SANDBOX_MODE".into())
    );
    assert_eq!(loaded.origins["gateway.bind"], Origin::File);
    assert_eq!(loaded.origins["gateway.logLevel"], Origin::Default);
    assert_eq!(loaded.origins.len(), KEYS.len());
}

#[test]
fn errors_of_file_environment_and_flags_come_together() {
    let (_dir, file) = file_of(r#"{"gateway":{"port":0}}"#);
    let mut overrides = env(&[
        ("CLAWDBOT_GATEWAY_SANDBOX_ENABLED", "no"),
        ("CLAWDBOT_GATEWAY_SANDBOX_MOD", "strict"),
        ("CLAWDBOT_GATEWAY_TOOLS_ALLOW_LIST", "read_file,search_web"),
    ]);
    overrides.flags.push(("gateway.prot".into(), "1".into()));
    let errors = file.load(&overrides).unwrap_err();
    let said: Vec<_> = errors.iter().skip(1).map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "environment variable CLAWDBOT_GATEWAY_SANDBOX_ENABLED: gateway.sandbox.enabled = no: must be true or false",
            "environment variable CLAWDBOT_GATEWAY_SANDBOX_MOD: no key has this variable (is CLAWDBOT_GATEWAY_SANDBOX_MODE meant?)",
            "environment variable CLAWDBOT_GATEWAY_TOOLS_ALLOW_LIST: gateway.tools.allowList = read_file,search_web: must be a JSON array such as '[\"read_file\",\"search_web\"]', or \"[]\" for none",
            "flag gateway.prot: gateway.prot: there is no such key (is gateway.port meant?)",
        ]
    );
    assert!(matches!(
        errors.iter().next().unwrap().place,
        Place::At {
            line: 1,
            column: 20,
            ..
        }
    ));
}

#[test]
fn what_is_not_ours_in_the_environment_is_left_alone() {
    let overrides = env(&[
        ("CLAWDBOT_HOME", "/data"),
        ("CLAWDBOT_GATEWAY_LOG_LEVEL", ""),
        ("PATH", "/bin"),
        // What Kubernetes says of a service named clawdbot-gateway.
        ("CLAWDBOT_GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("CLAWDBOT_GATEWAY_SERVICE_PORT", "18789"),
        ("CLAWDBOT_GATEWAY_PORT", "tcp://10.0.0.1:18789"),
        ("CLAWDBOT_GATEWAY_PORT_18789_TCP_ADDR", "10.0.0.1"),
    ]);
    assert_eq!(overrides, Overrides::default());
}

#[test]
fn what_is_no_regular_file_is_refused_and_never_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.json");
    let said = |path: &std::path::Path| {
        SettingsFile::new(path)
            .load(&Overrides::default())
            .unwrap_err()
            .to_string()
    };
    assert!(said(dir.path()).contains("cannot be read"));
    assert!(said(std::path::Path::new("/dev/zero")).contains("not a regular file"));
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    assert!(said(&path).contains("a link that leads nowhere"));
    let pipe = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    assert!(said(&pipe).contains("not a regular file"));
}

#[test]
fn a_change_of_the_file_changes_its_stamp() {
    let (_dir, file) = file_of("{}");
    let first = file.stamp();
    assert_eq!(first, file.stamp());
    fs::write(file.path(), "{ }").unwrap();
    let second = file.stamp();
    assert_ne!(first, second);
    let mut draft = file.draft().unwrap();
    draft.set("gateway.port", &json!(1)).unwrap();
    draft.commit().unwrap();
    assert_ne!(second, file.stamp());
}

#[test]
fn states_and_values_say_the_same() {
    let settings = Settings::default();
    assert_eq!(Values::from(&settings), Values::default());
    assert_eq!(Settings::from(&Values::from(&settings)), settings);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_bytes_at_all_make_the_parser_fall(bytes in proptest::collection::vec(0_u8.., 0..400)) {
        let _ = crate::document::Document::parse(&bytes, std::path::Path::new("x"));
    }

    #[test]
    fn no_cut_or_flipped_byte_makes_a_weaker_configuration_unseen(at in 0_usize..400, byte in 0_u8..) {
        let whole = br#"{"gateway":{"sandbox":{"enabled":true,"mode":"strict"},"cors":{"enabled":false},"audit":{"enabled":true},"security":{"promptInjection":{"enabled":true}}}}"#;
        let mut damaged = whole.to_vec();
        let at = at % damaged.len();
        damaged[at] = byte;
        let (_dir, file) = file_of(&damaged);
        if let Ok(loaded) = file.load(&Overrides::default()) {
            proptest::prop_assert_eq!(loaded.settings, Settings::default());
        }
        let (_dir, file) = file_of(&whole[..at]);
        proptest::prop_assert!(file.load(&Overrides::default()).is_err());
    }
}

#[test]
fn a_name_that_stands_twice_inside_a_value_is_refused_as_well() {
    // Whoever reads the file may read the first; the last would count.
    let entry = r#"{"tool": "write_file", "token": "abcdefghijkl", "arguments": {"path": "a", "path": "b"}}"#;
    let text = format!(r#"{{"gateway": {{"tools": {{"approvedCalls": [{entry}]}}}}}}"#);
    let said = errors_of(&text);
    assert!(
        said[0].contains(r#"gateway.tools.approvedCalls: holds "path" twice in one object"#),
        "{said:?}"
    );
    let key = Key::find("gateway.tools.approvedCalls").unwrap();
    assert!(key.value_of_word(&format!("[{entry}]")).is_err());
}
