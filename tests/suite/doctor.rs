//! `doctor`: what does not work is named, and what works is not.

use serde_json::Value;
use std::net::TcpListener;
use testkit::{Home, Ran};

fn checks(ran: &Ran) -> Vec<(String, String)> {
    let all = ran.json()["checks"].as_array().unwrap().clone();
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    all.iter()
        .map(|one| (text(one, "id"), text(one, "severity")))
        .collect()
}

#[test]
fn a_doctor_finds_nothing_wrong_where_nothing_is_and_says_what_is_where_something_is() {
    let home = Home::new();
    let new = home.run(&["doctor", "--json", "--port", "1"]);
    assert_eq!(new.code, 0, "{}{}", new.out, new.err);
    let gateway = home.start();
    let port = gateway.port.to_string();
    let well = gateway.home.run(&["doctor", "--json", "--port", &port]);
    assert_eq!(well.code, 0, "{}", well.out);
    assert!(
        checks(&well).contains(&("gateway".into(), "ok".into())),
        "{}",
        well.out
    );
    let home = gateway.kill();
    let ill = |ran: &Ran, id: &str| {
        assert_eq!(ran.code, 1, "{}", ran.out);
        assert!(
            checks(ran).contains(&(id.into(), "fail".into())),
            "{id}: {}",
            ran.out
        );
    };
    // Another program has the port.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().port().to_string();
    ill(
        &home.run(&["doctor", "--json", "--port", &taken]),
        "gateway",
    );
    // The default model has no credential.
    home.set("models.default", "openai/gpt-mock");
    ill(&home.run(&["doctor", "--json", "--port", "1"]), "provider");
    // The log does not continue.
    let key = home.path().join("secrets/audit.key");
    let held = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    ill(&home.run(&["doctor", "--json", "--port", "1"]), "audit");
    std::fs::write(&key, held).unwrap();
    // The clock was set back behind what is written down already.
    let past = Home::new();
    std::fs::create_dir_all(past.path().join("logs")).unwrap();
    let line = r#"{"index":0,"time":"2999-01-01T00:00:00.000000000Z","event":"gateway.start","outcome":"ok"}"#;
    let segment = past.path().join("logs/audit-00000000000000000000.jsonl");
    std::fs::write(segment, format!("{line}\n")).unwrap();
    ill(&past.run(&["doctor", "--json", "--port", "1"]), "clock");
    // The settings are wrong; the rest is looked at all the same.
    std::fs::write(home.path().join("config/gateway.json"), "{").unwrap();
    let wrong = home.run(&["doctor", "--json", "--port", "1"]);
    ill(&wrong, "settings");
    assert!(checks(&wrong).len() >= 9, "{}", wrong.out);
    assert_eq!(
        std::fs::read_to_string(home.path().join("config/gateway.json")).unwrap(),
        "{"
    );
}
