//! Every tool from proposal to record, with attacks beside the happy path.

mod house;

use clawdbot_domain::SandboxMode;
use house::House;
use serde_json::json;

#[tokio::test]
async fn a_file_is_written_listed_and_read_back_in_mode_strict() {
    let house = House::new(SandboxMode::Strict, &[]);
    let wrote = house
        .said(
            "write_file",
            json!({"path": "a/b.txt", "content": "one\ntwo\n"}),
        )
        .await;
    assert_eq!(wrote, ("wrote 8 bytes to a/b.txt\n".to_owned(), false));
    let listed = house.said("list_directory", json!({"path": "a"})).await;
    assert_eq!(listed, ("file            8 b.txt\n".to_owned(), false));
    let outcome = house.run("read_file", json!({"path": "a/b.txt"})).await;
    assert_eq!(outcome.output.reveal_untrusted(), "one\ntwo\n");
    assert!(outcome.layers.contains(&"landlock-files".to_owned()));
    let left: Vec<_> = std::fs::read_dir(house.path("a")).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file is left");
}

#[tokio::test]
async fn a_megabyte_is_written_and_the_old_mode_kept_but_for_setuid() {
    use std::os::unix::fs::PermissionsExt as _;
    let house = House::new(SandboxMode::Strict, &[]);
    let path = house.path("big");
    std::fs::write(&path, "old").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4750)).unwrap();
    let content = "\"".repeat(1 << 20);
    let (said, failed) = house
        .said("write_file", json!({"path": "big", "content": content}))
        .await;
    assert!(!failed, "{said}");
    let found = std::fs::metadata(&path).unwrap();
    assert_eq!(
        (found.len(), found.permissions().mode() & 0o7777),
        (1 << 20, 0o750)
    );
}

#[tokio::test]
async fn no_path_leads_out_of_the_workspace() {
    let house = House::new(SandboxMode::Strict, &[]);
    std::fs::create_dir(house.path("sub")).unwrap();
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(to, house.path(name)).unwrap();
    };
    link("../secrets/key", "link");
    link("/etc/passwd", "absolute");
    link("../secrets", "folder");
    link("/proc/self/root", "magic");
    for path in [
        "../secrets/key",
        "sub/../../secrets/key",
        "/etc/passwd",
        "link",
        "absolute",
        "folder/key",
        "magic/etc/passwd",
        "/proc/self/environ",
        "a\u{0}b",
    ] {
        for (tool, arguments) in [
            ("read_file", json!({"path": path})),
            ("list_directory", json!({"path": path})),
        ] {
            let (said, failed) = house.said(tool, arguments).await;
            assert!(failed, "{tool} {path}: {said}");
            assert!(!said.contains("CANARY"), "{tool} {path}: {said}");
        }
    }
    for path in ["../secrets/key", "/etc/x", "folder/key", "folder/new/key"] {
        let write = json!({"path": path, "content": "x"});
        let (said, failed) = house.said("write_file", write).await;
        assert!(failed, "{path}: {said}");
    }
    let key = std::fs::read_to_string(house.root.path().join("home/secrets/key"));
    assert_eq!(key.unwrap(), "CANARY");
}

#[tokio::test]
async fn a_link_that_stays_inside_is_followed_and_written_over_not_through() {
    let house = House::new(SandboxMode::Strict, &[]);
    std::fs::write(house.path("real"), "real").unwrap();
    std::os::unix::fs::symlink("real", house.path("link")).unwrap();
    let read = house.said("read_file", json!({"path": "link"})).await;
    assert_eq!(read, ("real".to_owned(), false));
    house
        .run("write_file", json!({"path": "link", "content": "new"}))
        .await;
    assert_eq!(std::fs::read_to_string(house.path("real")).unwrap(), "real");
    assert_eq!(std::fs::read_to_string(house.path("link")).unwrap(), "new");
}

#[tokio::test]
async fn a_hard_link_to_a_secret_a_fifo_and_binary_data_are_refused_in_words() {
    let house = House::new(SandboxMode::Strict, &[]);
    let key = house.root.path().join("home/secrets/key");
    std::fs::hard_link(key, house.path("hard")).unwrap();
    std::fs::write(house.path("binary"), b"\x7fELF\0").unwrap();
    let mut mkfifo = std::process::Command::new("mkfifo");
    let made = mkfifo.arg(house.path("fifo")).status().unwrap();
    assert!(made.success());
    for (path, why) in [
        ("hard", "hard links"),
        ("fifo", "a FIFO"),
        ("binary", "is not text"),
        (".", "a folder"),
        ("none", "no such file"),
    ] {
        let (said, failed) = house.said("read_file", json!({"path": path})).await;
        assert!(failed && said.contains(why), "{path}: {said}");
    }
}

#[tokio::test]
async fn a_listed_command_runs_and_shows_its_code() {
    let house = House::new(SandboxMode::Moderate, &["cat", "ls"]);
    std::fs::write(house.path("a"), "text").unwrap();
    let outcome = house
        .run("run_command", json!({"command": ["cat", "a"]}))
        .await;
    assert_eq!(outcome.output.reveal_untrusted(), "text\n[exit code 0]\n");
    assert_eq!((outcome.exit, outcome.is_error), (Some(0), false));
    let outcome = house
        .run("run_command", json!({"command": ["cat", "../secrets/key"]}))
        .await;
    assert_eq!((outcome.exit, outcome.is_error), (Some(1), true));
    assert!(!outcome.output.reveal_untrusted().contains("CANARY"));
}

