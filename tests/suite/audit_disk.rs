//! Disks that are full, read-only, failing or silent: nothing happens that cannot be written down, and
//! the gateway goes on by itself once it can be again.

use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use testkit::disk::{Cache, Disk, FileSystem, mount_for_this_test_alone, tool};
use testkit::{Answer, Call, Gateway, Home, Judges, Upstream};

/// A gateway that may write files, with its log on this disk.
fn gateway(home: Home) -> Gateway {
    home.set_accepting_the_risk("gateway.tools.policy", "whitelist");
    home.set("gateway.tools.allowList", r#"["write_file"]"#);
    home.set("gateway.security.rateLimit.maxRequests", "1000000");
    home.start()
}

/// An act that leaves a file of that name in the workspace.
fn act(gateway: &Gateway, name: &str) -> Answer {
    gateway.invoke("write_file", &json!({"path": name, "content": "done"}))
}

fn happened(gateway: &Gateway, name: &str) -> bool {
    gateway.home.workspace().join(name).exists()
}

#[track_caller]
fn does(gateway: &Gateway, name: &str) {
    let answer = act(gateway, name);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(happened(gateway, name), "{name} is said to be done");
}

/// Refused as what cannot be written down, soon, and not done; nor is the gateway ready.
#[track_caller]
fn refuses(gateway: &Gateway, name: &str) {
    let asked = Instant::now();
    let answer = act(gateway, name);
    assert_eq!(answer.status, 503, "{name}: {}", answer.text());
    assert!(
        answer.text().contains("audit_unavailable"),
        "{}",
        answer.text()
    );
    // Two seconds, and a machine that is busy with other things.
    assert!(
        asked.elapsed() < Duration::from_secs(20),
        "{:?}",
        asked.elapsed()
    );
    assert!(!happened(gateway, name), "{name} was done without a record");
    let status = |path: &str| Call::get(path).send(gateway.port).status;
    assert_eq!(status("/ready"), 503, "{name}");
    assert_eq!(status("/health"), 200, "{name}: it lives all the same");
}

/// Waits until it does things again, by itself.
fn recovers(gateway: &Gateway, name: &str) {
    let again = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        act(gateway, name).status == 200
    });
    assert!(again, "it does not go on by itself: {}", gateway.said());
    assert!(happened(gateway, name));
}

fn mount_tmpfs(over: &Path, kilobytes: u32) {
    std::fs::create_dir_all(over).unwrap();
    let size = format!("size={kilobytes}k,mode=700");
    let mut mounting = Command::new("mount");
    mounting
        .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
        .arg(over);
    tool("mount", &mut mounting);
}

#[test]
fn a_full_disk_refuses_every_act_says_so_in_its_reserve_and_goes_on_when_there_is_space() {
    mount_for_this_test_alone();
    let home = Home::new();
    let logs = home.path().join("logs");
    mount_tmpfs(&logs, 4096);
    let gateway = gateway(home);
    does(&gateway, "before");
    let filler = logs.join("filler");
    for round in ["first", "second"] {
        let mut file = std::fs::File::create(&filler).unwrap();
        let full = std::io::copy(&mut std::io::repeat(0), &mut file);
        assert!(full.is_err(), "the control: the disk is full");
        let mut refused = 0;
        // The last page of the log itself may hold a few records more.
        for at in 0..100 {
            let name = format!("{round}-{at}");
            if act(&gateway, &name).status == 503 {
                assert!(
                    !happened(&gateway, &name),
                    "{name} was done without a record"
                );
                refused += 1;
            } else {
                assert!(happened(&gateway, &name), "{name}");
            }
        }
        assert!(refused > 50, "{round}: {refused} refused");
        refuses(&gateway, &format!("{round}-full"));
        // A file that somebody has open keeps its space.
        drop(file);
        std::fs::remove_file(&filler).unwrap();
        recovers(&gateway, &format!("{round}-again"));
    }
    let (code, home) = gateway.stop();
    assert_eq!(code, 0);
    // One an outage, and more as long as the page that the log ends in has room for them.
    let full = home.audit().of("audit.full").len();
    assert!((2..=30).contains(&full), "{full}");
    let told = home.audit().of("audit.outage");
    assert!(
        told.len() >= 2,
        "how each outage was told afterwards: {told:?}"
    );
    let refused = told
        .iter()
        .filter_map(|record| record.get("refused").as_u64());
    assert!(refused.sum::<u64>() > 100, "{told:?}");
    assert_eq!(Judges::new().agree("after", &logs).code, 0);
    let begun = home.audit().paths_begun();
    for entry in std::fs::read_dir(home.workspace()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name == "notes.txt" || begun.contains(&name),
            "{name} was done without a record"
        );
    }
}

