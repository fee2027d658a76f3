use super::KEYS;
use crate::keys::{BUILT_IN_TOOLS, Key};
use crate::{Overrides, Settings, SettingsFile, Values};
use clawdbot_domain::{ProviderName, ToolName};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// For each key a valid value that is not its default.
pub(crate) fn others() -> Vec<(&'static str, Value)> {
    vec![
        ("gateway.bind", json!("lan")),
        ("gateway.port", json!(8080)),
        ("gateway.environment", json!("dev")),
        ("gateway.trustedProxies", json!(["10.0.0.0/8"])),
        ("gateway.allowedHosts", json!(["gateway.example.com"])),
        ("gateway.tls.certificate", json!("/run/secrets/tls.pem")),
        ("gateway.tls.key", json!("/run/secrets/tls.key")),
        ("gateway.logLevel", json!("warn")),
        ("gateway.cors.enabled", json!(true)),
        (
            "gateway.cors.allowedOrigins",
            json!(["https://trusted-domain.com"]),
        ),
        ("gateway.security.rateLimit.enabled", json!(false)),
        ("gateway.security.rateLimit.maxRequests", json!(10)),
        ("gateway.security.rateLimit.windowMs", json!(1000)),
        ("gateway.security.promptInjection.enabled", json!(false)),
        ("gateway.security.promptInjection.strictMode", json!(false)),
        (
            "gateway.security.promptInjection.allowedLinkHosts",
            json!(["*.example.org"]),
        ),
        ("gateway.sandbox.enabled", json!(false)),
        ("gateway.sandbox.mode", json!("moderate")),
        (
            "gateway.sandbox.allowedCommands",
            json!(["ls", "cat", "grep"]),
        ),
        ("gateway.sandbox.allowedHosts", json!(["*.example.org"])),
        ("gateway.sandbox.sessionWorkspaces", json!(true)),
        ("gateway.sandbox.workspaceQuota", json!(10)),
        ("gateway.sandbox.workspaceHours", json!(24)),
        ("gateway.tools.search", json!("https://search.example.org")),
        ("gateway.tools.searchProvider", json!("brave")),
        ("gateway.tools.policy", json!("whitelist")),
        (
            "gateway.tools.allowList",
            json!(["read_file", "search_web"]),
        ),
        ("gateway.tools.denyList", json!(["run_command"])),
        (
            "gateway.tools.approvedCalls",
            json!([{"arguments": {"path": "a"}, "token": "abcdefghijkl", "tool": "write_file"}]),
        ),
        ("gateway.audit.enabled", json!(false)),
        ("gateway.audit.logLevel", json!("debug")),
        ("gateway.audit.logRequests", json!(false)),
        ("gateway.audit.logTools", json!(false)),
        ("gateway.audit.maxLogSize", json!(50)),
        ("gateway.audit.maxLogFiles", json!(5)),
        ("gateway.audit.minAge", json!(48)),
        ("gateway.audit.register", json!("/var/lib/register")),
        ("agents.main.tools", json!(["read_file"])),
        (
            "models.default",
            json!("openrouter/anthropic/claude-sonnet-4.5"),
        ),
        ("models.demo.enabled", json!(false)),
        (
            "models.providers.anthropic.baseUrl",
            json!("https://a.example.com"),
        ),
        (
            "models.providers.openai.baseUrl",
            json!("https://b.example.com/v1"),
        ),
        (
            "models.providers.openrouter.baseUrl",
            json!("https://c.example.com/v1"),
        ),
        (
            "models.providers.ollama.baseUrl",
            json!("http://127.0.0.1:1/v1"),
        ),
        (
            "models.providers.llamacpp.baseUrl",
            json!("http://localhost:2/v1"),
        ),
        (
            "models.providers.vllm.baseUrl",
            json!("https://d.example.com:8443/v1"),
        ),
        (
            "models.providers.lmstudio.baseUrl",
            json!("http://[::1]:3/v1"),
        ),
        (
            "models.providers.compatible.baseUrl",
            json!("https://e.example.com/v1"),
        ),
    ]
}

#[test]
fn every_key_reaches_the_settings() {
    let others = others();
    assert_eq!(
        others.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        KEYS.iter().map(Key::name).collect::<Vec<_>>(),
    );
    for (name, value) in others {
        let key = Key::find(name).unwrap();
        // Who may call is of no account while nobody may.
        let before = Values {
            cors_enabled: name == "gateway.cors.allowedOrigins",
            ..Values::default()
        };
        let mut after = before.clone();
        key.kind.write(&mut after, &value).unwrap();
        assert_eq!(key.read(&after), value, "{name}");
        assert_ne!(
            Settings::from(&before),
            Settings::from(&after),
            "{name} is a dead key"
        );
        let unchanged = KEYS.iter().filter(|k| k.name() != name);
        for other in unchanged {
            assert_eq!(
                other.read(&before),
                other.read(&after),
                "{name} changes {}",
                other.name()
            );
        }
    }
}

