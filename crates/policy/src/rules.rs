//! The rules, one function each, and the decision over all of them.

use crate::decision::{Ask, Decision, Denial, Explanation, Permit, RuleSaid, Verdict};
use crate::limits::{Agent, agent_rule, token_rule};
use clawdbot_domain::{
    Approval, Effect, Principal, SandboxMode, Scope, Taint, ToolCall, ToolLimit, ToolName,
    ToolPolicyMode, UnixTime, Who,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Which commands the sandbox would run, as policy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SandboxRule {
    /// `gateway.sandbox.mode`.
    pub mode: SandboxMode,
    /// `gateway.sandbox.allowedCommands`.
    pub allowed_commands: BTreeSet<String>,
}

/// What happens when a session that holds untrusted text wants to change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RuleOfTwo {
    /// A person must approve every such call.
    #[default]
    Always,
    /// Only once the guard has found an attack in the text.
    WhenHostile,
    /// Switched off.
    Off,
}

/// The facts of one call that policy cannot know by itself.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// Who it is about, for the record.
    pub who: &'a Who,
    /// What the session has taken in.
    pub taint: Taint,
    /// A person's approval, presented with the call.
    pub approval: Option<Presented<'a>>,
}

/// An approval that is presented with a call. It was spent before it came here; whether it is for this
/// very call is decided here.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// What a person said yes to.
    pub approval: &'a Approval,
    /// The time.
    pub now: UnixTime,
}

/// The rules in force. Built from settings; a live change is a new value.
#[derive(Debug, Clone, Default)]
pub struct ToolPolicy {
    mode: ToolPolicyMode,
    allow_list: BTreeSet<ToolName>,
    deny_list: BTreeSet<ToolName>,
    sandbox: SandboxRule,
    rule_of_two: RuleOfTwo,
    /// The agent whose calls these are, and its limit.
    agent: Option<Agent>,
}

impl ToolPolicy {
    /// Builds the policy. An empty allow list allows nothing.
    pub fn new(
        mode: ToolPolicyMode,
        allow_list: impl IntoIterator<Item = ToolName>,
        deny_list: impl IntoIterator<Item = ToolName>,
        sandbox: SandboxRule,
        rule_of_two: RuleOfTwo,
    ) -> Self {
        Self {
            mode,
            allow_list: allow_list.into_iter().collect(),
            deny_list: deny_list.into_iter().collect(),
            sandbox,
            rule_of_two,
            agent: None,
        }
    }

    /// The same rules for the calls of one agent, which has a limit of its own.
    #[must_use]
    pub fn for_agent(&self, name: impl Into<Arc<str>>, tools: ToolLimit) -> Self {
        Self {
            agent: Some(Agent {
                name: name.into(),
                tools,
            }),
            ..self.clone()
        }
    }

    /// Whether the limits of token and agent leave this tool at all; what they do not leave need not be offered.
    pub fn leaves(&self, principal: &Principal, tool: &ToolName) -> bool {
        let agent = self.agent.as_ref();
        principal.tools.allows(tool) && agent.is_none_or(|agent| agent.tools.allows(tool))
    }

    /// Decides one call. The only maker of [`Permit`]s.
    pub fn decide(&self, call: ToolCall, facts: Facts<'_>) -> Decision {
        let explanation = self.explain(&call.name, call.effect, command_of(&call), facts);
        match explanation.verdict() {
            Verdict::Allow => Decision::Allow(Permit::new(call, facts.who.clone(), &explanation)),
            Verdict::Ask => match facts.approval {
                None => Decision::Ask(Ask::new(call, explanation)),
                Some(presented) => approved(call, explanation, facts, presented),
            },
            Verdict::Deny => Decision::Deny(Denial::new(call, explanation)),
        }
    }

    /// What each rule says of a call of this tool. `command` is the first word of a command to run,
    /// when it is known.
    pub fn explain(
        &self,
        tool: &ToolName,
        effect: Effect,
        command: Option<&str>,
        facts: Facts<'_>,
    ) -> Explanation {
        let rules = [
            Some(scope_rule(facts.principal)),
            token_rule(facts.principal, tool),
            self.agent
                .as_ref()
                .and_then(|agent| agent_rule(agent, tool)),
            Some(self.policy_rule(tool)),
            self.deny_list_rule(tool),
            self.approval_rule(tool, effect),
            (effect == Effect::Execute).then(|| self.command_rule(command)),
            self.rule_of_two_rule(effect, facts.taint),
        ];
        Explanation {
            rules: rules.into_iter().flatten().collect(),
        }
    }

