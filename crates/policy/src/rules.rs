//! The rules, one function each, and the decision over all of them.

use crate::decision::{Ask, Decision, Denial, Explanation, Permit, RuleSaid, Verdict};
use crate::limits::{Agent, agent_rule, token_rule};
use clawdbot_domain::{
    Approval, ApprovedCall, Effect, Principal, SandboxMode, Scope, Taint, ToolCall, ToolLimit,
    ToolName, ToolPolicyMode, UnixTime, Who,
};
use serde_json::{Map, Value};
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
    /// Calls that a person approved for good.
    approved: Vec<ApprovedCall>,
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
            approved: Vec::new(),
            agent: None,
        }
    }

    /// The same, but these calls are not asked about where nothing but policy `restrictive` asks.
    #[must_use]
    pub fn approving(mut self, calls: impl IntoIterator<Item = ApprovedCall>) -> Self {
        self.approved = calls.into_iter().collect();
        self
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
        let arguments = Some(&call.arguments);
        let explanation = self.explain(&call.name, call.effect, arguments, facts);
        match explanation.verdict() {
            Verdict::Allow => Decision::Allow(Permit::new(call, facts.who.clone(), &explanation)),
            Verdict::Ask => match facts.approval {
                None => Decision::Ask(Ask::new(call, explanation)),
                Some(presented) => approved(call, explanation, facts, presented),
            },
            Verdict::Deny => Decision::Deny(Denial::new(call, explanation)),
        }
    }

    /// Whether a person's yes to such a call can be for good. It spares the question of policy
    /// `restrictive` and no other, so where another asks, or none, it would do nothing but lie in wait.
    ///
    /// # Errors
    /// In words, why not.
    pub fn may_be_for_good(
        &self,
        tool: &ToolName,
        effect: Effect,
        taint: Taint,
    ) -> Result<(), String> {
        if let Some(asks) = self.rule_of_two_rule(effect, taint) {
            return Err(format!("{}, and no yes is for good there", asks.why));
        }
        if self.mode == ToolPolicyMode::Restrictive && effect.changes_state() {
            return Ok(());
        }
        Err(format!("policy {} asks nobody about {tool}", self.mode))
    }

    /// What each rule says of a call of this tool, with these arguments when they are known.
    pub fn explain(
        &self,
        tool: &ToolName,
        effect: Effect,
        arguments: Option<&Map<String, Value>>,
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
            self.approval_rule(tool, effect, arguments, facts),
            (effect == Effect::Execute).then(|| self.command_rule(arguments.and_then(command_of))),
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

    /// Restrictive: whatever is more than a read is asked about, call by call, unless a person said yes to
    /// this very call for good. That spares this question only: what another rule asks is asked.
    fn approval_rule(
        &self,
        tool: &ToolName,
        effect: Effect,
        arguments: Option<&Map<String, Value>>,
        facts: Facts<'_>,
    ) -> Option<RuleSaid> {
        if self.mode != ToolPolicyMode::Restrictive || !effect.changes_state() {
            return None;
        }
        let token = &facts.principal.token;
        let is_approved = |arguments| {
            let mut approved = self.approved.iter();
            approved.find(|call| call.is_for(token, tool, arguments))
        };
        if let Some(call) = arguments.and_then(is_approved) {
            let why = format!("a person approved this very call for good ({})", call.id());
            return Some(said("tools.approvedCalls", Verdict::Allow, why));
        }
        Some(RuleSaid {
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
fn command_of(arguments: &Map<String, Value>) -> Option<&str> {
    match arguments.get("command")? {
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
mod for_good;
#[cfg(test)]
pub(crate) mod tests;