#[tokio::test]
async fn a_permit_alone_starts_no_command_that_mode_or_list_forbid() {
    for (mode, why) in [
        (SandboxMode::Strict, "strict"),
        (SandboxMode::Moderate, "allowedCommands"),
    ] {
        let house = House::new(mode, &["ls"]);
        let outcome = house
            .run("run_command", json!({"command": ["cat", "a"]}))
            .await;
        assert!(outcome.output.reveal_untrusted().contains(why));
        assert_eq!((outcome.is_error, outcome.layers), (true, vec![]));
    }
}

#[tokio::test]
async fn each_call_has_a_begin_and_an_end_in_the_log() {
    let house = House::new(SandboxMode::Strict, &[]);
    house.run("list_directory", json!({})).await;
    let text = house.log().await;
    let sha = clawdbot_domain::sha256_hex(b"[empty]\n");
    assert!(
        text.contains("tool.begin") && text.contains("tool.end"),
        "{text}"
    );
    assert!(text.contains(&sha), "{text}");
}

#[tokio::test]
async fn an_edit_changes_the_one_place_that_was_meant_or_nothing() {
    let house = House::new(SandboxMode::Strict, &[]);
    std::fs::write(house.path("a"), "one\ntwo\ntwo\n").unwrap();
    let edit = |old: &str, new: &str| json!({"path": "a", "old": old, "new": new});
    let said = house.said("edit_file", edit("one", "1")).await;
    assert_eq!(said, ("changed 1 place in a\n".to_owned(), false));
    for (arguments, why) in [
        (edit("two", "2"), "2 times"),
        (edit("TWO", "2"), "does not stand"),
        (
            json!({"path": "../secrets/key", "old": "CANARY", "new": ""}),
            "outside",
        ),
        (
            json!({"path": ".git/config", "old": "a", "new": "b"}),
            "by themselves",
        ),
        (
            json!({"path": "none", "old": "a", "new": "b"}),
            "no such file",
        ),
    ] {
        let (said, failed) = house.said("edit_file", arguments).await;
        assert!(failed && said.contains(why), "{why}: {said}");
    }
    let mut all = edit("two", "2");
    all["all"] = true.into();
    house.run("edit_file", all).await;
    assert_eq!(
        std::fs::read_to_string(house.path("a")).unwrap(),
        "1\n2\n2\n"
    );
    let left: Vec<_> = std::fs::read_dir(house.path(".")).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file is left");
}

#[tokio::test]
async fn an_edit_goes_through_no_link() {
    let house = House::new(SandboxMode::Strict, &[]);
    std::os::unix::fs::symlink("../secrets/key", house.path("out")).unwrap();
    std::fs::write(house.path("real"), "text").unwrap();
    std::os::unix::fs::symlink("real", house.path("in")).unwrap();
    for path in ["out", "in"] {
        let arguments = json!({"path": path, "old": "t", "new": "x", "all": true});
        let (said, failed) = house.said("edit_file", arguments).await;
        assert!(failed && said.contains("link"), "{path}: {said}");
    }
}

#[tokio::test]
async fn a_search_finds_what_is_in_the_workspace_in_pages_and_nothing_outside() {
    let house = House::new(SandboxMode::Strict, &[]);
    std::fs::create_dir(house.path("sub")).unwrap();
    std::fs::write(house.path("sub/b.rs"), "fn find() {}\nfn other() {}\n").unwrap();
    std::fs::write(house.path("a.txt"), "Find me\nfind find\n").unwrap();
    std::fs::write(house.path("binary"), b"find\0").unwrap();
    std::os::unix::fs::symlink("../secrets", house.path("out")).unwrap();
    std::os::unix::fs::symlink("../secrets/key", house.path("key")).unwrap();
    let said = house.said("search_files", json!({"text": "find"})).await;
    let both = "a.txt:2: find find\nsub/b.rs:1: fn find() {}\n".to_owned();
    assert_eq!(said, (both, false));
    let said = house.said("search_files", json!({"text": "CANARY"})).await;
    assert_eq!(said, ("[no hit]\n".to_owned(), false));
    let page = json!({"text": "FIND", "ignore_case": true, "offset": 1, "limit": 1});
    let said = house.said("search_files", page).await;
    let page = "a.txt:2: find find\n[there is more; go on with offset 2]\n".to_owned();
    assert_eq!(said, (page, false));
    let named = house
        .said(
            "search_files",
            json!({"text": "fn", "name": ".rs", "path": "sub"}),
        )
        .await;
    assert_eq!(named.0.lines().count(), 2, "{}", named.0);
    for path in ["..", "/", "out"] {
        let (said, failed) = house
            .said("search_files", json!({"text": "CANARY", "path": path}))
            .await;
        assert!(failed, "{path}: {said}");
    }
}
