//! A gateway's home with a toolbox whose children are `examples/tool_child`.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use clawdbot_audit::{AuditSettings, Recorder};
use clawdbot_domain::{
    Principal, SandboxMode, ScopeSet, SessionId, Taint, TokenEnv, TokenId, ToolPolicyMode, Who,
};
use clawdbot_policy::{Decision, Facts, RuleOfTwo, SandboxRule, ToolPolicy};
use clawdbot_sandbox::{Launcher, Sandbox, SandboxSettings};
use clawdbot_tools::{
    Broker, HostRules, Resolve, SearchSettings, SessionFolders, ToolOutcome, Toolbox, Workspaces,
};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) struct House {
    pub(crate) root: tempfile::TempDir,
    pub(crate) toolbox: Toolbox,
    pub(crate) recorder: Recorder,
    policy: ToolPolicy,
}

#[allow(
    clippy::unwrap_used,
    reason = "helpers of tests may fail as loudly as tests"
)]
impl House {
    pub(crate) fn new(mode: SandboxMode, commands: &[&str]) -> Self {
        Self::with(mode, commands, |home| {
            Workspaces::shared(home.join("workspace"))
        })
    }

    /// One in which each session has a folder of its own.
    pub(crate) fn of_sessions(mode: SandboxMode, commands: &[&str], most_bytes: u64) -> Self {
        Self::with(mode, commands, |home| {
            let sessions = SessionFolders {
                folder: home.join("workspaces"),
                most_bytes,
                keep: std::time::Duration::from_secs(3600),
            };
            Workspaces::of_sessions(home.join("workspace"), sessions)
        })
    }

    /// One whose workspace is this folder.
    pub(crate) fn at(mode: SandboxMode, commands: &[&str], workspace: &std::path::Path) -> Self {
        Self::with(mode, commands, |_| Workspaces::shared(workspace.to_owned()))
    }

    fn with(
        mode: SandboxMode,
        commands: &[&str],
        workspaces: impl FnOnce(&std::path::Path) -> Workspaces,
    ) -> Self {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home");
        let workspaces = workspaces(&home);
        for folder in ["workspace", "secrets", "logs"] {
            std::fs::create_dir_all(home.join(folder)).unwrap();
        }
        std::fs::write(home.join("secrets/key"), "CANARY").unwrap();
        let me = std::env::current_exe().unwrap();
        let child = me.ancestors().nth(2).unwrap().join("examples/tool_child");
        let settings = SandboxSettings {
            enabled: true,
            mode,
            home: home.clone(),
        };
        let sandbox = Sandbox::prove_with(settings, Launcher::other(child)).unwrap();
        let commands: Vec<String> = commands.iter().map(ToString::to_string).collect();
        let rule = SandboxRule {
            mode: SandboxMode::Permissive,
            allowed_commands: commands.iter().cloned().collect(),
        };
        Self {
            toolbox: Toolbox::new(Arc::new(sandbox), workspaces, commands),
            recorder: Recorder::open(&home.join("logs"), AuditSettings::default()).unwrap(),
            // Policy allows all on purpose: what is refused here is refused by the layers below it.
            policy: ToolPolicy::new(ToolPolicyMode::Permissive, [], [], rule, RuleOfTwo::Off),
            root,
        }
    }

    /// One whose tools may reach the network.
    pub(crate) fn online(
        mode: SandboxMode,
        rules: HostRules,
        search: Option<SearchSettings>,
        names: Arc<dyn Resolve>,
    ) -> Self {
        let mut house = Self::new(mode, &[]);
        let broker = Broker::new(rules, search, names, house.recorder.clone()).unwrap();
        house.toolbox = house.toolbox.with_broker(broker);
        house
    }

    /// The audit log as text.
    pub(crate) async fn log(&self) -> String {
        self.recorder.flush().await;
        let logs = std::fs::read_dir(self.root.path().join("home/logs")).unwrap();
        let texts = logs.filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok());
        texts.collect()
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.path().join("home/workspace").join(below)
    }

    pub(crate) async fn run(&self, tool: &str, arguments: Value) -> ToolOutcome {
        self.run_in(None, tool, arguments).await
    }

    /// A call in a session.
    pub(crate) async fn run_in(
        &self,
        session: Option<&str>,
        tool: &str,
        arguments: Value,
    ) -> ToolOutcome {
        let who = Who {
            session: session.map(SessionId::new),
            ..Who::default()
        };
        let call = self.toolbox.validate("1", tool, &arguments.to_string());
        let principal = Principal {
            token: TokenId::new("t"),
            name: "t".into(),
            scopes: ScopeSet::ALL,
            env: TokenEnv::Dev,
            tools: clawdbot_domain::ToolLimit::default(),
        };
        let facts = Facts {
            principal: &principal,
            who: &who,
            taint: Taint::Clean,
            approval: None,
        };
        let Decision::Allow(permit) = self.policy.decide(call.unwrap(), facts) else {
            unreachable!("the policy of this test allows everything")
        };
        let permit = self.recorder.begin(permit).await.unwrap();
        self.toolbox.run(permit).await
    }

    /// What a tool said, and whether it failed.
    pub(crate) async fn said(&self, tool: &str, arguments: Value) -> (String, bool) {
        let outcome = self.run(tool, arguments).await;
        let text = outcome.output.reveal_untrusted().to_owned();
        (text, outcome.is_error)
    }
}
