//! A sandbox whose children are `examples/sandbox_child`, and a folder with a home and a workspace in it.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may fail as loudly as tests"
)]

use clawdbot_domain::SandboxMode;
use clawdbot_sandbox::{
    CommandJob, Confinement, Extras, Finished, Launcher, Limits, Need, Profile, RunError, Sandbox,
    SandboxSettings, Tier, Zygote,
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

/// The same as in a container that allows no namespaces.
pub(crate) fn bare(mode: SandboxMode, home: &Path) -> Sandbox {
    let settings = SandboxSettings {
        enabled: true,
        mode,
        home: home.to_owned(),
    };
    let zygote = Zygote::start_bare(Launcher::other(child())).unwrap();
    Sandbox::prove_in(settings, zygote).unwrap()
}

/// Out of reach: not there at all, closed, or not to be written.
pub(crate) const SHUT: &str = "shut";

/// True when an attack came to what was expected. Where namespaces hold, what is out of reach is not there;
/// where they do not, it is there and closed. So with processes: not there, or not to be signalled.
pub(crate) fn is(said: &str, expected: &str) -> bool {
    let shut = ["stopped 2", "stopped 13", "stopped 30"].contains(&said);
    let nobody = expected == "stopped 1" && said == "stopped 3";
    said == expected || expected == SHUT && shut || nobody
}

/// A home with a secret and a workspace in it, and a sandbox round them.
pub(crate) struct House {
    pub(crate) root: tempfile::TempDir,
    pub(crate) sandbox: Sandbox,
}

impl House {
    pub(crate) fn new(mode: SandboxMode) -> Self {
        Self::within(mode, sandbox)
    }

    /// One with namespaces, one without.
    pub(crate) fn both(mode: SandboxMode) -> [Self; 2] {
        let all = [Self::within(mode, sandbox), Self::within(mode, bare)];
        assert_eq!(
            all[0].sandbox.tier(),
            Tier::Namespaces,
            "namespaces are tested here too"
        );
        assert_eq!(all[1].sandbox.tier(), Tier::Bare);
        all
    }

    fn within(mode: SandboxMode, sandbox: fn(SandboxMode, &Path) -> Sandbox) -> Self {
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
        let extras = Extras::default();
        let job = job(attack);
        self.sandbox.run_command(&confinement, &job, extras).await
    }
}

pub(crate) fn job(attack: &str) -> CommandJob {
    let argv = ["sandbox_child"].into_iter().chain(attack.split(' '));
    CommandJob::new(&child(), argv.map(str::to_owned).collect(), None).unwrap()
}