    fn policy_rule(&self, tool: &ToolName) -> RuleSaid {
        const RULE: &str = "tools.allowList";
        let listed = self.allow_list.contains(tool);
        match self.mode {
            ToolPolicyMode::Permissive => said(
                "tools.policy",
                Verdict::Allow,
                "policy is permissive: every tool that is not on the deny list may run",
            ),
            ToolPolicyMode::Restrictive | ToolPolicyMode::Whitelist if listed => said(
                RULE,
                Verdict::Allow,
                format!("{tool} is on the allow list (policy {})", self.mode),
            ),
            ToolPolicyMode::Restrictive | ToolPolicyMode::Whitelist => RuleSaid {
                rule: RULE,
                verdict: Verdict::Deny,
                why: format!("{tool} is not on the allow list (policy {})", self.mode),
                remedy: Some(set_list(
                    "gateway.tools.allowList",
                    &with(&self.allow_list, tool),
                )),
            },
        }
    }

    fn deny_list_rule(&self, tool: &ToolName) -> Option<RuleSaid> {
        let mut without = self.deny_list.clone();
        without.remove(tool).then(|| RuleSaid {
            rule: "tools.denyList",
            verdict: Verdict::Deny,
            why: format!("{tool} is on the deny list"),
            remedy: Some(set_list("gateway.tools.denyList", &without)),
        })
    }

    /// Restrictive: whatever is more than a read is asked about, call by call.
    fn approval_rule(&self, tool: &ToolName, effect: Effect) -> Option<RuleSaid> {
        let asks = self.mode == ToolPolicyMode::Restrictive && effect.changes_state();
        asks.then(|| RuleSaid {
            rule: "tools.policy",
            verdict: Verdict::Ask,
            why: format!(
                "policy is restrictive and {tool} has effect {effect}: a person must approve each call"
            ),
            remedy: Some("clawdbot config set gateway.tools.policy whitelist".to_owned()),
        })
    }

    fn command_rule(&self, command: Option<&str>) -> RuleSaid {
        const MODE: &str = "sandbox.mode";
        const LIST: &str = "sandbox.allowedCommands";
        let allowed = &self.sandbox.allowed_commands;
        match (self.sandbox.mode, command) {
            (SandboxMode::Strict, _) => RuleSaid {
                rule: MODE,
                verdict: Verdict::Deny,
                why: "sandbox mode is strict: no command runs at all".to_owned(),
                remedy: Some("clawdbot config set gateway.sandbox.mode moderate".to_owned()),
            },
            (SandboxMode::Permissive, _) => said(
                MODE,
                Verdict::Allow,
                "sandbox mode is permissive: any command may run",
            ),
            (SandboxMode::Moderate, None) => said(LIST, Verdict::Deny, "the call names no command"),
            (SandboxMode::Moderate, Some(command)) if allowed.contains(command) => said(
                LIST,
                Verdict::Allow,
                format!("{command:?} is on allowedCommands"),
            ),
            (SandboxMode::Moderate, Some(command)) => RuleSaid {
                rule: LIST,
                verdict: Verdict::Deny,
                why: format!("{command:?} is not on allowedCommands"),
                remedy: Some(set_list(
                    "gateway.sandbox.allowedCommands",
                    &with(allowed, &command.to_owned()),
                )),
            },
        }
    }

    fn rule_of_two_rule(&self, effect: Effect, taint: Taint) -> Option<RuleSaid> {
        let applies = match self.rule_of_two {
            RuleOfTwo::Always => taint >= Taint::Untrusted,
            RuleOfTwo::WhenHostile => taint >= Taint::Hostile,
            RuleOfTwo::Off => false,
        };
        (applies && effect.changes_state()).then(|| {
            said(
                "promptInjection.ruleOfTwo",
                Verdict::Ask,
                format!(
                    "the session holds {} text: a person must approve each {effect}",
                    if taint == Taint::Hostile {
                        "hostile"
                    } else {
                        "untrusted"
                    }
                ),
            )
        })
    }
}

