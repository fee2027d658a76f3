//! `security`: what they say is so, and what they tell to do mends it.

use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use testkit::{Gateway, Home, Ran};

fn checklist(gateway: &Gateway) -> (i32, Value) {
    let port = gateway.port.to_string();
    let ran = gateway
        .home
        .run(&["security", "checklist", "--json", "--port", &port]);
    (ran.code, ran.json())
}

/// The ids of the items of a part that do not hold.
fn failing(list: &Value) -> Vec<String> {
    let items = list["setup"].as_array().unwrap().iter();
    let failing = items.filter(|item| item["ok"] == false);
    failing
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

fn item<'a>(list: &'a Value, id: &str) -> &'a Value {
    let all = list["maintenance"].as_array().unwrap().iter();
    let all = all.chain(list["setup"].as_array().unwrap());
    let mut found = all.filter(|item| item["id"] == id);
    found
        .next()
        .unwrap_or_else(|| panic!("{id} is not in {list}"))
}

#[test]
fn a_gateway_out_of_the_box_passes_the_guides_checklist_and_a_weakened_one_does_not() {
    let gateway = Home::new().start();
    let (code, list) = checklist(&gateway);
    assert_eq!((code, failing(&list)), (0, vec![]), "{list}");
    assert_eq!(list["setup"].as_array().unwrap().len(), 8);
    assert_eq!(list["maintenance"].as_array().unwrap().len(), 6);
    assert_eq!(list["source"]["running"], true);
    gateway.home.set("gateway.tools.policy", "whitelist");
    gateway
        .home
        .set("gateway.security.rateLimit.maxRequests", "500");
    // The running gateway takes it up within two seconds; the checklist asks the gateway.
    let weakened = wait(&gateway, |list| failing(list).len() == 2);
    assert_eq!(failing(&weakened), ["rate-limit", "tool-policy"]);
    for id in ["rate-limit", "tool-policy"] {
        for command in item(&weakened, id)["mend"].as_array().unwrap() {
            let words: Vec<&str> = command.as_str().unwrap().split(' ').skip(1).collect();
            let _ = gateway.home.run(&words).ok(command.as_str().unwrap());
        }
    }
    let mended = wait(&gateway, |list| failing(list).is_empty());
    assert_eq!(mended["failed"], 0);
}

