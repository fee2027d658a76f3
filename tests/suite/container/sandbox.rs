//! The sandbox inside the container, and the filter round both.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use testkit::Deployment;

/// The layers that are named by `sandbox test --json`, and the tier.
fn proof(said: &str) -> (String, BTreeSet<String>) {
    let proof: Value = serde_json::from_str(said.trim()).unwrap();
    let layers = proof["layers"].as_array().unwrap();
    let names = layers
        .iter()
        .map(|l| l["name"].as_str().unwrap().to_owned());
    (proof["tier"].as_str().unwrap().to_owned(), names.collect())
}

/// `AppArmor` for containers refuses mounts, whatever ours allows; there the tier is T3, and said.
fn apparmor_holds_mounts(here: &Deployment) -> bool {
    let options = here
        .shell("docker info -f '{{.SecurityOptions}}'")
        .ok("docker info");
    options.out.contains("apparmor")
}

#[test]
fn the_sandbox_has_every_layer_in_this_container_and_says_what_is_missing_in_others() {
    let here = Deployment::new();
    let inside = here.cli("sandbox test --json").ok("sandbox test");
    let (tier, inside) = proof(&inside.out);
    if apparmor_holds_mounts(&here) {
        assert_eq!(tier, "T3");
    } else {
        assert_eq!(tier, "T1");
        // The same as the machine itself has, whatever that is.
        let outside = testkit::Home::new()
            .run(&["sandbox", "test", "--json"])
            .ok("sandbox test");
        let (_, outside) = proof(&outside.out);
        assert_eq!(inside, outside);
    }
    // With the engine's own filter in place of ours: no namespaces, and no silence about it.
    let bare = here.shell(&format!(
        "docker run --rm --read-only --cap-drop ALL --security-opt no-new-privileges {} sandbox test --json",
        here.image()
    ));
    let bare = bare.ok("sandbox test under the engine's filter");
    let (tier, layers) = proof(&bare.out);
    assert_eq!(tier, "T3");
    assert!(
        layers.contains("landlock-files") && layers.contains("seccomp-builtin"),
        "{layers:?}"
    );
    assert!(bare.out.contains("user namespace"), "{}", bare.out);
    // Where Landlock or seccomp themselves are refused, nothing starts.
    let filter = here.folder().join("blind.json");
    std::fs::write(
        &filter,
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["landlock_create_ruleset"], "action": "SCMP_ACT_ERRNO"}]})
        .to_string(),
    )
    .unwrap();
    let blind = here.shell(&format!(
        "docker run --rm --cap-drop ALL --security-opt no-new-privileges --security-opt seccomp={} {} gateway",
        filter.display(),
        here.image()
    ));
    assert_eq!(blind.code, 69, "{}{}", blind.out, blind.err);
    assert!(blind.err.contains("Landlock"), "{}", blind.err);
}

#[test]
fn the_filter_of_the_container_lets_through_what_the_sandbox_needs_and_no_known_way_out() {
    let root = testkit::binary::checkout();
    let text = std::fs::read_to_string(root.join("container/seccomp.json")).unwrap();
    let filter: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(filter["defaultAction"], "SCMP_ACT_ERRNO");
    let rules = filter["syscalls"].as_array().unwrap();
    let names = |rule: &Value| -> Vec<String> {
        let names = rule["names"].as_array().unwrap().iter();
        names.map(|n| n.as_str().unwrap().to_owned()).collect()
    };
    let allowed: BTreeSet<String> = rules.iter().flat_map(names).collect();
    for room in ["builtin", "command"] {
        let source = root.join(format!("crates/sandbox/src/seccomp/{room}.rs"));
        let source = std::fs::read_to_string(source).unwrap();
        let called = source.split("l::SYS_").skip(1).map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            rest[..end.unwrap_or(rest.len())].to_owned()
        });
        for call in called {
            assert!(
                allowed.contains(&call),
                "{call} is for tools, and the container refuses it"
            );
        }
    }
    for call in [
        "ptrace",
        "bpf",
        "keyctl",
        "add_key",
        "request_key",
        "perf_event_open",
        "userfaultfd",
        "io_uring_setup",
        "kexec_load",
        "init_module",
        "finit_module",
        "open_by_handle_at",
        "name_to_handle_at",
        "process_vm_readv",
        "process_vm_writev",
        "pidfd_getfd",
        "kcmp",
        "personality",
        "modify_ldt",
        "quotactl",
        "reboot",
        "swapon",
        "settimeofday",
        "clock_settime",
        "iopl",
        "ioperm",
        "chroot",
        "mknod",
        "mknodat",
        "setuid",
        "setgid",
        "setgroups",
        "vmsplice",
        "syslog",
        "acct",
        "fanotify_init",
        "move_pages",
        "mbind",
    ] {
        assert!(!allowed.contains(call), "{call}");
    }
    // Sockets of four families, each named.
    let families: Vec<_> = rules
        .iter()
        .filter(|r| names(r) == ["socket"])
        .map(|r| r["args"][0]["value"].clone())
        .collect();
    assert_eq!(families, [1, 2, 10, 16]);
}

/// Starts what it is told and buries everybody else's children, as the first process of a container must.
const FIRST_PROCESS: &str = "import os, sys
main = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
while True:
    pid, status = os.wait()
    if pid == main: sys.exit(os.waitstatus_to_exitcode(status) % 256)";

/// The probes of `sandbox_probes.rs`, run by this very test binary inside the container: with this machine's
/// programs in it, so that there is something to try with, and nothing else changed.
#[test]
fn no_probe_reaches_more_inside_the_container() {
    let here = Deployment::new();
    if apparmor_holds_mounts(&here) {
        // Both tiers are tried, so the one that needs mounts must be there.
        std::fs::write(
            here.folder().join("compose.override.yaml"),
            "services: { clawdbot-cli: { security_opt: [\"apparmor:unconfined\"] } }\n",
        )
        .unwrap();
    }
    let house = here.home().join("house");
    std::fs::create_dir(&house).unwrap();
    let _ = here.cli("home path").ok("the home is made");
    let me = std::fs::metadata(here.data()).unwrap();
    std::os::unix::fs::chown(&house, Some(me.uid()), Some(me.gid())).unwrap();
    let suite = std::env::current_exe().unwrap();
    let checkout = testkit::binary::checkout();
    let ran = here.shell(&format!(
        "docker compose run --rm -T -e TMPDIR=/house -e HOME=/house -e CLAWDBOT_BIN=/clawdbot \
         -e CLAWDBOT_PROBES_IN=container \
         -v /usr:/usr:ro -v /etc/alternatives:/etc/alternatives:ro -v /etc/hostname:/etc/hostname:ro \
         -v {house}:/house -v {suite}:/suite:ro -v {checkout}/tests:{checkout}/tests:ro \
         -v {checkout}/container/rootfs/root/usr/bin/clawdbot:/clawdbot:ro \
         --entrypoint /usr/bin/python3 clawdbot-cli -c '{FIRST_PROCESS}' /suite --exact --nocapture \
         sandbox_probes::no_probe_reaches_what_it_must_not_beyond_the_listed_exposures",
        house = house.display(),
        suite = suite.display(),
        checkout = checkout.display(),
    ));
    println!("{}{}", ran.out, ran.err);
    let _ = std::fs::remove_dir_all(&house);
    assert_eq!(ran.code, 0, "see above");
    assert!(ran.out.contains("1 passed"), "it ran");
}
