use super::EditError;
use crate::table::tests::others;
use crate::{Change, Overrides, Settings, SettingsFile};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

fn fresh() -> (TempDir, SettingsFile) {
    let dir = tempfile::tempdir().unwrap();
    let file = SettingsFile::new(dir.path().join("config/gateway.json"));
    (dir, file)
}

fn with(text: &str) -> (TempDir, SettingsFile) {
    let (dir, file) = fresh();
    fs::create_dir(file.path().parent().unwrap()).unwrap();
    fs::write(file.path(), text).unwrap();
    (dir, file)
}

fn set(file: &SettingsFile, name: &str, value: &Value) -> Result<Vec<Change>, EditError> {
    let mut draft = file.draft()?;
    draft.set(name, value)?;
    draft.commit()
}

fn text_of(file: &SettingsFile) -> String {
    fs::read_to_string(file.path()).unwrap()
}

fn settings_of(file: &SettingsFile) -> Settings {
    file.load(&Overrides::default()).unwrap().settings
}

#[test]
fn a_change_says_what_it_does_and_writes_only_its_own_key() {
    let (_dir, file) = with("{\"models\":{\"demo\":{\"enabled\":false}},\"gateway\":{\"port\":1}}");
    let changes = set(&file, "gateway.sandbox.mode", &json!("moderate")).unwrap();
    assert_eq!(
        changes,
        [Change {
            key: "gateway.sandbox.mode",
            from: "strict".into(),
            to: "moderate".into(),
            weakens: true,
            needs_restart: false,
            needs_consent: false,
        }]
    );
    assert_eq!(
        text_of(&file),
        r#"{
  "models": {
    "demo": {
      "enabled": false
    }
  },
  "gateway": {
    "port": 1,
    "sandbox": {
      "mode": "moderate"
    }
  }
}
"#
    );
}

#[test]
fn a_value_is_kept_in_its_canonical_spelling() {
    let (_dir, file) = fresh();
    set(
        &file,
        "gateway.cors.allowedOrigins",
        &json!(["https://A.test:443"]),
    )
    .unwrap();
    set(&file, "gateway.trustedProxies", &json!(["172.17.0.1"])).unwrap();
    assert!(
        text_of(&file).contains("\"https://a.test\"")
            && text_of(&file).contains("\"172.17.0.1/32\"")
    );
}

#[test]
fn file_and_folder_are_for_the_owner_only_whatever_they_were() {
    let (dir, file) = fresh();
    set(&file, "gateway.port", &json!(1)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(file.path()), 0o600);
    assert_eq!(mode(file.path().parent().unwrap()), 0o700);
    assert_eq!(mode(&dir.path().join("config/.gateway.json.lock")), 0o600);
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o666)).unwrap();
    set(&file, "gateway.port", &json!(2)).unwrap();
    assert_eq!(mode(file.path()), 0o600);
}