#[test]
fn a_disk_that_does_not_answer_is_waited_for_two_seconds_and_nothing_is_done_meanwhile() {
    mount_for_this_test_alone();
    let home = Home::new();
    let disk = Disk::new(
        FileSystem::Xfs,
        Cache::WriteThrough,
        &home.path().join("logs"),
    );
    let gateway = gateway(home);
    does(&gateway, "before");
    disk.stop();
    refuses(&gateway, "meanwhile");
    refuses(&gateway, "meanwhile-too");
    disk.resume();
    recovers(&gateway, "after");
    assert!(!happened(&gateway, "meanwhile"), "nor is it done later");
    assert!(!happened(&gateway, "meanwhile-too"), "nor is it done later");
    let (code, home) = gateway.stop();
    assert_eq!(code, 0);
    assert_eq!(
        Judges::new().agree("after", &home.path().join("logs")).code,
        0
    );
    let ended = |name: &str| {
        let log = home.audit();
        let begin = log
            .of("tool.begin")
            .into_iter()
            .find(|r| r.text("arguments").contains(name));
        begin.map(|begin| {
            log.records()
                .iter()
                .any(|r| r.get("begin") == begin.get("index") && r.text("outcome") == "abandoned")
        })
    };
    // Its record may have been on its way to the disk when its caller gave up; then it is closed.
    assert_ne!(ended("meanwhile\""), Some(false), "begun, and never closed");
    drop(disk);
}

fn a_failing_disk(kind: FileSystem) {
    mount_for_this_test_alone();
    let home = Home::new();
    let logs = home.path().join("logs");
    let disk = Disk::new(kind, Cache::WriteThrough, &logs);
    let gateway = gateway(home);
    does(&gateway, "before");
    disk.fail(true);
    refuses(&gateway, "failing");
    refuses(&gateway, "failing-still");
    let said = gateway.said();
    assert!(
        said.contains("security: the audit log cannot be written"),
        "{said}"
    );
    disk.fail(false);
    // The file system gave up for good; what it had made durable is there when it is mounted again.
    let home = gateway.kill();
    disk.remount();
    let mut judges = Judges::new();
    let found = judges.agree("after the fault", &logs);
    assert!([0, 1].contains(&found.code), "{found:?}");
    assert!(
        home.audit().paths_begun().contains(&"before".to_owned()),
        "what was acknowledged is there"
    );
    let gateway = home.start();
    does(&gateway, "again");
    let (code, home) = gateway.stop();
    assert_eq!((code, judges.agree("again", &logs).code), (0, 0));
    drop(disk);
    drop(home);
}

#[test]
fn an_xfs_whose_disk_fails_does_nothing_and_keeps_what_it_had() {
    a_failing_disk(FileSystem::Xfs);
}

#[test]
fn an_ext4_whose_disk_fails_does_nothing_and_keeps_what_it_had() {
    a_failing_disk(FileSystem::Ext4);
}

