//! The limits of a token and of an agent: rules that only ever say no.

use crate::decision::{RuleSaid, Verdict};
use crate::rules::{said, set_list};
use clawdbot_domain::{Principal, ToolLimit, ToolName};
use std::collections::BTreeSet;
use std::sync::Arc;

/// An agent, and the tools it may use of those that policy allows.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    pub(crate) name: Arc<str>,
    pub(crate) tools: ToolLimit,
}

/// `agents.NAME.tools`.
pub(crate) fn agent_rule(agent: &Agent, tool: &ToolName) -> Option<RuleSaid> {
    const RULE: &str = "agents.tools";
    let Agent { name, tools } = agent;
    let names = tools.names()?;
    if tools.allows(tool) {
        let why = format!("{tool} is among the tools of agent {name}");
        return Some(said(RULE, Verdict::Allow, why));
    }
    let more: BTreeSet<&str> = names.into_iter().chain([tool.as_str()]).collect();
    Some(RuleSaid {
        rule: RULE,
        verdict: Verdict::Deny,
        why: format!("{tool} is not among the tools of agent {name}"),
        remedy: Some(set_list(&format!("agents.{name}.tools"), &more)),
    })
}

/// A token may be made for fewer tools than policy allows. A new one is the only way to more of them.
pub(crate) fn token_rule(principal: &Principal, tool: &ToolName) -> Option<RuleSaid> {
    const RULE: &str = "token.tools";
    let names = principal.tools.names()?;
    let token = &principal.token;
    if principal.tools.allows(tool) {
        let why = format!("token {token} is made for {tool}");
        return Some(said(RULE, Verdict::Allow, why));
    }
    let more: BTreeSet<&str> = names.into_iter().chain([tool.as_str()]).collect();
    let more: Vec<&str> = more.into_iter().collect();
    Some(RuleSaid {
        rule: RULE,
        verdict: Verdict::Deny,
        why: format!(
            "token {token} is made for {} only, and {tool} is not among them",
            principal.tools
        ),
        remedy: Some(format!(
            "clawdbot tokens create --name NAME --scopes {} --tools {}",
            principal.scopes,
            more.join(",")
        )),
    })
}

#[cfg(test)]
mod tests {
    use crate::rules::tests::{name, policy, principal, verdict};
    use crate::{Facts, Verdict};
    use clawdbot_domain::{
        Effect, Principal, Scope, ScopeSet, Taint, ToolLimit, ToolPolicyMode, Who,
    };

    /// Every combination of policy, allow list, token's limit and agent's limit, for every tool of a small
    /// world: with a limit the verdict is never freer than without.
    #[test]
    fn a_limit_of_a_token_or_an_agent_takes_away_and_never_adds() {
        let all = ["a", "b", "c"];
        let subsets: Vec<Vec<&str>> = (0..8_u8)
            .map(|bits| {
                (0..3)
                    .filter(|at| bits >> at & 1 == 1)
                    .map(|at| all[at])
                    .collect()
            })
            .collect();
        let limit = |names: &[&str]| ToolLimit::only(names.iter().map(|n| name(n)));
        let mut denied = 0;
        for mode in ToolPolicyMode::ALL {
            for list in &subsets {
                let policy = policy(*mode, list, &["c"]);
                for (tokens, agents) in subsets
                    .iter()
                    .flat_map(|t| subsets.iter().map(move |a| (t, a)))
                {
                    for (tool, effect) in
                        all.iter().zip([Effect::Read, Effect::Write, Effect::Read])
                    {
                        let free = verdict(&policy, tool, effect, Taint::Clean);
                        let narrow = Principal {
                            tools: limit(tokens),
                            ..principal(ScopeSet::ALL)
                        };
                        let facts = Facts {
                            principal: &narrow,
                            who: &Who::default(),
                            taint: Taint::Clean,
                            approval: None,
                        };
                        let agent = policy.for_agent("main", limit(agents));
                        let said = agent.explain(&name(tool), effect, None, facts);
                        assert!(
                            said.verdict() >= free,
                            "{mode} {list:?} {tokens:?} {agents:?} {tool}"
                        );
                        let within = tokens.contains(tool) && agents.contains(tool);
                        assert_eq!(agent.leaves(&narrow, &name(tool)), within);
                        if within {
                            assert_eq!(said.verdict(), free);
                        } else {
                            assert_eq!(said.verdict(), Verdict::Deny);
                            denied += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(denied, 3 * 8 * 3 * (64 - 16));
    }

    #[test]
    fn a_limit_says_which_command_would_lift_it() {
        let narrow = Principal {
            tools: "read_file".parse().unwrap(),
            ..principal(ScopeSet::NONE.with(Scope::Chat).with(Scope::Tools))
        };
        let facts = Facts {
            principal: &narrow,
            who: &Who::default(),
            taint: Taint::Clean,
            approval: None,
        };
        let policy = policy(ToolPolicyMode::Permissive, &[], &[])
            .for_agent("main", "read_file".parse().unwrap());
        let said = policy.explain(&name("list_directory"), Effect::Read, None, facts);
        assert_eq!(
            said.remedies(),
            [
                "clawdbot tokens create --name NAME --scopes chat,tools --tools list_directory,read_file",
                r#"clawdbot config set agents.main.tools '["list_directory","read_file"]'"#
            ]
        );
    }
}
