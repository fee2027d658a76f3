//! What `Sandbox::prove` says and does.

mod harness;

use clawdbot_domain::SandboxMode;
use clawdbot_sandbox::{Launcher, Sandbox, SandboxSettings, Tier};
use std::path::Path;

const HOME: &str = "/nonexistent/home";

#[test]
fn every_layer_is_seen_to_reach_without_it_and_to_be_stopped_with_it() {
    for mode in SandboxMode::ALL {
        for sandbox in [harness::sandbox, harness::bare] {
            let sandbox = sandbox(*mode, Path::new(HOME));
            assert!(!sandbox.proof().is_empty());
            for layer in sandbox.proof() {
                for trial in &layer.trials {
                    assert!(trial.proves(), "{mode}: {}: {trial:?}", layer.name);
                }
            }
        }
    }
}

#[test]
fn the_layers_of_each_mode_and_tier() {
    let bare = |mode| harness::bare(mode, Path::new(HOME)).layers();
    let full = |mode| harness::sandbox(mode, Path::new(HOME)).layers();
    let strict = [
        "environment",
        "no-new-privileges",
        "landlock-files",
        "landlock-tcp",
        "landlock-scopes",
        "seccomp-builtin",
    ];
    let namespaces = [
        "mount-namespace",
        "pid-namespace",
        "net-namespace",
        "ipc-namespace",
        "uts-namespace",
    ];
    let with_command = [strict.as_slice(), &["seccomp-command"]].concat();
    assert_eq!(bare(SandboxMode::Strict), strict);
    assert_eq!(
        full(SandboxMode::Strict),
        [strict.as_slice(), &namespaces].concat()
    );
    for mode in [SandboxMode::Moderate, SandboxMode::Permissive] {
        assert_eq!(bare(mode), with_command);
        assert_eq!(full(mode), [with_command.as_slice(), &namespaces].concat());
    }
}

#[test]
fn a_lower_tier_says_why() {
    let bare = harness::bare(SandboxMode::Strict, Path::new(HOME));
    assert_eq!((bare.tier(), bare.missing().len()), (Tier::Bare, 1));
    let full = harness::sandbox(SandboxMode::Strict, Path::new(HOME));
    assert_eq!(
        (full.tier(), full.missing()),
        (Tier::Namespaces, [].as_slice())
    );
}

#[test]
fn a_child_that_does_not_answer_proves_nothing() {
    for program in ["/bin/true", "/bin/cat", "/nonexistent/clawdbot"] {
        let settings = SandboxSettings {
            enabled: true,
            mode: SandboxMode::Strict,
            home: "/nonexistent/home".into(),
        };
        let refused = Sandbox::prove_with(settings, Launcher::other(program)).unwrap_err();
        assert_eq!(refused.layer, "environment", "{program}: {refused}");
    }
}

#[test]
fn switched_off_proves_nothing_and_says_so() {
    let settings = SandboxSettings {
        enabled: false,
        mode: SandboxMode::Strict,
        home: "/nonexistent/home".into(),
    };
    let sandbox = Sandbox::prove_with(settings, Launcher::other("/bin/false")).unwrap();
    assert!(!sandbox.is_enabled());
    assert_eq!(sandbox.layers(), ["none: gateway.sandbox.enabled is false"]);
}