#[test]
fn unset_takes_out_a_key_or_a_group_and_leaves_no_empty_groups() {
    let (_dir, file) =
        with(r#"{"gateway":{"sandbox":{"mode":"moderate","allowedCommands":["ls"]},"port":7}}"#);
    let mut draft = file.draft().unwrap();
    draft.unset("gateway.sandbox.mode").unwrap();
    let changes = draft.commit().unwrap();
    assert_eq!(
        (changes[0].from.as_str(), changes[0].to.as_str()),
        ("moderate", "strict")
    );
    let mut draft = file.draft().unwrap();
    draft.unset("gateway.sandbox").unwrap();
    draft.unset("gateway.port").unwrap();
    // Not in the file: the default holds already, and that is what was asked for.
    draft.unset("gateway.bind").unwrap();
    draft.commit().unwrap();
    assert_eq!(text_of(&file), "{}\n");
    assert_eq!(settings_of(&file), Settings::default());
    let error = file.draft().unwrap().unset("gateway.prot").unwrap_err();
    assert_eq!(
        error.to_string(),
        "gateway.prot: there is no such key (is gateway.port meant?)"
    );
}

#[test]
fn unset_can_weaken_and_says_so() {
    let (_dir, file) = with(r#"{"gateway":{"tools":{"denyList":["run_command"]}}}"#);
    let mut draft = file.draft().unwrap();
    draft.reset();
    let changes = draft.commit().unwrap();
    assert!(changes.len() == 1 && changes[0].weakens);
}

#[test]
fn what_cannot_be_taken_changes_nothing() {
    let (_dir, file) = with(r#"{"gateway":{"port":7}}"#);
    for (name, value, said) in [
        (
            "gateway.security.rateLimit.maxRequests",
            json!("ten"),
            "gateway.security.rateLimit.maxRequests = \"ten\": must be a whole number from 1 to 1000000",
        ),
        (
            "gateway.prot",
            json!(1),
            "gateway.prot: there is no such key (is gateway.port meant?)",
        ),
        (
            "gateway.cors",
            json!(true),
            "gateway.cors: is a group of keys; set one of gateway.cors.enabled, gateway.cors.allowedOrigins",
        ),
        (
            "",
            json!(1),
            ": there is no such key (`clawdbot config list` shows every key)",
        ),
    ] {
        assert_eq!(set(&file, name, &value).unwrap_err().to_string(), said);
    }
    assert_eq!(text_of(&file), r#"{"gateway":{"port":7}}"#);
}

#[test]
fn a_word_is_shown_as_it_was_typed() {
    let (_dir, file) = fresh();
    let said = |name: &str, word: &str| {
        file.draft()
            .unwrap()
            .set_word(name, word)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        said("gateway.security.rateLimit.maxRequests", "ten"),
        "gateway.security.rateLimit.maxRequests = ten: must be a whole number from 1 to 1000000"
    );
    assert_eq!(
        said("gateway.sandbox.allowedCommands", "ls,cat"),
        "gateway.sandbox.allowedCommands = ls,cat: must be a JSON array such as '[\"ls\",\"cat\"]', or \"[]\" for none"
    );
    assert_eq!(
        said("gateway.sandbox.mode", "open"),
        "gateway.sandbox.mode = open: must be one of strict, moderate, permissive"
    );
    assert!(said("gateway.tools.allowList", r#"["read_fil"]"#).contains("is read_file meant?"));
    assert!(!file.path().exists());
}

#[test]
fn a_broken_key_can_be_mended_but_nothing_else_set_beside_it() {
    let broken = r#"{"gateway":{"port":"abc","tolls":{"x":1}}}"#;
    let (_dir, file) = with(broken);
    let error = set(&file, "gateway.bind", &json!("lan"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("gateway.port = \"abc\"") && error.contains("gateway.tolls"),
        "{error}"
    );
    assert_eq!(text_of(&file), broken);
    let mut draft = file.draft().unwrap();
    draft.set("gateway.port", &json!(7)).unwrap();
    draft.unset("gateway.tolls").unwrap();
    draft.commit().unwrap();
    assert_eq!(settings_of(&file).gateway.port, 7);
}

#[test]
fn a_corrupt_or_ambiguous_file_is_never_edited() {
    for text in [
        "",
        "{",
        "\0\0",
        "{\"gateway\":{\"port\":1,\"port\":2}}",
        "[]",
        "\u{feff}{}",
    ] {
        let (_dir, file) = with(text);
        let error = file.draft().unwrap_err();
        assert!(matches!(error, EditError::Config(_)), "{text:?}: {error}");
        assert_eq!(text_of(&file), text);
    }
}

#[test]
fn an_import_is_taken_whole_or_not_at_all() {
    let (_dir, file) = with(r#"{"gateway":{"port":7}}"#);
    let mut draft = file.draft().unwrap();
    let bad = br#"{"gateway":{"port":8,"bind":"everywhere","sandbx":{}}}"#;
    let errors = draft.import(bad, Path::new("new.json")).unwrap_err();
    assert_eq!(errors.iter().count(), 2);
    drop(draft);
    assert_eq!(text_of(&file), r#"{"gateway":{"port":7}}"#);
    let mut draft = file.draft().unwrap();
    draft
        .import(
            br#"{"gateway":{"sandbox":{"enabled":false}}}"#,
            Path::new("new.json"),
        )
        .unwrap();
    let changes = draft.changes().unwrap();
    assert!(
        changes.iter().any(|c| c.needs_consent),
        "an import is no way around the consent"
    );
    assert_eq!(draft.commit().unwrap(), changes);
    assert_eq!(
        settings_of(&file).gateway.port,
        18_789,
        "what it does not name is the default"
    );
}

#[test]
fn every_value_survives_the_way_through_the_file() {
    let (_dir, file) = fresh();
    for (name, value) in others() {
        set(&file, name, &value).unwrap();
    }
    let loaded = file.load(&Overrides::default()).unwrap();
    for (name, value) in others() {
        assert_eq!(
            crate::Key::find(name).unwrap().read(&loaded.values),
            value,
            "{name}"
        );
    }
    let exported = loaded.values.to_json().to_string();
    let (_dir, copy) = fresh();
    let mut draft = copy.draft().unwrap();
    draft.import(exported.as_bytes(), Path::new("-")).unwrap();
    draft.commit().unwrap();
    assert_eq!(settings_of(&copy), loaded.settings);
}

#[test]
fn what_changes_nothing_is_not_written() {
    let (_dir, file) = fresh();
    set(&file, "gateway.port", &json!(7)).unwrap();
    let stamp = file.stamp();
    assert_eq!(set(&file, "gateway.port", &json!(7)).unwrap(), []);
    assert_eq!(file.stamp(), stamp);
    // Named on purpose, even as what it is anyway: the file says it from now on.
    assert_eq!(set(&file, "gateway.bind", &json!("localhost")).unwrap(), []);
    assert!(text_of(&file).contains("localhost"));
}

#[test]
fn a_linked_file_is_changed_where_it_is() {
    let (dir, _) = fresh();
    let real = dir.path().join("real.json");
    fs::write(&real, "{}").unwrap();
    let link = dir.path().join("gateway.json");
    symlink(&real, &link).unwrap();
    set(&SettingsFile::new(&link), "gateway.port", &json!(7)).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(settings_of(&SettingsFile::new(&real)).gateway.port, 7);
}

#[test]
fn a_planted_link_leads_no_write_astray() {
    let (dir, file) = with("{}");
    let victim = dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, dir.path().join("config/.gateway.json.new")).unwrap();
    set(&file, "gateway.port", &json!(7)).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(fs::symlink_metadata(file.path()).unwrap().is_file());
    let lock = dir.path().join("config/.gateway.json.lock");
    fs::remove_file(&lock).unwrap();
    symlink(&victim, &lock).unwrap();
    assert!(matches!(file.draft().unwrap_err(), EditError::Io { .. }));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_write_that_a_crash_cut_off_is_cleared_away() {
    let (dir, file) = with(r#"{"gateway":{"port":7}}"#);
    let half = dir.path().join("config/.gateway.json.new");
    fs::write(&half, "{\"gateway\":{\"sand").unwrap();
    assert_eq!(settings_of(&file).gateway.port, 7);
    set(&file, "gateway.bind", &json!("loopback")).unwrap();
    assert!(!half.exists());
    assert_eq!(settings_of(&file).gateway.port, 7);
}

#[test]
fn a_disk_that_says_no_leaves_the_old_file() {
    let (dir, file) = with(r#"{"gateway":{"port":7}}"#);
    // A folder in the way of the new file: even root cannot write there.
    let new = dir.path().join("config/.gateway.json.new");
    fs::create_dir(&new).unwrap();
    let error = set(&file, "gateway.port", &json!(8)).unwrap_err();
    assert!(
        matches!(
            error,
            EditError::Io {
                doing: "clear away",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(text_of(&file), r#"{"gateway":{"port":7}}"#);
}

#[test]
fn root_leaves_the_file_to_the_account_that_owns_it() {
    let (_dir, file) = with("{}");
    if fs::metadata(file.path()).unwrap().uid() != 0 {
        return; // Only root can give a file away.
    }
    let folder = file.path().parent().unwrap();
    std::os::unix::fs::chown(file.path(), Some(10_001), Some(10_001)).unwrap();
    set(&file, "gateway.port", &json!(7)).unwrap();
    let owner = |path: &Path| fs::metadata(path).map(|m| (m.uid(), m.gid())).unwrap();
    assert_eq!(owner(file.path()), (10_001, 10_001));
    fs::remove_file(file.path()).unwrap();
    std::os::unix::fs::chown(folder, Some(10_002), Some(10_002)).unwrap();
    set(&file, "gateway.port", &json!(7)).unwrap();
    assert_eq!(owner(file.path()), (10_002, 10_002));
}

#[test]
fn twenty_threads_lose_nothing_and_readers_never_see_half_a_file() {
    let (_dir, file) = fresh();
    let done = AtomicBool::new(false);
    let others = others();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut loads = 0_u32;
            while !done.load(Ordering::Relaxed) {
                file.load(&Overrides::default()).unwrap();
                loads += 1;
            }
            loads
        });
        let writers: Vec<_> = others
            .iter()
            .take(20)
            .map(|(name, value)| scope.spawn(|| set(&file, name, value).unwrap()))
            .collect();
        let changed: BTreeSet<_> = writers
            .into_iter()
            .flat_map(|w| w.join().unwrap())
            .map(|c| c.key)
            .collect();
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
        assert_eq!(changed.len(), 20);
    });
    let loaded = file.load(&Overrides::default()).unwrap();
    for (name, value) in others.into_iter().take(20) {
        assert_eq!(
            crate::Key::find(name).unwrap().read(&loaded.values),
            value,
            "{name} was lost"
        );
    }
}

const CHILD: &str = "CLAWDBOT_TEST_CONFIG_CHILD";

#[test]
fn twenty_processes_lose_nothing() {
    let (_dir, file) = fresh();
    let children: Vec<_> = (0..20)
        .map(|at| {
            Command::new(std::env::current_exe().unwrap())
                .args([
                    "--ignored",
                    "--exact",
                    "draft::tests::set_one_key_as_a_child",
                ])
                .env(CHILD, format!("{at}:{}", file.path().display()))
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let loaded = file.load(&Overrides::default()).unwrap();
    for (name, value) in others().into_iter().take(20) {
        assert_eq!(
            crate::Key::find(name).unwrap().read(&loaded.values),
            value,
            "{name} was lost"
        );
    }
}

#[test]
#[ignore = "the body of each process of twenty_processes_lose_nothing"]
fn set_one_key_as_a_child() {
    let Ok(task) = std::env::var(CHILD) else {
        return;
    };
    let (at, path) = task.split_once(':').unwrap();
    let (name, value) = others().swap_remove(at.parse().unwrap());
    set(&SettingsFile::new(path), name, &value).unwrap();
}