#[test]
fn names_and_variables_are_unique_and_no_key_is_a_group() {
    let names: BTreeSet<_> = KEYS.iter().map(Key::name).collect();
    let variables: BTreeSet<_> = KEYS.iter().map(Key::env_var).collect();
    assert_eq!((names.len(), variables.len()), (KEYS.len(), KEYS.len()));
    for key in &KEYS {
        assert_eq!(Key::under(key.name()).unwrap().len(), 1, "{}", key.name());
    }
}

#[test]
fn camel_case_becomes_words_in_a_variable() {
    let of = |name| Key::find(name).unwrap().env_var();
    assert_eq!(of("gateway.port"), "CLAWDBOT_GATEWAY_PORT");
    assert_eq!(
        of("gateway.security.rateLimit.maxRequests"),
        "CLAWDBOT_GATEWAY_SECURITY_RATE_LIMIT_MAX_REQUESTS"
    );
    assert_eq!(
        of("models.providers.openai.baseUrl"),
        "CLAWDBOT_MODELS_PROVIDERS_OPENAI_BASE_URL"
    );
}

#[test]
fn every_provider_but_the_demo_has_its_row() {
    for provider in ProviderName::ALL {
        let row = Key::find(&format!("models.providers.{provider}.baseUrl"));
        assert_eq!(row.is_some(), provider != ProviderName::Demo, "{provider}");
    }
}

#[test]
fn every_default_is_a_value_the_key_takes() {
    for key in &KEYS {
        let default = key.default_value();
        if !default.is_null() {
            let mut values = Values::default();
            assert_eq!(
                key.kind.write(&mut values, &default),
                Ok(()),
                "{}",
                key.name()
            );
            assert_eq!(values, Values::default());
        }
    }
}

#[test]
fn every_known_tool_has_a_valid_name() {
    for name in BUILT_IN_TOOLS {
        assert!(ToolName::parse(name).is_ok(), "{name}");
    }
}

/// Every `config set` of the security guide, as the shell hands it over.
#[test]
fn every_command_of_the_guide_works_as_printed() {
    let dir = tempfile::tempdir().unwrap();
    let file = SettingsFile::new(dir.path().join("gateway.json"));
    for (name, word) in [
        ("gateway.sandbox.enabled", "true"),
        ("gateway.sandbox.mode", "strict"),
        ("gateway.sandbox.allowedCommands", "[]"),
        ("gateway.sandbox.mode", "moderate"),
        (
            "gateway.sandbox.allowedCommands",
            r#"["ls", "cat", "grep"]"#,
        ),
        ("gateway.sandbox.mode", "permissive"),
        ("gateway.bind", "localhost"),
        ("gateway.cors.enabled", "false"),
        ("gateway.cors.enabled", "true"),
        (
            "gateway.cors.allowedOrigins",
            r#"["https://trusted-domain.com"]"#,
        ),
        ("gateway.security.rateLimit.enabled", "true"),
        ("gateway.security.rateLimit.maxRequests", "100"),
        ("gateway.security.rateLimit.windowMs", "60000"),
        ("gateway.audit.enabled", "true"),
        ("gateway.audit.logLevel", "info"),
        ("gateway.audit.logRequests", "true"),
        ("gateway.audit.logTools", "true"),
        ("gateway.audit.maxLogSize", "100"),
        ("gateway.audit.maxLogFiles", "10"),
        ("gateway.audit.minAge", "24"),
        ("gateway.audit.register", "/var/lib/register"),
        ("gateway.tools.policy", "restrictive"),
        ("gateway.tools.allowList", "[]"),
        ("gateway.tools.policy", "whitelist"),
        ("gateway.tools.allowList", r#"["read_file", "search_web"]"#),
        ("gateway.security.promptInjection.enabled", "true"),
        ("gateway.security.promptInjection.strictMode", "true"),
        ("gateway.audit.logLevel", "debug"),
    ] {
        let mut draft = file.draft().unwrap();
        draft.set_word(name, word).unwrap();
        draft.commit().unwrap();
        let loaded = file.load(&Overrides::default()).unwrap();
        let key = Key::find(name).unwrap();
        assert_eq!(
            key.read(&loaded.values),
            key.value_of_word(word).unwrap(),
            "{name}"
        );
    }
}