#[test]
fn on_a_disk_made_read_only_no_command_does_anything_and_no_gateway_starts() {
    mount_for_this_test_alone();
    let home = Home::new();
    let logs = home.path().join("logs");
    let disk = Disk::new(FileSystem::Ext4, Cache::WriteThrough, &logs);
    home.set("gateway.port", "18801");
    let remount = |how: &str| {
        let mut mounting = Command::new("mount");
        tool("mount", mounting.args(["-o", how]).arg(&logs));
    };
    remount("remount,ro");
    let before = std::fs::read(home.path().join("config/gateway.json")).unwrap();
    let ran = home.run(&["config", "set", "gateway.port", "18802"]);
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("Read-only file system"), "{}", ran.err);
    let after = std::fs::read(home.path().join("config/gateway.json")).unwrap();
    assert_eq!(before, after, "nothing is changed without a record");
    let made = home.run(&["tokens", "create", "--name", "x", "--scopes", "chat"]);
    assert_ne!(made.code, 0);
    assert!(
        made.out.is_empty(),
        "a token without a record: {}",
        made.out
    );
    let ran = home.run(&["gateway", "--port", "0"]);
    assert_ne!(ran.code, 0, "{}", ran.err);
    assert_eq!(
        Judges::new().agree("read-only", &logs).code,
        0,
        "it can be verified there"
    );
    remount("remount,rw");
    home.set("gateway.port", "18802");
    assert_eq!(Judges::new().agree("writable again", &logs).code, 0);
    drop(disk);
}

/// The log has room, and the store of sessions and approvals has none: what must be remembered before an
/// act, such as that its approval is spent, is not done without.
#[test]
fn where_the_store_of_approvals_is_full_nothing_is_spent_or_done_and_it_goes_on_afterwards() {
    mount_for_this_test_alone();
    let upstream = Upstream::saying("hello");
    let home = Home::with_upstream(&upstream);
    home.set("gateway.tools.allowList", r#"["write_file"]"#);
    let (state, aside) = (home.path().join("state"), home.path().join("aside"));
    let copy = |from: &Path, to: &Path| {
        let mut copying = Command::new("cp");
        tool("coreutils", copying.arg("-aT").args([from, to]));
    };
    copy(&state, &aside);
    mount_tmpfs(&state, 4096);
    copy(&aside, &state);
    let gateway = home.start();
    let with = |name: &str, approval: &str| {
        let arguments = json!({"path": name, "content": "done"});
        let call = json!({"name": "write_file", "arguments": arguments, "approval": approval});
        gateway.post("/tools/invoke", &call)
    };
    let asked = |name: &str| {
        let id = act(&gateway, name).json()["approval"]["id"].clone();
        id.as_str().unwrap().to_owned()
    };
    let decide = |id: &str| gateway.post(&format!("/approvals/{id}/approve"), &json!({}));
    let (given, waiting) = (asked("given"), asked("waiting"));
    assert_eq!(decide(&given).status, 200);
    let filler = state.join("filler");
    let full = std::io::copy(
        &mut std::io::repeat(0),
        &mut std::fs::File::create(&filler).unwrap(),
    );
    assert!(full.is_err(), "the control: the disk is full");
    // What the store's own last pages still hold is done, and remembered.
    let refused = (0..200).find_map(|at| {
        let answer = act(&gateway, &format!("new-{at}"));
        (answer.status != 202).then_some(answer)
    });
    let refused = refused.expect("the control: it can be asked for no more");
    assert!(
        refused.status == 503 && refused.text().contains("session_store"),
        "{}: {}",
        refused.status,
        refused.text()
    );
    for answer in [with("given", &given), decide(&waiting), gateway.turn("hi")] {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(!answer.text().contains("sessions.db"), "{}", answer.text());
    }
    assert!(gateway.said().contains("sessions.db"), "{}", gateway.said());
    assert!(
        !happened(&gateway, "given"),
        "done, and its approval not spent"
    );
    assert!(upstream.seen().is_empty(), "asked, and not remembered");
    assert_eq!(Call::get("/health").send(gateway.port).status, 200);
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(
        with("given", &given).status,
        200,
        "by itself, once there is room"
    );
    assert!(happened(&gateway, "given"));
    assert_eq!(with("given", &given).status, 403, "once");
    assert_eq!(decide(&waiting).status, 200);
    assert_eq!(gateway.turn("hi").status, 200);
}
