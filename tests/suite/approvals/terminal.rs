//! A person who is asked in place.

use super::*;

/// `clawdbot chat` on a terminal of its own, on which this is typed.
pub(super) fn on_a_terminal(gateway: &Gateway, typed: &str) -> String {
    let program = r#"
import os, pty, sys, time
typed = sys.argv[1].encode().split(b"|")
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
seen, prompts = b"", (b"\n> ", b"[y/N] ", b"again] ")
at = 0
while True:
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    if not piece:
        break
    seen += piece
    if typed and seen[at:].endswith(prompts):
        at = len(seen)
        os.write(terminal, typed.pop(0) + b"\n")
os.waitpid(pid, 0)
sys.stdout.write(seen.decode(errors="replace"))
"#;
    let chat = gateway.home.command();
    let mut command = std::process::Command::new("python3");
    command.args(["-c", program, typed]);
    command.arg(chat.get_program()).args(chat.get_args());
    command.args(["chat", "--port", &gateway.port.to_string()]);
    let output = command.env("NO_COLOR", "1").output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn on_a_terminal_the_person_is_asked_in_place_and_only_a_plain_yes_is_a_yes() {
    let upstream = writer();
    let gateway = restrictive(Home::with_upstream(&upstream));
    for no in ["n", "", "yes please", "Yy"] {
        let seen = on_a_terminal(&gateway, &format!("write it|{no}|"));
        assert!(seen.contains("run this very call?"), "{seen}");
        assert!(
            seen.contains(r#"{"content":"x","path":"out.txt"}"#),
            "{seen}"
        );
        assert!(seen.contains("a person said no"), "{seen}");
        assert_eq!(written(&gateway), None, "{no:?}");
    }
    let seen = on_a_terminal(&gateway, "write it|y|");
    assert_eq!(written(&gateway).as_deref(), Some("x"), "{seen}");
    assert!(seen.contains("I heard"), "{seen}");
    let by = gateway
        .home
        .run(&["approvals", "list", "--all", "--json"])
        .ok("list")
        .json();
    assert_eq!(by[0]["state"], "spent");
}
