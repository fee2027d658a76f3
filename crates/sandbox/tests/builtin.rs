//! A built-in tool that was taken over, in mode strict.

mod harness;

use clawdbot_domain::SandboxMode;
use harness::{House, SHUT, is};

const EPERM: &str = "stopped 1";

async fn all(house: &House, attacks: &[(&str, &str)]) {
    for (attack, said) in attacks {
        let told = house.inside(attack).await;
        assert!(
            is(&told, said),
            "{}: {attack}: {told}",
            house.sandbox.tier()
        );
    }
}

#[tokio::test]
async fn its_workspace_is_there_and_nothing_else_is() {
    for house in House::both(SandboxMode::Strict) {
        let path = |below| house.path(below);
        all(
            &house,
            &[
                (
                    &format!("read {}", path("home/workspace/notes.txt")),
                    "reached 5",
                ),
                (
                    &format!("write {}", path("home/workspace/new")),
                    "reached ()",
                ),
                (&format!("read {}", path("home/secrets/key")), SHUT),
                (&format!("list {}", path("home")), SHUT),
                (&format!("write {}", path("home/config/gateway.json")), SHUT),
                (
                    &format!("read {}", path("home/workspace/../secrets/key")),
                    SHUT,
                ),
                ("read /etc/passwd", SHUT),
                ("read /proc/1/environ", SHUT),
                ("read /proc/self/environ", SHUT),
                ("list /", SHUT),
                ("list /usr", SHUT),
                ("write /tmp/clawdbot-sandbox-test", SHUT),
                ("write /dev/shm/clawdbot-sandbox-test", SHUT),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn a_link_in_the_workspace_that_leads_out_leads_nowhere() {
    for house in House::both(SandboxMode::Strict) {
        let link = house.path("home/workspace/link");
        std::os::unix::fs::symlink(house.path("home/secrets/key"), &link).unwrap();
        assert!(std::fs::read(&link).is_ok(), "the link works outside");
        let told = house.inside(&format!("read {link}")).await;
        assert!(is(&told, SHUT), "{told}");
    }
}

#[tokio::test]
async fn it_starts_nothing_connects_to_nothing_and_signals_nobody() {
    for house in House::both(SandboxMode::Strict) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = house.path("home/workspace/s");
        let _unix = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let me = std::process::id();
        all(
            &house,
            &[
                ("exec /bin/true", EPERM),
                ("fork", EPERM),
                (&format!("tcp {port}"), EPERM),
                ("udp", EPERM),
                (&format!("unix {socket}"), EPERM),
                (&format!("kill {me}"), EPERM),
                ("kill 1", EPERM),
                (&format!("limits-of {me}"), EPERM),
                ("executable-memory", EPERM),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn it_inherits_no_environment_and_no_descriptor() {
    for house in House::both(SandboxMode::Strict) {
        // An open descriptor without close-on-exec, as a careless library would leave it.
        let leaked = std::fs::File::open("/etc/passwd").unwrap();
        rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
        assert_eq!(house.inside("env").await, "[]");
        // Its workspace, which it was given on purpose.
        assert_eq!(house.inside("descriptors").await, "[3]");
    }
}

/// The kernel may tell the child of its job after it has read the job: what tells it of the parent's end, too.
#[tokio::test]
async fn a_signal_for_the_job_that_comes_late_does_not_end_the_call() {
    for house in House::both(SandboxMode::Strict) {
        assert_eq!(house.inside("late-signal").await, "reached 0");
    }
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn the_calls_that_kernels_are_broken_through_are_refused() {
    for house in House::both(SandboxMode::Strict) {
        for (name, number) in DANGEROUS {
            let said = house.inside(&format!("syscall {number}")).await;
            assert_eq!(said, EPERM, "{name}");
        }
    }
}

/// Numbers, so that a wrong name in the filter's tables does not hide in both places.
#[cfg(target_arch = "x86_64")]
const DANGEROUS: [(&str, u32); 20] = [
    ("ptrace", 101),
    ("process_vm_readv", 310),
    ("pidfd_getfd", 438),
    ("kcmp", 312),
    ("io_uring_setup", 425),
    ("bpf", 321),
    ("perf_event_open", 298),
    ("userfaultfd", 323),
    ("keyctl", 250),
    ("add_key", 248),
    ("unshare", 272),
    ("setns", 308),
    ("mount", 165),
    ("fsopen", 430),
    ("open_tree", 428),
    ("pivot_root", 155),
    ("init_module", 175),
    ("open_by_handle_at", 304),
    ("shmget", 29),
    ("memfd_create", 319),
];

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn a_command_is_refused_the_same_calls() {
    for house in House::both(SandboxMode::Moderate) {
        for (name, number) in DANGEROUS {
            let said = house.command(&format!("syscall {number}")).await;
            assert_eq!(said, EPERM, "{name}");
        }
    }
}
