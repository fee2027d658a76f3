//! Settings that change under a running gateway by another door than its own commands.

use testkit::{Home, Record};

/// DISK-02. Whoever may write the file needs no command; what came into force is in the log all the same.
#[test]
fn a_control_weakened_with_an_editor_is_in_the_log_before_anything_is_done_under_it() {
    let gateway = Home::new().start();
    let file = gateway.home.path().join("config/gateway.json");
    let (applied, rejected) = ("security.config.applied", "security.config.rejected");
    let weak = r#"{"gateway": {"tools": {"policy": "permissive"}, "logLevel": "debug"}}"#;
    std::fs::write(&file, weak).unwrap();
    let of_policy = |r: &Record| r.event() == applied && r.text("key") == "gateway.tools.policy";
    let record = gateway.audit().wait_for("the change", of_policy);
    assert_eq!(
        (record.text("from"), record.text("to")),
        ("restrictive", "permissive")
    );
    assert_eq!(*record.get("weakens"), true);
    let level = |r: &Record| r.event() == applied && r.text("key") == "gateway.logLevel";
    assert_eq!(
        *gateway.audit().wait_for("the other", level).get("weakens"),
        false
    );

    // Half a file changes nothing, and that is in the log as well.
    std::fs::write(&file, &weak[..40]).unwrap();
    let refused = gateway
        .audit()
        .wait_for("the refusal", |r| r.event() == rejected);
    assert_eq!(*refused.get("outcome"), "failed");
    let in_force = gateway.ask(testkit::Call::get("/status"));
    assert!(
        in_force.text().contains("permissive"),
        "{}",
        in_force.text()
    );

    // Changed while nothing ran: the start says what is weaker than out of the box.
    std::fs::write(&file, weak).unwrap();
    let (_, home) = gateway.stop();
    let again = home.start();
    let starts = again.audit().of("gateway.start");
    assert_eq!(
        starts.last().map(|r| r.get("weakened").clone()),
        Some(serde_json::json!(["gateway.tools.policy=permissive"]))
    );
    assert_eq!(*starts[0].get("weakened"), serde_json::Value::Null);
}
