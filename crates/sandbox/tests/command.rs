//! A hostile command in mode moderate, and what is left of it afterwards.

mod harness;

use clawdbot_domain::SandboxMode;
use clawdbot_sandbox::{
    CannotConfine, CommandJob, Ended, Extras, Limits, Need, Outgrown, Profile, RunError,
};
use harness::{House, SHUT, is, job};
use std::time::Duration;

const EPERM: &str = "stopped 1";

#[tokio::test]
async fn it_runs_with_a_small_environment_and_three_descriptors() {
    for house in House::both(SandboxMode::Moderate) {
        let environment = house.command("env").await;
        assert!(environment.contains("PATH"), "{environment}");
        for name in ["CARGO", "USER", "SSH_AUTH_SOCK", "NEXTEST"] {
            assert!(!environment.contains(name), "{name} in {environment}");
        }
        assert_eq!(house.command("descriptors").await, "[]");
        // Only root can empty the bounding set; for others `no_new_privs` makes it worth nothing.
        let bounding = if rustix::process::getuid().is_root() {
            "bounding 0 "
        } else {
            "bounding "
        };
        let status = house.command("status").await;
        assert!(status.starts_with("nnp 1 seccomp 2 "), "{status}");
        assert!(status.contains(bounding), "{status}");
        assert!(status.ends_with("session true"), "{status}");
    }
}

#[tokio::test]
async fn it_reaches_its_workspace_and_the_system_but_no_secret_and_no_process() {
    for house in House::both(SandboxMode::Moderate) {
        let me = std::process::id();
        let path = |below| house.path(below);
        for (attack, said) in [
            (
                format!("write {}", path("home/workspace/new")),
                "reached ()",
            ),
            (format!("read {}", path("home/secrets/key")), SHUT),
            (format!("list {}", path("home")), SHUT),
            ("read /etc/passwd".to_owned(), SHUT),
            ("read /etc/shadow".to_owned(), SHUT),
            (format!("read /proc/{me}/environ"), SHUT),
            ("read /proc/1/environ".to_owned(), SHUT),
            (format!("kill {me}"), EPERM),
            (format!("limits-of {me}"), EPERM),
            ("udp".to_owned(), EPERM),
            ("namespaces".to_owned(), EPERM),
            ("clone3".to_owned(), "stopped 38"),
            (format!("setuid-file {}", path("home/workspace/su")), EPERM),
            (
                "run /bin/true".to_owned(),
                "reached ExitStatus(unix_wait_status(0))",
            ),
            // There, readable, and not on the list: the kernel holds the list too.
            ("run /bin/sh".to_owned(), SHUT),
        ] {
            let told = house.command(&attack).await;
            assert!(
                is(&told, said),
                "{}: {attack}: {told}",
                house.sandbox.tier()
            );
        }
    }
}

#[tokio::test]
async fn a_file_it_wrote_does_not_start() {
    for house in House::both(SandboxMode::Moderate) {
        let copy = house.path("home/workspace/true");
        std::fs::copy("/bin/true", &copy).unwrap();
        let told = house.command(&format!("run {copy}")).await;
        assert!(is(&told, SHUT), "{told}");
    }
}

#[tokio::test]
async fn permissive_shows_the_system_and_never_the_home() {
    for house in House::both(SandboxMode::Permissive) {
        let path = |below| house.path(below);
        for (attack, said) in [
            ("list /etc/ssl".to_owned(), "reached"),
            ("udp".to_owned(), "reached"),
            (format!("write {}", path("home/workspace/new")), "reached"),
            (format!("read {}", path("home/secrets/key")), SHUT),
            (format!("write {}", path("home/config/x")), SHUT),
            (format!("read /proc/{}/environ", std::process::id()), SHUT),
            (format!("kill {}", std::process::id()), EPERM),
        ] {
            let told = house.command(&attack).await;
            let tier = house.sandbox.tier();
            assert!(
                is(&told, said) || told.starts_with(said),
                "{tier}: {attack}: {told}"
            );
        }
    }
}

#[tokio::test]
async fn strict_runs_no_command() {
    for house in House::both(SandboxMode::Strict) {
        let workspace = house.root.path().join("home/workspace");
        let need = Need {
            profile: Profile::Command,
            workspace: &workspace,
            write: false,
            programs: &[],
        };
        let refused = house.sandbox.confine(&need);
        assert!(matches!(refused, Err(CannotConfine::NoCommandInStrict)));
    }
}

#[tokio::test]
async fn no_workspace_shows_the_home() {
    for house in House::both(SandboxMode::Strict) {
        let link = house.root.path().join("link");
        std::os::unix::fs::symlink(house.path("home/secrets"), &link).unwrap();
        for workspace in ["", "home", "home/secrets", "home/logs", "link", "missing"] {
            let workspace = house.root.path().join(workspace);
            let need = Need {
                profile: Profile::Builtin,
                workspace: &workspace,
                write: false,
                programs: &[],
            };
            assert!(house.sandbox.confine(&need).is_err(), "{workspace:?}");
        }
    }
}

