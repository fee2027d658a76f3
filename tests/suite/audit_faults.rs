//! A gateway whose flushes and writes fail, take long or are its last, one at a time: what it said was done is
//! on record, and what could not be recorded was not done.

use serde_json::json;
use std::process::Command;
use std::time::{Duration, Instant};
use testkit::audit::segments;
use testkit::{Call, Gateway, Home, Judges};

/// A gateway that may write files, where strace does this to its calls.
fn gateway(inject: &str) -> Gateway {
    let home = Home::new();
    home.set_accepting_the_risk("gateway.tools.policy", "whitelist");
    home.set("gateway.tools.allowList", r#"["write_file"]"#);
    home.set("gateway.security.rateLimit.maxRequests", "1000000");
    let direct = home.command();
    let call = inject.split(':').next().unwrap();
    let mut strace = Command::new("strace");
    // As a grandchild, so that the gateway is ours to kill; what it says itself goes nowhere.
    strace.args(["-D", "-f", "-qqq", "-o", "/dev/null"]);
    // Only its log: the settings and tokens are other rooms.
    strace
        .arg("-P")
        .arg(home.path().join("logs/audit-00000000000000000000.jsonl"));
    strace.args([
        "-e",
        &format!("trace={call}"),
        "-e",
        &format!("inject={inject}"),
    ]);
    strace.arg(direct.get_program()).args(direct.get_args());
    Gateway::start(home, strace)
}

fn call(gateway: &Gateway, name: &str) -> Call {
    let arguments = json!({"path": name, "content": "done"});
    let body = json!({"name": "write_file", "arguments": arguments});
    Call::post("/tools/invoke", &body).bearer(&gateway.token)
}

/// Acts until one is not done, at most so many times; which were.
fn acts(gateway: &Gateway, most: usize) -> (Vec<String>, Option<String>) {
    let mut done = Vec::new();
    for at in 0..most {
        let name = format!("act-{at}");
        let (asked, port) = (call(gateway, &name), gateway.port);
        // A gateway that dies in the middle answers nothing at all.
        let answer = std::panic::catch_unwind(move || asked.send(port).status);
        match answer {
            Ok(200) => done.push(name),
            _ => return (done, Some(name)),
        }
    }
    (done, None)
}

/// Every act that can be seen in the workspace has a begin record.
#[track_caller]
fn nothing_unwritten(home: &Home, what: &str) {
    let begun = home.audit().paths_begun();
    for entry in std::fs::read_dir(home.workspace()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let act = name.starts_with("act-");
        assert!(
            !act || begun.contains(&name),
            "{what}: {name} was done without a record"
        );
    }
}

#[test]
fn killed_at_any_write_or_flush_of_its_log_a_gateway_has_begun_on_record_what_it_did() {
    let mut judges = Judges::new();
    for inject in ["write", "fdatasync"] {
        for nth in [7, 8, 9, 12] {
            let what = format!("{inject} {nth}");
            let gateway = gateway(&format!("{inject}:signal=SIGKILL:when={nth}"));
            let (done, died_at) = acts(&gateway, 30);
            assert!(died_at.is_some(), "{what}: it was not killed");
            let home = gateway.kill();
            let logs = home.path().join("logs");
            let found = judges.agree(&what, &logs);
            assert!([0, 1].contains(&found.code), "{what}: {found:?}");
            let begun = home.audit().paths_begun();
            assert!(
                done.iter().all(|name| begun.contains(name)),
                "{what}: {done:?} {begun:?}"
            );
            nothing_unwritten(&home, &what);
            let home = home.start().stop().1;
            assert_eq!(
                judges.agree(&what, &logs).code,
                0,
                "{what}: the next start goes on"
            );
            drop(home);
        }
    }
}

#[test]
fn after_an_error_of_a_flush_or_write_that_act_is_not_done_and_the_next_one_is() {
    let mut judges = Judges::new();
    for error in ["EIO", "ENOSPC", "EROFS", "EDQUOT", "EFBIG"] {
        for inject in ["write", "fdatasync"] {
            let what = format!("{error} of {inject}");
            let gateway = gateway(&format!("{inject}:error={error}:when=5"));
            let (done, refused) = acts(&gateway, 20);
            let refused = refused.unwrap_or_default();
            assert!(
                !gateway.home.workspace().join(&refused).is_file(),
                "{what}: {refused} was done"
            );
            let again = (0..100).any(|_| {
                std::thread::sleep(Duration::from_millis(30));
                call(&gateway, "act-again").send(gateway.port).status == 200
            });
            assert!(again, "{what}: it does not go on: {}", gateway.said());
            let (code, home) = gateway.stop();
            assert_eq!(code, 0, "{what}");
            nothing_unwritten(&home, &what);
            assert!(
                done.iter()
                    .all(|name| home.audit().paths_begun().contains(name)),
                "{what}"
            );
            let outages = home.audit().of("audit.outage");
            assert_eq!(outages.len(), 1, "{what}: the outage is told of afterwards");
            let logs = home.path().join("logs");
            assert_eq!(judges.agree(&what, &logs).code, 0, "{what}");
            // Nobody knows what a failed flush left of the file, so it is never written to again.
            if inject == "fdatasync" {
                assert_eq!(segments(&logs).len(), 2, "{what}");
            }
        }
    }
}

#[test]
fn a_flush_that_takes_longer_than_two_seconds_is_an_act_that_is_not_done() {
    let gateway = gateway("fdatasync:delay_enter=4000000:when=6");
    let (mut longest, mut refused) = (Duration::ZERO, Vec::new());
    for at in 0..20 {
        let (name, asked) = (format!("act-{at}"), Instant::now());
        let status = call(&gateway, &name).send(gateway.port).status;
        longest = longest.max(asked.elapsed());
        if status == 503 {
            refused.push(name);
        }
    }
    assert!(
        longest > Duration::from_secs(1),
        "the control: a flush was held back: {longest:?}"
    );
    assert!(
        !refused.is_empty(),
        "nobody waits four seconds; the longest took {longest:?}"
    );
    for name in refused {
        assert!(
            !gateway.home.workspace().join(&name).exists(),
            "{name} was done, or is done later"
        );
    }
    let (code, home) = gateway.stop();
    assert_eq!(code, 0);
    nothing_unwritten(&home, "a slow disk");
    let logs = home.path().join("logs");
    assert_eq!(Judges::new().agree("a slow disk", &logs).code, 0);
}
