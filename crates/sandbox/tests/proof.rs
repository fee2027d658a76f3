//! What `Sandbox::prove` says and does.

mod harness;

use clawdbot_domain::SandboxMode;
use clawdbot_sandbox::{Launcher, Sandbox, SandboxSettings};
use std::path::Path;

#[test]
fn every_layer_is_seen_to_reach_without_it_and_to_be_stopped_with_it() {
    for mode in SandboxMode::ALL {
        let sandbox = harness::sandbox(*mode, Path::new("/nonexistent/home"));
        assert!(!sandbox.proof().is_empty());
        for layer in sandbox.proof() {
            for trial in &layer.trials {
                assert!(trial.proves(), "{mode}: {}: {trial:?}", layer.name);
            }
        }
    }
}

#[test]
fn the_layers_of_each_mode() {
    let layers = |mode| harness::sandbox(mode, Path::new("/nonexistent/home")).layers();
    let strict = [
        "environment",
        "no-new-privileges",
        "landlock-files",
        "landlock-tcp",
        "landlock-scopes",
        "seccomp-builtin",
    ];
    assert_eq!(layers(SandboxMode::Strict), strict);
    let with_command = [strict.as_slice(), &["seccomp-command"]].concat();
    assert_eq!(layers(SandboxMode::Moderate), with_command);
    assert_eq!(layers(SandboxMode::Permissive), with_command);
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
