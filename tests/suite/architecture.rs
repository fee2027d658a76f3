//! The walls of the house, read from `cargo metadata`. Each failure is a sentence that says which
//! wall was crossed and what to do.

use cargo_metadata::{DependencyKind, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};

/// Room → the rooms it may depend on; the table of `ARCHITECTURE.md`.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("config", &["domain"]),
    ("audit", &["domain"]),
    ("auth", &["domain"]),
    ("guard", &["domain"]),
    ("policy", &["domain"]),
    ("sandbox", &["domain"]),
    ("sessions", &["domain"]),
    // A provider is given only what was recorded and screened, so it knows these two words.
    ("providers", &["domain", "audit", "guard"]),
    ("tools", &["domain", "audit", "policy", "sandbox"]),
    (
        "agent",
        &[
            "domain",
            "audit",
            "guard",
            "policy",
            "providers",
            "sessions",
            "tools",
        ],
    ),
    (
        "gateway",
        &[
            "domain",
            "audit",
            "auth",
            "agent",
            "guard",
            "providers",
            "sessions",
        ],
    ),
];

/// The binary may depend on every room.
const BINARY: &str = "clawdbot";

/// Dependency → who may hold it, and why nobody else.
const HELD: &[(&str, &[&str], &str)] = &[
    (
        "libc",
        &["sandbox"],
        "raw system calls are unsafe, and unsafe lives in the sandbox alone",
    ),
    ("landlock", &["sandbox"], "confinement is one room's job"),
    ("seccompiler", &["sandbox"], "confinement is one room's job"),
    (
        "axum",
        &["gateway"],
        "only the gateway knows how HTTP requests are routed",
    ),
    (
        "hyper",
        &["gateway", "providers", "tools", BINARY],
        "HTTP is spoken by the gateway, to providers, by the tools' broker, and by the command line to its own gateway",
    ),
    (
        "hyper-util",
        &["gateway", "providers", "tools", BINARY],
        "HTTP is spoken by the gateway, to providers, by the tools' broker, and by the command line to its own gateway",
    ),
    (
        "rustls",
        &["gateway", "providers", "tools", BINARY],
        "TLS is spoken at our own door, to providers, by the tools' broker, and by the command line to its own gateway",
    ),
    (
        "tokio-rustls",
        &["gateway", "providers", "tools", BINARY],
        "TLS is spoken at our own door, to providers, by the tools' broker, and by the command line to its own gateway",
    ),
    (
        "webpki-roots",
        &["providers", "tools"],
        "only providers, and what the tools' broker lets out, are reached over the network",
    ),
    (
        "rusqlite",
        &["auth", "sessions"],
        "only tokens, credentials and sessions are kept in a database",
    ),
    (
        "chacha20poly1305",
        &["auth"],
        "only the vault seals secrets",
    ),
    (
        "html2text",
        &["tools"],
        "pages are read in a tool's confined child only",
    ),
    ("clap", &[BINARY], "rooms know no command line"),
    ("rpassword", &[BINARY], "rooms know no terminal"),
];

/// Rooms that decide: no runtime, so no IO and no clock can be reached by accident.
const PURE: &[&str] = &["domain", "guard", "policy"];

/// What a pure room may not hold.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "rustix",
    "libc",
    "tracing-subscriber",
    "getrandom",
];

struct House {
    packages: BTreeMap<String, Package>,
}

impl House {
    fn read() -> Self {
        let manifest = testkit::binary::checkout().join("Cargo.toml");
        let read = MetadataCommand::new()
            .manifest_path(manifest)
            .no_deps()
            .other_options(["--offline".to_owned(), "--locked".to_owned()])
            .exec();
        let metadata = read.expect("cargo metadata reads this workspace");
        let packages = metadata.packages.into_iter();
        Self {
            packages: packages.map(|p| (room(&p.name).to_owned(), p)).collect(),
        }
    }

    /// What a package is built from; what only its tests use is its own affair.
    fn dependencies(&self, room: &str) -> BTreeSet<String> {
        let package = self
            .packages
            .get(room)
            .unwrap_or_else(|| panic!("there is no crate {room}"));
        let built = package
            .dependencies
            .iter()
            .filter(|d| d.kind != DependencyKind::Development);
        built.map(|d| d.name.clone()).collect()
    }
}

fn room(package: &str) -> &str {
    package.strip_prefix("clawdbot-").unwrap_or(package)
}

