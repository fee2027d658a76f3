//! What several tests want of a home.

use crate::{Home, Reply, Upstream};
use serde_json::json;

impl Home {
    /// A home whose model runs this shell script once; in it these programs may run.
    pub fn that_runs(script: &str, programs: &[&str]) -> (Self, Upstream) {
        let call = json!({"command": ["sh", "-c", script]});
        let upstream = Upstream::thinking(move |_, before| match before {
            0 => Reply::call("run_command", &call),
            _ => Reply::say("done"),
        });
        let home = Self::with_upstream(&upstream);
        home.set("gateway.tools.policy", "whitelist");
        home.set("gateway.tools.allowList", r#"["run_command"]"#);
        home.set("gateway.sandbox.mode", "moderate");
        let programs = json!([&["sh"], programs].concat()).to_string();
        home.set("gateway.sandbox.allowedCommands", &programs);
        (home, upstream)
    }

    /// Makes a token for chat and these tools.
    pub fn token_for_tools(&self, tools: &str) -> String {
        let (name, scopes) = (["--name", "narrow"], ["--scopes", "chat,tools"]);
        let args = [
            &["tokens", "create"][..],
            &name,
            &scopes,
            &["--tools", tools],
        ]
        .concat();
        self.run(&args).ok("tokens create").out.trim().to_owned()
    }
}

/// The public id of a token: `cb-env-id.secret`.
pub fn token_id(token: &str) -> &str {
    token.split(['-', '.']).nth(2).unwrap()
}
