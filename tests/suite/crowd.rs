//! Many commands at once on one home: each of them is in the log, or did not happen.

use std::process::{Child, Stdio};
use testkit::Home;

#[test]
fn of_a_hundred_commands_at_once_every_one_is_written_down_before_and_after() {
    let home = Home::new();
    home.set("gateway.port", "20000");
    let start = |at: u16| -> Child {
        let mut command = home.command();
        let port = (20_001 + at).to_string();
        command.args(["config", "set", "gateway.port", &port]);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let running: Vec<Child> = (0..100).map(start).collect();
    for child in running {
        let ran = child.wait_with_output().unwrap();
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
    let changes = home.audit().of("security.config.changed");
    let with = |outcome: &str| {
        let told = changes
            .iter()
            .filter(|record| record.0["outcome"] == outcome);
        told.count()
    };
    assert_eq!((with("begin"), with("ok")), (101, 101));
    assert_eq!(home.run(&["audit", "verify"]).code, 0);
    // And none of them left a key behind for the next one to replace.
    let epochs = std::fs::read_to_string(home.path().join("logs/epochs")).unwrap();
    assert_eq!(epochs.lines().count(), 1, "{epochs}");
}