#[test]
fn every_crate_is_a_room_of_the_table() {
    let house = House::read();
    let known = ROOMS
        .iter()
        .map(|(room, _)| *room)
        .chain([BINARY, "tests", "bench", "training"]);
    let known = known.collect::<BTreeSet<_>>();
    for room in house.packages.keys() {
        assert!(
            known.contains(room.as_str()),
            "clawdbot-{room} is no room of the table: give it a row in ARCHITECTURE.md and in this test"
        );
    }
    for (room, _) in ROOMS {
        assert!(
            house.packages.contains_key(*room),
            "the table has a room {room} that does not exist"
        );
    }
}

#[test]
fn rooms_depend_only_on_the_rooms_they_may_know() {
    let house = House::read();
    for (room, allowed) in ROOMS {
        for name in house.dependencies(room) {
            let Some(other) = name.strip_prefix("clawdbot-") else {
                continue;
            };
            assert!(
                allowed.contains(&other),
                "{room} depends on {other}, which it must not know ({room} may know: {}). Move the \
                 code, or move the wall in ARCHITECTURE.md and say why",
                allowed.join(", ")
            );
        }
    }
}

#[test]
fn no_room_depends_on_the_binary_or_on_the_tests() {
    let house = House::read();
    for (room, _) in ROOMS {
        for outside in [
            "clawdbot",
            "clawdbot-tests",
            "clawdbot-bench",
            "clawdbot-training",
        ] {
            let held = house.dependencies(room).contains(outside);
            assert!(
                !held,
                "{room} depends on {outside}: the house must stand without it"
            );
        }
    }
}

#[test]
fn dangerous_dependencies_are_held_by_the_rooms_that_need_them_only() {
    let house = House::read();
    let rooms = ROOMS.iter().map(|(room, _)| *room).chain([BINARY]);
    for room in rooms {
        let held = house.dependencies(room);
        for (dependency, holders, why) in HELD {
            assert!(
                !held.contains(*dependency) || holders.contains(&room),
                "{room} holds {dependency}, but only {} may: {why}",
                holders.join(", ")
            );
        }
    }
}

#[test]
fn deciders_can_reach_no_io_and_no_clock() {
    let house = House::read();
    for room in PURE {
        let held = house.dependencies(room);
        for impure in IMPURE {
            assert!(
                !held.contains(*impure),
                "{room} decides and holds {impure}: hand it what it needs as an argument instead"
            );
        }
    }
}

#[test]
fn unsafe_code_is_in_the_sandbox_alone() {
    let crates = testkit::binary::checkout().join("crates");
    let mut sources = Vec::new();
    for room in std::fs::read_dir(&crates).unwrap().flatten() {
        if room.file_name() != "sandbox" {
            rust_files(&room.path().join("src"), &mut sources);
        }
    }
    assert!(sources.len() > 50, "the sources were found");
    for path in sources {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            let opens = line.contains("unsafe {")
                || line.contains("unsafe fn")
                || line.contains("unsafe impl")
                || line.contains("allow(unsafe_code");
            assert!(!opens, "{} holds unsafe code: {line}", path.display());
        }
    }
}

fn rust_files(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_test_named_in_the_tables_exists() {
    let root = testkit::binary::checkout();
    let mut sources = String::new();
    for folder in ["crates", "tests"] {
        gather(&root.join(folder), &mut sources);
    }
    let mut pages = vec![(root.join("docs/threats.md"), 40)];
    for page in std::fs::read_dir(root.join("docs/compliance")).unwrap() {
        pages.push((page.unwrap().path(), 8));
    }
    assert!(pages.len() > 4, "{pages:?}");
    for (page, least) in pages {
        let table = std::fs::read_to_string(&page).unwrap();
        // A test's name has several words; what stands between backticks besides is a crate or a file.
        let quoted = table.split('`').skip(1).step_by(2);
        let last_words = quoted.filter_map(|text| text.split(' ').next_back());
        let named: Vec<_> = last_words.filter(|n| n.matches('_').count() >= 3).collect();
        let page = page.display();
        assert!(
            named.len() > least,
            "{page} names {} tests only",
            named.len()
        );
        for name in named {
            let test = format!("fn {name}(");
            assert!(
                sources.contains(&test),
                "{page} names {name}, and there is no such test"
            );
        }
    }
}

fn gather(folder: &std::path::Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            gather(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