fn short(wall_ms: u64) -> Limits {
    Limits {
        wall_ms,
        ..Limits::COMMAND
    }
}

/// True when nobody adds to the file any more.
async fn is_still(marker: &str) -> bool {
    let size = || std::fs::metadata(marker).map_or(0, |m| m.len());
    let before = size();
    tokio::time::sleep(Duration::from_millis(100)).await;
    before == size()
}

#[tokio::test]
async fn a_daemon_is_gone_with_the_call() {
    for house in House::both(SandboxMode::Moderate) {
        let marker = house.path("home/workspace/daemon");
        assert_eq!(
            house.command(&format!("daemon {marker}")).await,
            "left a daemon"
        );
        assert!(is_still(&marker).await);
    }
}

#[tokio::test]
async fn a_crowd_is_gone_with_the_call_and_outsiders_live() {
    for house in House::both(SandboxMode::Moderate) {
        let marker = house.path("home/workspace/crowd");
        let mut outsider = std::process::Command::new("/bin/sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let said = house.command(&format!("forks 40 {marker}")).await;
        assert_eq!(said, "made 40");
        assert!(is_still(&marker).await);
        assert!(outsider.try_wait().unwrap().is_none(), "the outsider lives");
        outsider.kill().unwrap();
        outsider.wait().unwrap();
    }
}

#[tokio::test]
async fn a_command_that_ignores_sigterm_ends_when_its_time_is_up() {
    for house in House::both(SandboxMode::Moderate) {
        let finished = house.command_within(short(300), "stubborn").await.unwrap();
        assert_eq!(finished.ended, Ended::TimedOut);
    }
}

#[tokio::test]
async fn a_flood_is_cut_at_the_cap_and_the_flooder_ended() {
    for house in House::both(SandboxMode::Moderate) {
        let finished = house
            .command_within(Limits::COMMAND, "flood")
            .await
            .unwrap();
        assert_eq!(finished.ended, Ended::TooMuchOutput);
        assert_eq!(finished.output.len(), Limits::COMMAND.output_bytes);
    }
}

#[tokio::test]
async fn memory_ends_where_the_limit_is() {
    for house in House::both(SandboxMode::Moderate) {
        let said = house.command("memory").await;
        assert!(said.starts_with("stopped at"), "{said}");
    }
}

#[tokio::test]
async fn a_dropped_call_takes_its_tree_along() {
    for house in House::both(SandboxMode::Moderate) {
        let marker = house.path("home/workspace/dropped");
        let attack = format!("forks 3 {marker}");
        let limits = Limits::COMMAND;
        // Its three children live on while it waits for the output to end; the caller does not.
        let call = house.command_within(limits, &attack);
        let sleeper = house.command_within(limits, "sleep");
        let _ = tokio::time::timeout(Duration::from_millis(200), async {
            tokio::join!(call, sleeper)
        })
        .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(is_still(&marker).await);
    }
}

#[tokio::test]
async fn a_program_that_was_replaced_since_the_decision_does_not_start() {
    for house in House::both(SandboxMode::Moderate) {
        let mut job = job("env");
        job.inode += 1;
        let confinement = house.confine(Profile::Command, false);
        let refused = house
            .sandbox
            .run_command(&confinement, &job, Extras::default())
            .await;
        let Err(RunError::NotStarted(why)) = refused else {
            panic!("{refused:?}")
        };
        assert!(why.contains("was replaced"), "{why}");
    }
}

#[tokio::test]
async fn a_folder_outside_is_no_place_to_run() {
    for house in House::both(SandboxMode::Moderate) {
        for cwd in ["..", "/", "/etc", "a/../.."] {
            let mut job = job("env");
            job.cwd = Some(cwd.to_owned());
            let confinement = house.confine(Profile::Command, false);
            let refused = house
                .sandbox
                .run_command(&confinement, &job, Extras::default())
                .await;
            assert!(matches!(refused, Err(RunError::NotStarted(_))), "{cwd}");
        }
    }
}

#[tokio::test]
async fn a_command_without_permission_to_write_does_not() {
    for house in House::both(SandboxMode::Moderate) {
        let path = house.path("home/workspace/x");
        let confinement = house.confine(Profile::Command, false);
        let job = job(&format!("write {path}"));
        let finished = house
            .sandbox
            .run_command(&confinement, &job, Extras::default())
            .await
            .unwrap();
        let told = String::from_utf8_lossy(&finished.output);
        assert!(is(told.trim(), SHUT), "{told}");
    }
}

#[tokio::test]
async fn a_command_that_fills_the_workspace_is_ended() {
    for house in House::both(SandboxMode::Moderate) {
        let workspace = house.path("home/workspace");
        for attack in ["fill", "crumbs"] {
            let attack = format!("{attack} {workspace}");
            let limits = Limits {
                added_bytes: 4 << 20,
                added_files: 500,
                ..Limits::COMMAND
            };
            let finished = house.command_within(limits, &attack).await.unwrap();
            assert_eq!(
                finished.ended,
                Ended::Outgrown(Outgrown::Workspace),
                "{attack}"
            );
            assert!(is_still(&format!("{workspace}/crumb0")).await);
        }
    }
}

#[tokio::test]
async fn output_is_seen_while_it_is_written_and_no_more_than_is_kept() {
    for house in House::both(SandboxMode::Moderate) {
        let mut pieces = Vec::new();
        let mut watch = |piece: &[u8]| pieces.push(piece.len());
        let extras = Extras {
            watch: Some(&mut watch),
            line: None,
        };
        let confinement = house.confine(Profile::Command, true);
        let job = job("flood");
        let finished = house
            .sandbox
            .run_command(&confinement, &job, extras)
            .await
            .unwrap();
        assert!(pieces.len() > 1, "it came in pieces: {pieces:?}");
        assert_eq!(pieces.iter().sum::<usize>(), finished.output.len());
    }
}

#[tokio::test]
async fn a_zygote_that_was_killed_is_replaced_by_one_that_confines_as_much() {
    for house in House::both(SandboxMode::Moderate) {
        let before = house.command("status").await;
        for pid in zygotes() {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(
            house.command("status").await,
            before,
            "{}",
            house.sandbox.tier()
        );
        assert_eq!(house.command("udp").await, EPERM);
    }
}

/// The zygotes of this test, by their program, their argument and the name of their group.
fn zygotes() -> Vec<i32> {
    let group = rustix::process::getpgrp().as_raw_nonzero().to_string();
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let ours = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let is_zygote = line.split(|b| *b == 0).nth(1) == Some(b"__tool");
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(") ").next().unwrap_or("");
        let of = after_name.split(' ').nth(2).map(str::to_owned);
        is_zygote && of == Some(group.clone())
    };
    pids.filter(ours).collect()
}

#[tokio::test]
async fn what_is_wrong_with_a_program_or_a_workspace_is_said_and_nothing_runs() {
    use std::os::unix::fs::PermissionsExt as _;
    for house in House::both(SandboxMode::Moderate) {
        // Another architecture's program, one whose interpreter is missing, one that is no program.
        let folder = tempfile::tempdir().unwrap();
        let mut foreign = std::fs::read("/bin/true").unwrap();
        foreign[18] ^= 0xb7;
        for (name, content) in [
            ("foreign", foreign.as_slice()),
            ("script", b"#!/nonexistent/interpreter\n"),
            ("nonsense", b"no program\n"),
        ] {
            let path = folder
                .path()
                .join(name)
                .canonicalize()
                .unwrap_or(folder.path().join(name));
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            let workspace = house.root.path().join("home/workspace");
            let need = Need {
                profile: Profile::Command,
                workspace: &workspace,
                write: true,
                programs: std::slice::from_ref(&path),
            };
            let confinement = house.sandbox.confine(&need).unwrap();
            let job = CommandJob::new(&path, vec![name.to_owned()], None).unwrap();
            let run = house
                .sandbox
                .run_command(&confinement, &job, Extras::default());
            let refused = run.await;
            assert!(
                matches!(refused, Err(RunError::NotStarted(_))),
                "{name}: {refused:?}"
            );
            // And one that vanishes between decision and start.
            std::fs::remove_file(&path).unwrap();
            let run = house
                .sandbox
                .run_command(&confinement, &job, Extras::default());
            assert!(run.await.is_err(), "{name}");
        }
        let confinement = house.confine(Profile::Command, true);
        std::fs::remove_dir_all(house.path("home/workspace")).unwrap();
        let gone = house
            .sandbox
            .run_command(&confinement, &job("env"), Extras::default())
            .await;
        assert!(
            matches!(gone, Err(RunError::NotConfined { .. })),
            "{gone:?}"
        );
        std::fs::create_dir(house.path("home/workspace")).unwrap();
        let again = house.command("env").await;
        assert!(
            again.contains("PATH"),
            "a new folder of that name is a workspace again: {again}"
        );
    }
}

#[tokio::test]
async fn what_comes_and_goes_beside_the_home_stops_no_call() {
    use std::sync::atomic::{AtomicBool, Ordering};
    for house in House::both(SandboxMode::Permissive) {
        let beside = house.root.path().to_owned();
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let stops = std::sync::Arc::clone(&stop);
        // Mode permissive grants what lies beside the home one by one.
        let churn = std::thread::spawn(move || {
            let mut made = 0_u32;
            while !stops.load(Ordering::Relaxed) {
                let folder = beside.join(format!("passing-{}", made % 16));
                std::fs::create_dir(&folder).unwrap();
                std::fs::remove_dir(&folder).unwrap();
                made += 1;
            }
            made
        });
        for round in 0..60 {
            let said = house.command("env").await;
            assert!(said.contains("PATH"), "round {round}: {said}");
        }
        stop.store(true, Ordering::Relaxed);
        assert!(churn.join().unwrap() > 1_000, "they did come and go");
    }
}