fn wait(gateway: &Gateway, holds: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..100 {
        let (code, list) = checklist(gateway);
        if holds(&list) {
            assert_eq!(code == 0, failing(&list).is_empty(), "{list}");
            return list;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!(
        "the running gateway did not take the change up: {}",
        checklist(gateway).1
    );
}

#[test]
fn what_is_in_the_file_and_not_in_force_is_not_what_is_checked() {
    let gateway = Home::new().start();
    gateway.home.set("gateway.bind", "lan");
    // It is taken up with the next start only, and that is told.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let (_, list) = checklist(&gateway);
    assert_eq!(failing(&list), Vec::<String>::new(), "{list}");
    assert!(
        list["source"]["restart_due"]
            .to_string()
            .contains("gateway.bind"),
        "{list}"
    );
    let home = gateway.kill();
    let alone = home.run(&["security", "checklist", "--json", "--port", "1"]);
    assert_eq!(alone.code, 1);
    let list = alone.json();
    assert_eq!(
        (&list["source"]["running"], failing(&list)),
        (&Value::Bool(false), vec!["bind".to_owned()])
    );
    let page = home.run(&["security", "checklist", "--port", "1"]);
    assert!(page.out.contains("none runs"), "{}", page.out);
}

#[test]
fn only_an_admin_is_told_every_setting() {
    let gateway = Home::new().start();
    let read = gateway.home.token("read");
    let told = |token: &str| {
        testkit::Call::get("/status")
            .bearer(token)
            .send(gateway.port)
            .json()
    };
    assert_eq!(told(&read).get("config"), None);
    let all = told(&gateway.token);
    assert_eq!(all["config"]["gateway.sandbox.mode"], "strict");
}

#[test]
fn maintenance_is_what_the_audit_log_says_was_done() {
    let home = Home::new();
    home.set("gateway.port", "18888");
    let list = |home: &Home| {
        home.run(&["security", "checklist", "--json", "--port", "1"])
            .json()
    };
    let before = list(&home);
    assert_eq!(item(&before, "audit-review")["last"], Value::Null);
    assert_eq!(
        item(&before, "audit-review")["due"],
        false,
        "there was no week yet to review"
    );
    let _ = home.run(&["audit", "report", "--week"]).ok("report");
    let _ = home.run(&["security", "done", "updates"]).ok("done");
    let _ = home
        .run(&["security", "baseline", "accept", "--port", "1"])
        .ok("accept");
    let _ = home
        .run(&["security", "baseline", "verify", "--port", "1"])
        .ok("verify");
    let after = list(&home);
    for id in ["audit-review", "updates", "baseline"] {
        assert!(item(&after, id)["last"].is_string(), "{id}: {after}");
    }
    assert_eq!(item(&after, "allow-list")["last"], Value::Null);
    home.set("gateway.tools.allowList", r#"["read_file"]"#);
    assert!(item(&list(&home), "allow-list")["last"].is_string());
    assert_eq!(home.run(&["audit", "verify"]).code, 0);
    // A log that goes back for years, in which nothing was ever done.
    let old = Home::new();
    std::fs::create_dir_all(old.path().join("logs")).unwrap();
    let line = r#"{"index":0,"time":"2020-01-01T00:00:00.000000000Z","event":"gateway.start","outcome":"ok"}"#;
    std::fs::write(
        old.path().join("logs/audit-00000000000000000000.jsonl"),
        format!("{line}\n"),
    )
    .unwrap();
    let ran = old.run(&["security", "checklist", "--json", "--port", "1"]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    assert!(ran.json()["due"].as_u64() >= Some(4), "{}", ran.out);
}

fn findings(ran: &Ran) -> Vec<(String, String, bool)> {
    let all = ran.json()["findings"].as_array().unwrap().clone();
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let all = all
        .iter()
        .map(|one| (text(one, "id"), text(one, "severity"), one["fixed"] == true));
    // Where the tests run is not what they are about.
    all.filter(|(id, ..)| !id.starts_with("container."))
        .collect()
}

#[test]
fn an_audit_finds_open_files_and_weak_settings_and_mends_only_the_former() {
    let home = Home::new().start().kill();
    let audit =
        |more: &[&str]| home.run(&[&["security", "audit", "--json", "--port", "1"], more].concat());
    let clean = findings(&audit(&[]));
    assert!(
        clean.iter().all(|(_, severity, _)| severity == "info"),
        "{clean:?}"
    );
    let file = home.path().join("secrets/operator.token");
    let mode =
        |bits: u32| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(bits)).unwrap();
    mode(0o644);
    std::fs::set_permissions(
        home.path().join("logs"),
        std::fs::Permissions::from_mode(0o777),
    )
    .unwrap();
    home.set("gateway.security.promptInjection.enabled", "false");
    home.set("gateway.audit.maxLogFiles", "3");
    home.set("gateway.bind", "lan");
    let ran = audit(&[]);
    assert_eq!(ran.code, 1, "{}", ran.out);
    let found = findings(&ran);
    for (id, severity) in [
        ("permissions.secrets/operator.token", "fail"),
        ("settings.gateway.security.promptInjection.enabled", "fail"),
        ("settings.gateway.audit.maxLogFiles", "warn"),
        ("exposure.plaintext", "fail"),
    ] {
        assert!(
            found.contains(&(id.into(), severity.into(), false)),
            "{id}: {found:?}"
        );
    }
    assert!(
        found.iter().any(|(id, ..)| id.ends_with("/logs")),
        "{found:?}"
    );
    let fixed = findings(&audit(&["--fix"]));
    assert!(
        fixed.contains(&(
            "permissions.secrets/operator.token".into(),
            "fail".into(),
            true
        )),
        "{fixed:?}"
    );
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let after = findings(&audit(&[]));
    assert!(
        !after.iter().any(|(id, ..)| id.starts_with("permissions.")),
        "{after:?}"
    );
    let set = home.run(&["config", "get", "gateway.security.promptInjection.enabled"]);
    assert_eq!(
        set.out.trim(),
        "false",
        "a decision is not taken back by --fix"
    );
}

#[test]
fn a_link_among_the_secrets_is_found_and_not_followed() {
    let home = Home::new().start().kill();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::set_permissions(outside.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink(outside.path(), home.path().join("secrets/planted")).unwrap();
    let ran = home.run(&["security", "audit", "--json", "--fix", "--port", "1"]);
    assert!(
        findings(&ran).contains(&("permissions.secrets/planted".into(), "fail".into(), false)),
        "{}",
        ran.out
    );
    assert_eq!(
        std::fs::metadata(outside.path())
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o644
    );
}

/// Files that were made well are no use in a folder where others can put their own in the place of them.
#[test]
fn a_gateway_does_not_start_on_a_folder_that_others_can_change_even_behind_a_link() {
    let home = Home::new().start().kill();
    let elsewhere = tempfile::tempdir().unwrap();
    let may = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for name in ["secrets", "state", "logs", "config"] {
        let (folder, moved) = (home.path().join(name), elsewhere.path().join(name));
        let refused = |open: &Path, mode| {
            may(open, mode);
            let ran = home.run(&["gateway", "--port", "0"]);
            assert_eq!(ran.code, 77, "{name} {mode:o}: {}", ran.err);
            let found = findings(&home.run(&["security", "audit", "--json", "--port", "1"]));
            let id = format!("permissions.{}/{name}", shown(home.path()));
            assert!(found.contains(&(id, "fail".into(), false)), "{found:?}");
            let mend = format!("chmod go-w '{}'", open.canonicalize().unwrap().display());
            assert!(ran.err.contains(&mend), "{}", ran.err);
            let mended = Command::new("sh").args(["-c", &mend]).status();
            assert!(mended.unwrap().success());
        };
        for mode in [0o777, 0o1777, 0o770] {
            refused(&folder, mode);
        }
        std::fs::rename(&folder, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, &folder).unwrap();
        refused(&moved, 0o777);
    }
    // What was to be done was done, and the links themselves are the user's choice.
    let (code, home) = home.start().stop();
    assert_eq!(code, 0);
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let state = elsewhere.path().join("state");
    std::os::unix::fs::chown(&state, Some(1_234), None).unwrap();
    let ran = home.run(&["gateway", "--port", "0"]);
    assert_eq!(ran.code, 77, "{}", ran.err);
    assert!(ran.err.contains("chown 0 '"), "{}", ran.err);
}

fn shown(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_deep_audit_finds_a_log_that_was_tampered_with() {
    let home = Home::new();
    home.set("gateway.port", "18888");
    let deep = || findings(&home.run(&["security", "audit", "--json", "--deep", "--port", "1"]));
    assert!(
        !deep().iter().any(|(id, ..)| id == "audit.verify"),
        "{:?}",
        deep()
    );
    let segment = home.path().join("logs/audit-00000000000000000000.jsonl");
    let text = std::fs::read_to_string(&segment).unwrap();
    std::fs::write(&segment, text.replacen("gateway.port", "gateway.bind", 1)).unwrap();
    assert!(
        deep().contains(&("audit.verify".into(), "fail".into(), false)),
        "{:?}",
        deep()
    );
}

#[test]
fn a_baseline_names_what_changed_key_by_key() {
    let home = Home::new();
    home.set("gateway.port", "18888");
    let verify = |more: &[&str]| {
        home.run(
            &[
                &["security", "baseline", "verify", "--json", "--port", "1"],
                more,
            ]
            .concat(),
        )
    };
    assert_eq!(verify(&[]).code, 69, "nothing was accepted yet");
    let accept = || {
        home.run(&["security", "baseline", "accept", "--json", "--port", "1"])
            .ok("accept")
            .json()
    };
    let fingerprint = accept()["fingerprint"].as_str().unwrap().to_owned();
    assert_eq!(verify(&["--fingerprint", &fingerprint]).code, 0);
    home.set("gateway.tools.allowList", r#"["read_file"]"#);
    let changed = verify(&[]);
    assert_eq!(changed.code, 1);
    let keys: Vec<Value> = changed.json()["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["key"].clone())
        .collect();
    assert_eq!(keys, ["config.gateway.tools.allowList", "policy.read_file"]);
    let file = home.path().join("state/baseline.json");
    let first = std::fs::read(&file).unwrap();
    let second = accept();
    assert_ne!(second["fingerprint"], fingerprint.as_str());
    assert_eq!(verify(&[]).code, 0);
    assert_eq!(
        verify(&["--fingerprint", &fingerprint]).code,
        3,
        "not the one that was written down"
    );
    // Yesterday's baseline is signed, too; the audit log knows of a newer one.
    std::fs::write(&file, &first).unwrap();
    assert_eq!(verify(&[]).code, 3, "put back");
    // Whoever changes one word of it breaks the signature.
    let text = String::from_utf8(first)
        .unwrap()
        .replacen("strict", "permissive", 1);
    std::fs::write(&file, text).unwrap();
    assert_eq!(verify(&[]).code, 3, "changed");
}