/// An approval turns what would be asked into what is allowed, and nothing else: whatever a rule denies
/// stays denied. One that is not for this very call turns it into a no.
fn approved(
    call: ToolCall,
    mut explanation: Explanation,
    facts: Facts<'_>,
    presented: Presented<'_>,
) -> Decision {
    const RULE: &str = "approval";
    let id = &presented.approval.id;
    if let Some(what) = does_not_cover(&call, facts, presented) {
        let why = format!("approval {id} is for {what}");
        explanation.rules.push(said(RULE, Verdict::Deny, why));
        return Decision::Deny(Denial::new(call, explanation));
    }
    let why = format!("a person approved this very call ({id})");
    explanation.rules.push(said(RULE, Verdict::Allow, why));
    let permit = Permit::new(call, facts.who.clone(), &explanation);
    Decision::Allow(permit.approved(id.clone()))
}

/// What an approval is for instead.
fn does_not_cover(
    call: &ToolCall,
    facts: Facts<'_>,
    presented: Presented<'_>,
) -> Option<&'static str> {
    let Approval {
        id: _,
        token,
        session,
        tool,
        arguments_sha256,
        expires,
    } = presented.approval;
    if *token != facts.principal.token {
        Some("another token")
    } else if *session != facts.who.session {
        Some("another session")
    } else if *tool != call.name {
        Some("another tool")
    } else if *arguments_sha256 != call.arguments_sha256() {
        Some("other arguments")
    } else if presented.now >= *expires {
        Some("an earlier time: it is over")
    } else {
        None
    }
}

fn scope_rule(principal: &Principal) -> RuleSaid {
    const RULE: &str = "token.scopes";
    if principal.scopes.has(Scope::Tools) {
        said(
            RULE,
            Verdict::Allow,
            format!("token {} has scope tools", principal.token),
        )
    } else {
        RuleSaid {
            rule: RULE,
            verdict: Verdict::Deny,
            why: format!("token {} lacks scope tools", principal.token),
            remedy: Some("clawdbot tokens create --scopes chat,tools".to_owned()),
        }
    }
}

pub(crate) fn said(rule: &'static str, verdict: Verdict, why: impl Into<String>) -> RuleSaid {
    RuleSaid {
        rule,
        verdict,
        why: why.into(),
        remedy: None,
    }
}

/// The first word of a command call: `{"command": ["ls", "-l"]}`.
fn command_of(call: &ToolCall) -> Option<&str> {
    match call.arguments.get("command")? {
        Value::Array(argv) => argv.first()?.as_str(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            None
        }
    }
}

fn with<T: Ord + Clone>(set: &BTreeSet<T>, one: &T) -> BTreeSet<T> {
    set.iter().chain([one]).cloned().collect()
}

