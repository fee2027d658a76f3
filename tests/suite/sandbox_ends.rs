//! Calls that go wrong, and what whoever made them is told.

use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use testkit::{Gateway, Home};

fn home(commands: &[&str]) -> Home {
    let home = Home::new();
    home.set("gateway.sandbox.mode", "moderate");
    let commands = json!(commands).to_string();
    home.set("gateway.sandbox.allowedCommands", &commands);
    home.set("gateway.tools.policy", "whitelist");
    let tools = r#"["run_command", "write_file"]"#;
    home.set("gateway.tools.allowList", tools);
    home
}

/// The status of a command, and all that was said about it.
fn run(gateway: &Gateway, argv: &[&str]) -> (u16, String) {
    let answer = gateway.invoke("run_command", &json!({"command": argv}));
    (answer.status, answer.json().to_string())
}

/// A command of this home, started by a shell that does this first.
fn after(home: &Home, script: &str, starter: &[&str]) -> Command {
    let direct = home.command();
    let script = format!("{script} exec \"$0\" \"$@\"");
    let words = starter.iter().copied().chain(["/bin/sh", "-c", &script]);
    let mut words = words.collect::<Vec<_>>().into_iter();
    let mut shell = Command::new(words.next().unwrap());
    shell.args(words).arg(direct.get_program());
    shell.args(direct.get_args());
    shell
}

#[test]
fn a_command_sees_no_signal_ignored_whatever_the_gateway_was_started_under() {
    let home = Home::new();
    for tier in ["T1", "T3"] {
        let mut command = after(&home, "trap '' HUP TERM PIPE USR1;", &[]);
        command.args(["sandbox", "run", "--mode", "moderate", "--tier", tier]);
        command.args(["--allow", "bash", "--", "bash", "-c", "trap; echo seen"]);
        let ran = command.output().unwrap();
        let out = String::from_utf8_lossy(&ran.stdout);
        assert_eq!(out, "seen\n", "{}", String::from_utf8_lossy(&ran.stderr));
    }
}

#[test]
fn a_program_that_cannot_run_is_said_to_and_the_gateway_goes_on() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let working = std::fs::read("/bin/true").unwrap();
    let mut foreign = working.clone();
    // The architecture of an ELF file.
    foreign[18] ^= 0xb7;
    // Another library of the same length.
    let at = working.windows(9).position(|w| w == b"libc.so.6").unwrap();
    let mut lost = working.clone();
    lost[at..at + 9].copy_from_slice(b"lost.so.6");
    let cases: [(&str, &[u8], &str); 4] = [
        ("foreign", &foreign, "Exec format error"),
        ("script", b"#!/nonexistent/sh\n", "No such file"),
        ("nonsense", b"no program\n", "Exec format error"),
        ("lost", &lost, "lost.so.6"),
    ];
    let paths = cases.map(|(name, content, _)| {
        let path = root.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let listed: Vec<&str> = paths.iter().map(String::as_str).chain(["true"]).collect();
    let gateway = home(&listed).start();
    for (path, (name, _, expected)) in paths.iter().zip(cases) {
        let (_, said) = run(&gateway, &[path]);
        assert!(said.contains(expected), "{name}: {said}");
    }
    // Gone since the gateway was started.
    std::fs::remove_file(&paths[0]).unwrap();
    let (_, said) = run(&gateway, &[&paths[0]]);
    assert!(
        said.contains("foreign") && said.contains("there is no program"),
        "{said}"
    );
    let (status, said) = run(&gateway, &["true"]);
    assert!(status == 200 && said.contains("exit code 0"), "{said}");
}

#[test]
fn a_workspace_that_is_removed_under_a_command_fails_the_next_call_and_no_other() {
    let gateway = home(&["sleep", "true"]).start();
    let workspace = gateway.home.workspace();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&gateway, &["sleep", "1"]));
        std::thread::sleep(Duration::from_millis(400));
        std::fs::remove_dir_all(&workspace).unwrap();
        let (status, said) = running.join().unwrap();
        assert!(status == 200 && said.contains("exit code 0"), "{said}");
    });
    let (_, said) = run(&gateway, &["true"]);
    assert!(said.contains("create the folder"), "{said}");
    std::fs::create_dir_all(&workspace).unwrap();
    let (status, said) = run(&gateway, &["true"]);
    assert!(status == 200 && said.contains("exit code 0"), "{said}");
}

#[test]
fn a_full_disk_is_said_to_be_one_and_fills_nothing_else() {
    let home = home(&["dd"]);
    let workspace = home.workspace();
    std::fs::create_dir_all(&workspace).unwrap();
    let mount = format!("mount -t tmpfs -o size=1m none {} &&", workspace.display());
    let namespaces = ["unshare", "--map-root-user", "--mount"];
    let command = after(&home, &mount, &namespaces);
    let gateway = Gateway::start(home, command);
    let write = |path: &str| {
        let big = "x".repeat(400_000);
        let answer = gateway.invoke("write_file", &json!({"path": path, "content": big}));
        answer.json().to_string()
    };
    let full = |said: &str| said.contains("No space left");
    assert!(!full(&write("one")) && !full(&write("two")));
    let said = write("three");
    assert!(full(&said), "{said}");
    let (_, said) = run(
        &gateway,
        &["dd", "if=/dev/zero", "of=four", "bs=64k", "count=16"],
    );
    assert!(full(&said), "{said}");
}

#[test]
fn memory_that_grows_without_end_ends_the_command_and_not_the_gateway() {
    let gateway = home(&["python3"]).start();
    let hog = |processes: u32| {
        let script = format!(
            "import os,time\nfor i in range({processes}):\n if os.fork()==0:\n  b=bytearray(b'x')*(300<<20); \
             time.sleep(20); os._exit(0)\nb=[]\nwhile {processes}==0: b.append(bytearray(b'x')*(64<<20))\ntime.sleep(20)"
        );
        let begun = Instant::now();
        let (_, said) = run(&gateway, &["python3", "-c", &script]);
        assert!(begun.elapsed() < Duration::from_secs(19), "{said}");
        said
    };
    let alone = hog(0);
    assert!(alone.contains("MemoryError"), "{alone}");
    let together = hog(6);
    assert!(together.contains("more memory together"), "{together}");
    // As the kernel does where the memory of the machine, or of a container, is at an end.
    let (_, killed) = run(
        &gateway,
        &["python3", "-c", "import os; os.kill(os.getpid(), 9)"],
    );
    assert!(
        killed.contains("signal 9") && killed.contains("memory"),
        "{killed}"
    );
    assert!(Path::new("/proc").join(gateway.pid().to_string()).exists());
    let (_, said) = run(&gateway, &["python3", "-c", "print(6*7)"]);
    assert!(said.contains("42"), "{said}");
}
