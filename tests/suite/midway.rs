//! What changes while a turn waits on its provider.

use serde_json::json;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use testkit::{Home, Reply, Upstream};

/// The model is asked twice; its second call comes when the test lets it.
#[test]
fn a_policy_tightened_while_a_turn_waits_holds_for_its_next_call() {
    let (go, gone) = mpsc::channel::<()>();
    let (waits, waiting) = mpsc::channel::<()>();
    let both = Arc::new(Mutex::new((gone, waits)));
    let upstream = Upstream::thinking(move |_, nth| match nth {
        0 => Reply::call("write_file", &json!({"path": "first", "content": "x"})),
        1 => {
            let both = both.lock().unwrap();
            both.1.send(()).unwrap();
            both.0.recv().unwrap();
            Reply::call("write_file", &json!({"path": "second", "content": "x"}))
        }
        _ => Reply::say("done"),
    });
    let home = Home::with_upstream(&upstream);
    home.set_accepting_the_risk("gateway.tools.policy", "whitelist");
    home.set("gateway.tools.allowList", r#"["write_file"]"#);
    let gateway = home.start();
    let written = |name: &str| gateway.home.workspace().join(name).exists();
    std::thread::scope(|threads| {
        let turn = threads.spawn(|| gateway.turn("write both"));
        waiting.recv().unwrap();
        assert!(written("first"), "the control: it was allowed");
        gateway.home.set("gateway.tools.allowList", "[]");
        let tried = json!({"path": "by-hand", "content": "x"});
        let holds = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            gateway.invoke("write_file", &tried).status != 200
        });
        assert!(holds, "the control: the new policy is in force");
        go.send(()).unwrap();
        let answer = turn.join().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(
            answer.text().contains("write_file was not run"),
            "{}",
            answer.text()
        );
    });
    assert!(!written("second"), "it ran under the policy of before");
    assert!(!gateway.audit().paths_begun().contains(&"second".to_owned()));
}