/// The command that sets a list. The value is JSON in single quotes, so a name with a quote in it
/// is escaped for the shell: a remedy is pasted into one.
pub(crate) fn set_list<T: Ord + ToString>(key: &str, items: &BTreeSet<T>) -> String {
    let list = Value::from(items.iter().map(ToString::to_string).collect::<Vec<_>>());
    format!(
        "clawdbot config set {key} '{}'",
        list.to_string().replace('\'', r"'\''")
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use clawdbot_domain::{Audited as _, Event, ScopeSet, TokenEnv, TokenId};
    use serde_json::json;

    pub(crate) fn principal(scopes: ScopeSet) -> Principal {
        Principal {
            token: TokenId::new("t1"),
            name: "test".into(),
            scopes,
            env: TokenEnv::Dev,
            tools: ToolLimit::default(),
        }
    }

    pub(crate) fn name(text: &str) -> ToolName {
        ToolName::parse(text).unwrap()
    }

    pub(crate) fn policy(mode: ToolPolicyMode, allow: &[&str], deny: &[&str]) -> ToolPolicy {
        let names = |list: &[&str]| list.iter().map(|n| name(n)).collect::<Vec<_>>();
        ToolPolicy::new(
            mode,
            names(allow),
            names(deny),
            SandboxRule::default(),
            RuleOfTwo::Always,
        )
    }

    pub(crate) fn verdict(
        policy: &ToolPolicy,
        tool: &str,
        effect: Effect,
        taint: Taint,
    ) -> Verdict {
        let principal = principal(ScopeSet::ALL);
        let facts = Facts {
            principal: &principal,
            who: &Who::default(),
            taint,
            approval: None,
        };
        policy.explain(&name(tool), effect, None, facts).verdict()
    }

    #[test]
    fn the_three_policies_are_what_the_guide_says() {
        use Effect::{Read, Write};
        use ToolPolicyMode::{Permissive, Restrictive, Whitelist};
        use Verdict::{Allow, Ask, Deny};
        for (mode, allow, deny, effect, expected) in [
            (Restrictive, &[][..], &[][..], Read, Deny),
            (Restrictive, &["t"], &[], Read, Allow),
            (Restrictive, &["t"], &[], Write, Ask),
            (Whitelist, &[], &[], Read, Deny),
            (Whitelist, &["t"], &[], Read, Allow),
            (Whitelist, &["t"], &[], Write, Allow),
            (Whitelist, &["t"], &["t"], Write, Deny),
            (Permissive, &[], &[], Write, Allow),
            (Permissive, &[], &["t"], Write, Deny),
        ] {
            let policy = policy(mode, allow, deny);
            let got = verdict(&policy, "t", effect, Taint::Clean);
            assert_eq!(
                got, expected,
                "{mode} allow {allow:?} deny {deny:?} {effect}"
            );
        }
    }

    #[test]
    fn the_default_policy_allows_nothing() {
        let default = ToolPolicy::default();
        for effect in [
            Effect::Read,
            Effect::Write,
            Effect::Execute,
            Effect::Network,
        ] {
            assert_eq!(
                verdict(&default, "read_file", effect, Taint::Clean),
                Verdict::Deny
            );
        }
    }

    #[test]
    fn a_token_without_the_scope_calls_no_tool_whatever_the_policy() {
        let principal = principal(ScopeSet::NONE.with(Scope::Chat).with(Scope::Admin));
        let facts = Facts {
            principal: &principal,
            who: &Who::default(),
            taint: Taint::Clean,
            approval: None,
        };
        let said = policy(ToolPolicyMode::Permissive, &[], &[]).explain(
            &name("read_file"),
            Effect::Read,
            None,
            facts,
        );
        assert_eq!(said.verdict(), Verdict::Deny);
        assert_eq!(said.against().first().map(|r| r.rule), Some("token.scopes"));
    }

    #[test]
    fn a_session_with_untrusted_text_asks_before_every_change_and_reads_on_freely() {
        let policy = policy(ToolPolicyMode::Whitelist, &["t"], &[]);
        assert_eq!(
            verdict(&policy, "t", Effect::Write, Taint::Untrusted),
            Verdict::Ask
        );
        assert_eq!(
            verdict(&policy, "t", Effect::Network, Taint::Hostile),
            Verdict::Ask
        );
        assert_eq!(
            verdict(&policy, "t", Effect::Read, Taint::Hostile),
            Verdict::Allow
        );
        let only_hostile = ToolPolicy {
            rule_of_two: RuleOfTwo::WhenHostile,
            ..policy
        };
        assert_eq!(
            verdict(&only_hostile, "t", Effect::Write, Taint::Untrusted),
            Verdict::Allow
        );
        assert_eq!(
            verdict(&only_hostile, "t", Effect::Write, Taint::Hostile),
            Verdict::Ask
        );
    }

    fn run(policy: &ToolPolicy, argv: &Value) -> Decision {
        let call = ToolCall {
            id: "1".into(),
            name: name("run_command"),
            effect: Effect::Execute,
            arguments: json!({ "command": argv }).as_object().unwrap().clone(),
        };
        let principal = principal(ScopeSet::ALL);
        policy.decide(
            call,
            Facts {
                principal: &principal,
                who: &Who::default(),
                taint: Taint::Clean,
                approval: None,
            },
        )
    }

    #[test]
    fn strict_runs_no_command_even_when_everything_else_allows_it() {
        let sandbox = SandboxRule {
            mode: SandboxMode::Strict,
            allowed_commands: ["ls".to_owned()].into(),
        };
        let policy = ToolPolicy {
            sandbox,
            ..policy(ToolPolicyMode::Permissive, &["run_command"], &[])
        };
        let Decision::Deny(denial) = run(&policy, &json!(["ls"])) else {
            panic!("not denied")
        };
        assert_eq!(denial.explanation().against()[0].rule, "sandbox.mode");
    }

    #[test]
    fn moderate_runs_a_listed_command_by_its_whole_name_only() {
        let sandbox = SandboxRule {
            mode: SandboxMode::Moderate,
            allowed_commands: ["ls".to_owned(), "cat".to_owned()].into(),
        };
        let policy = ToolPolicy {
            sandbox,
            ..policy(ToolPolicyMode::Whitelist, &["run_command"], &[])
        };
        assert!(matches!(
            run(&policy, &json!(["ls", "-l"])),
            Decision::Allow(_)
        ));
        for argv in [
            json!(["ls;id"]),
            json!(["./ls"]),
            json!(["/tmp/ls"]),
            json!(["lsof"]),
            json!([]),
            json!("ls"),
            json!([1]),
            json!(["LS"]),
            json!(["ls "]),
        ] {
            assert!(matches!(run(&policy, &argv), Decision::Deny(_)), "{argv}");
        }
    }

    /// A call that policy asks about, with an approval for it, and what is changed about either.
    fn with_approval(change: impl FnOnce(&mut ToolCall, &mut Approval, &mut Who)) -> Decision {
        let principal = principal(ScopeSet::ALL);
        let session = clawdbot_domain::SessionId::new("s1");
        let mut who = Who {
            session: Some(session.clone()),
            ..Who::default()
        };
        let mut call = ToolCall {
            id: "1".into(),
            name: name("write_file"),
            effect: Effect::Write,
            arguments: json!({"path": "a", "content": "b"})
                .as_object()
                .unwrap()
                .clone(),
        };
        let mut approval = Approval {
            id: clawdbot_domain::ApprovalId::new("apr_1"),
            token: principal.token.clone(),
            session: Some(session),
            tool: call.name.clone(),
            arguments_sha256: call.arguments_sha256(),
            expires: UnixTime::from_secs(300),
        };
        change(&mut call, &mut approval, &mut who);
        let facts = Facts {
            principal: &principal,
            who: &who,
            taint: Taint::Hostile,
            approval: Some(Presented {
                approval: &approval,
                now: UnixTime::from_secs(299),
            }),
        };
        let allowed = ["write_file", "edit_file"];
        policy(ToolPolicyMode::Restrictive, &allowed, &[]).decide(call, facts)
    }

    #[test]
    fn an_approval_permits_the_very_call_and_stands_in_its_record() {
        let Decision::Allow(permit) = with_approval(|_, _, _| {}) else {
            panic!("not allowed")
        };
        let rules = permit.rules().join(" ");
        assert_eq!(
            rules,
            "token.scopes=allow tools.allowList=allow tools.policy=ask promptInjection.ruleOfTwo=ask approval=allow"
        );
        let Event::ToolBegin { approval, .. } = permit.event() else {
            panic!("another event")
        };
        assert_eq!(approval.unwrap().as_str(), "apr_1");
    }

    type Change = fn(&mut ToolCall, &mut Approval, &mut Who);

    #[test]
    fn an_approval_of_anything_else_permits_nothing() {
        let changes: [(&str, Change); 8] = [
            ("other arguments", |call, _, _| {
                call.arguments.insert("content".into(), json!("c"));
            }),
            ("other arguments", |call, _, _| {
                call.arguments.insert("more".into(), json!(null));
            }),
            ("another tool", |call, _, _| call.name = name("edit_file")),
            ("another token", |_, approval, _| {
                approval.token = TokenId::new("t2");
            }),
            ("another session", |_, _, who| {
                who.session = Some(clawdbot_domain::SessionId::new("s2"));
            }),
            ("another session", |_, _, who| who.session = None),
            ("another session", |_, approval, _| approval.session = None),
            ("it is over", |_, approval, _| {
                approval.expires = UnixTime::from_secs(299);
            }),
        ];
        for (why, change) in changes {
            let Decision::Deny(denial) = with_approval(change) else {
                panic!("{why}: not denied")
            };
            let said = denial.explanation().against();
            assert!(said[0].why.contains(why), "{why}: {}", said[0].why);
        }
    }

    #[test]
    fn an_approval_does_not_lift_what_is_denied() {
        let listed = with_approval(|call, approval, _| {
            call.name = name("run_command");
            approval.tool = name("run_command");
        });
        assert!(matches!(listed, Decision::Deny(_)), "{listed:?}");
    }

    #[test]
    fn a_refusal_names_the_one_command_that_would_allow_it() {
        let policy = policy(ToolPolicyMode::Restrictive, &["read_file"], &[]);
        let principal = principal(ScopeSet::ALL);
        let facts = Facts {
            principal: &principal,
            who: &Who::default(),
            taint: Taint::Clean,
            approval: None,
        };
        let said = policy.explain(&name("list_directory"), Effect::Read, None, facts);
        assert_eq!(
            said.remedies(),
            [r#"clawdbot config set gateway.tools.allowList '["list_directory","read_file"]'"#]
        );
    }

    #[test]
    fn a_remedy_can_be_pasted_into_a_shell_whatever_the_command_was_called() {
        let remedy = set_list("k", &["a'; rm -rf /; '".to_owned()].into());
        assert_eq!(
            remedy,
            r#"clawdbot config set k '["a'\''; rm -rf /; '\''"]'"#
        );
    }
}
