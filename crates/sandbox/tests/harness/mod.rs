//! A sandbox whose children are `examples/sandbox_child`.

use clawdbot_domain::SandboxMode;
use clawdbot_sandbox::{Launcher, Sandbox, SandboxSettings};
use std::path::{Path, PathBuf};

/// Where the test child was built: beside this test.
pub(crate) fn child() -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let profile = me.ancestors().nth(2).unwrap();
    let child = profile.join("examples/sandbox_child");
    assert!(
        child.exists(),
        "{} is missing: build it with `cargo build -p clawdbot-sandbox --examples`",
        child.display()
    );
    child
}

pub(crate) fn sandbox(mode: SandboxMode, home: &Path) -> Sandbox {
    let settings = SandboxSettings {
        enabled: true,
        mode,
        home: home.to_owned(),
    };
    Sandbox::prove_with(settings, Launcher::other(child())).unwrap()
}
