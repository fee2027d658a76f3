//! A sandbox whose children are `examples/sandbox_child`, and a folder with a home and a workspace in it.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may fail as loudly as tests"
)]

use clawdbot_domain::SandboxMode;
use clawdbot_sandbox::{
    CommandJob, Confinement, Finished, Launcher, Limits, Need, Profile, RunError, Sandbox,
    SandboxSettings,
};
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
    child.canonicalize().unwrap()
}

pub(crate) fn sandbox(mode: SandboxMode, home: &Path) -> Sandbox {
    let settings = SandboxSettings {
        enabled: true,
        mode,
        home: home.to_owned(),
    };
    Sandbox::prove_with(settings, Launcher::other(child())).unwrap()
}

/// A home with a secret and a workspace in it, and a sandbox round them.
pub(crate) struct House {
    pub(crate) root: tempfile::TempDir,
    pub(crate) sandbox: Sandbox,
}

impl House {
    pub(crate) fn new(mode: SandboxMode) -> Self {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home");
        for folder in ["secrets", "config", "logs", "state", "workspace"] {
            std::fs::create_dir_all(home.join(folder)).unwrap();
        }
        std::fs::write(home.join("secrets/key"), "CANARY").unwrap();
        std::fs::write(home.join("workspace/notes.txt"), "notes").unwrap();
        let sandbox = sandbox(mode, &home);
        Self { root, sandbox }
    }

    pub(crate) fn path(&self, below: &str) -> String {
        self.root.path().join(below).to_str().unwrap().to_owned()
    }

    pub(crate) fn confine(&self, profile: Profile, write: bool) -> Confinement {
        let workspace = self.root.path().join("home/workspace");
        let need = Need {
            profile,
            workspace: &workspace,
            write,
            programs: &[child(), "/bin/true".into()],
        };
        self.sandbox.confine(&need).unwrap()
    }

    /// An attack by a built-in tool.
    pub(crate) async fn inside(&self, attack: &str) -> String {
        let confinement = self.confine(Profile::Builtin, true);
        let finished = self.sandbox.run(&confinement, attack.as_bytes()).await;
        String::from_utf8(finished.unwrap().output).unwrap()
    }

    /// An attack by a command.
    pub(crate) async fn command(&self, attack: &str) -> String {
        let finished = self.command_within(Limits::COMMAND, attack).await.unwrap();
        String::from_utf8(finished.output)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    pub(crate) async fn command_within(
        &self,
        limits: Limits,
        attack: &str,
    ) -> Result<Finished, RunError> {
        let confinement = self.confine(Profile::Command, true).with_limits(limits);
        self.sandbox.run_command(&confinement, &job(attack)).await
    }
}

pub(crate) fn job(attack: &str) -> CommandJob {
    let argv = ["sandbox_child"].into_iter().chain(attack.split(' '));
    CommandJob::new(&child(), argv.map(str::to_owned).collect(), None).unwrap()
}
