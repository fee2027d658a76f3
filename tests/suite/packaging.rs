//! What a service manager and a package are given.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use testkit::{Home, binary};

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// How exposed `systemd-analyze` finds the unit, with these drop-ins: 0 is nothing, 10 is everything.
fn exposure(drop_ins: &[&str]) -> f64 {
    let units = tempfile::tempdir().unwrap();
    let from = packaging().join("systemd");
    let unit = units.path().join("clawdbot.service");
    std::fs::copy(from.join("clawdbot.service"), &unit).unwrap();
    let beside = units.path().join("clawdbot.service.d");
    std::fs::create_dir(&beside).unwrap();
    for name in drop_ins {
        std::fs::copy(from.join(name), beside.join(name)).unwrap();
    }
    let analyse = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(&unit)
        .output()
        .expect("systemd-analyze must be installed");
    let said = said(&analyse);
    let level = said.rsplit("clawdbot.service: ").next().unwrap();
    let level = level.split(' ').next().unwrap();
    level.parse().unwrap_or_else(|_| panic!("{said}"))
}

#[test]
fn the_unit_exposes_little_and_its_drop_in_says_what_it_opens() {
    let (shut, opened) = (exposure(&[]), exposure(&["namespaces.conf"]));
    assert!(shut <= 2.0, "{shut}");
    assert!(shut < opened && opened <= 3.0, "{opened}");
}

#[test]
fn the_sandbox_proves_itself_where_new_privileges_are_off_already() {
    let home = Home::new();
    let command = home.command();
    let tested = Command::new("setpriv")
        .arg("--no-new-privs")
        .arg(command.get_program())
        .args(["sandbox", "test"])
        .env("CLAWDBOT_HOME", home.path())
        .output()
        .unwrap();
    assert!(tested.status.success(), "{}", said(&tested));
    assert!(said(&tested).contains("no_new_privs is set"));
}

/// Packs the binary under test.
fn deb(into: &Path) -> PathBuf {
    let made = Command::new(packaging().join("deb"))
        .arg(binary::clawdbot())
        .arg(into)
        .env("SOURCE_DATE_EPOCH", "1764115200")
        .env("DPKG_DEB_COMPRESSOR_TYPE", "none")
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", said(&made));
    PathBuf::from(String::from_utf8(made.stdout).unwrap().trim())
}

#[test]
fn a_package_is_the_same_each_time_and_holds_what_a_machine_needs() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (deb(&dir.path().join("1")), deb(&dir.path().join("2")));
    assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap());

    let root = dir.path().join("root");
    let unpacked = Command::new("dpkg-deb")
        .arg("-x")
        .args([&first, &root])
        .status()
        .unwrap();
    assert!(unpacked.success());
    let unit = std::fs::read_to_string(root.join("lib/systemd/system/clawdbot.service")).unwrap();
    let program = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/"))
        .and_then(|line| line.split(' ').next())
        .unwrap();
    let version = Command::new(root.join(program))
        .arg("--version")
        .output()
        .unwrap();
    assert!(
        said(&version).starts_with("clawdbot "),
        "{}",
        said(&version)
    );
    for file in [
        "usr/share/man/man1/clawdbot-config-set.1.gz",
        "usr/share/bash-completion/completions/clawdbot",
        "usr/share/zsh/vendor-completions/_clawdbot",
        "usr/share/fish/vendor_completions.d/clawdbot.fish",
        "usr/share/doc/clawdbot/copyright",
    ] {
        assert!(root.join(file).metadata().unwrap().len() > 0, "{file}");
    }
}

#[test]
fn root_working_in_a_home_of_another_leaves_nothing_that_its_owner_cannot_read() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    // An ordinary user that exists on no machine.
    const OWNER: u32 = 31_337;
    let home = Home::new();
    chown(home.path(), Some(OWNER), Some(OWNER)).expect("this test must run as root");
    home.token("read");
    home.set("gateway.logLevel", "debug");
    let mut folders = vec![home.path().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let found = entry.metadata().unwrap();
            assert_eq!(found.uid(), OWNER, "{}", entry.path().display());
            if found.is_dir() {
                folders.push(entry.path());
            } else {
                files += 1;
            }
        }
    }
    assert!(files > 4, "{files}");
}
