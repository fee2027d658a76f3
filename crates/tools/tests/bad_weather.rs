//! What goes wrong around a call is said in words, and the next call works.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may fail as loudly as tests"
)]

mod house;

use clawdbot_domain::SandboxMode;
use house::House;
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// A program that names this file as its loader, or this library.
fn build(path: &Path, arguments: &[&str]) {
    let source = path.with_extension("c");
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let mut cc = Command::new("cc");
    let built = cc.arg("-o").arg(path).arg(&source).args(arguments).status();
    assert!(built.unwrap().success());
}

#[tokio::test]
async fn a_program_that_cannot_run_here_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let path = |name: &str| root.join(name);
    build(
        &path("no-loader"),
        &["-Wl,--dynamic-linker=/nonexistent/ld.so"],
    );
    // A library that was there when it was built.
    std::fs::write(path("lib.c"), "int gone(void) { return 1; }\n").unwrap();
    let lib = path("libgone-canary.so");
    let made = Command::new("cc")
        .args(["-shared", "-o"])
        .arg(&lib)
        .arg(path("lib.c"))
        .status();
    assert!(made.unwrap().success());
    build(
        &path("no-library"),
        &["-Wl,--no-as-needed", lib.to_str().unwrap()],
    );
    std::fs::remove_file(&lib).unwrap();
    let mut foreign = std::fs::read("/bin/true").unwrap();
    if let Some(machine) = foreign.get_mut(18) {
        *machine ^= 0xb7;
    }
    std::fs::write(path("foreign"), foreign).unwrap();
    std::fs::write(path("empty"), "").unwrap();
    for name in ["foreign", "empty"] {
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::write(path("plain"), "text").unwrap();
    let all = [
        "no-loader",
        "no-library",
        "foreign",
        "empty",
        "plain",
        "absent",
    ];
    let names: Vec<String> = all.map(|name| path(name).display().to_string()).to_vec();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let house = House::new(SandboxMode::Moderate, &names);
    for (name, words) in [
        ("no-loader", "No such file"),
        ("no-library", "libgone-canary.so"),
        ("foreign", "Exec format error"),
        ("empty", "Exec format error"),
        ("plain", "not a file that can be started"),
        ("absent", "there is no program"),
    ] {
        let command = json!({"command": [path(name)]});
        let (said, failed) = house.said("run_command", command).await;
        assert!(failed && said.contains(words), "{name}: {said}");
        assert!(said.len() < 500, "{name}: {said}");
    }
}

#[tokio::test]
async fn a_workspace_that_is_taken_away_under_a_running_command_ends_nothing_else() {
    let house = House::new(SandboxMode::Moderate, &["sh", "sleep"]);
    let script =
        "echo started > flag; until [ ! -e flag ]; do sleep 0.02; done; echo x > later; echo done";
    let running = house.said("run_command", json!({"command": ["sh", "-c", script]}));
    let flag = house.path("flag");
    let take_away = async {
        while !flag.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        std::fs::remove_dir_all(house.root.path().join("home/workspace")).unwrap();
    };
    let ((said, _), ()) = tokio::join!(running, take_away);
    assert!(
        said.contains("done") && said.contains("later"),
        "it is told by its own shell: {said}"
    );
    let (said, failed) = house.said("list_directory", json!({})).await;
    assert!(failed && said.contains("workspace"), "{said}");
    assert!(
        said.contains("create the folder"),
        "and how to mend it: {said}"
    );
    std::fs::create_dir(house.root.path().join("home/workspace")).unwrap();
    assert_eq!(house.said("list_directory", json!({})).await.0, "[empty]\n");
}

/// A small disk for a workspace. Takes a mount, so it is tried as root; as anyone else in a user namespace of
/// its own it would not be seen by the processes under test.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn on(path: &'a Path) -> Self {
        let options = "size=64k,nr_inodes=16,mode=0755";
        let mut mount = Command::new("mount");
        let mounted = mount
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(path)
            .status();
        assert!(
            mounted.unwrap().success(),
            "this test mounts a small disk, as root"
        );
        Self(path)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_loses_nothing_that_was_there() {
    let root = tempfile::tempdir().unwrap();
    let _disk = SmallDisk::on(root.path());
    let house = House::at(SandboxMode::Moderate, &["cp", "dd"], root.path());
    std::fs::write(root.path().join("kept"), "before").unwrap();
    let content = "x".repeat(100 << 10);
    for (tool, arguments) in [
        ("write_file", json!({"path": "kept", "content": content})),
        (
            "edit_file",
            json!({"path": "kept", "old": "before", "new": content}),
        ),
        (
            "run_command",
            json!({"command": ["dd", "if=/dev/zero", "of=fill", "bs=4k"]}),
        ),
        (
            "write_file",
            json!({"path": "new", "content": "y".repeat(8000)}),
        ),
    ] {
        let (said, failed) = house.said(tool, arguments).await;
        assert!(failed && said.contains("No space left"), "{tool}: {said}");
    }
    let kept = std::fs::read_to_string(root.path().join("kept")).unwrap();
    assert_eq!(kept, "before", "an old file is whole");
    let names = std::fs::read_dir(root.path()).unwrap().flatten();
    let mut names: Vec<_> = names
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["fill", "kept"], "no temporary file is left");
    let (said, failed) = house.said("read_file", json!({"path": "kept"})).await;
    assert_eq!((said.as_str(), failed), ("before", false));
    // With room again, everything works again.
    std::fs::remove_file(root.path().join("fill")).unwrap();
    let write = json!({"path": "kept", "content": "after"});
    assert!(!house.said("write_file", write).await.1);
}
