//! What a person's yes for good adds: exactly the calls it names, where nothing but `restrictive` asks.

use super::tests::{name, principal};
use super::*;
use clawdbot_domain::{ScopeSet, TokenId};
use serde_json::json;

const TAINTS: [Taint; 3] = [Taint::Clean, Taint::Untrusted, Taint::Hostile];
const EFFECTS: [Effect; 4] = [
    Effect::Read,
    Effect::Write,
    Effect::Execute,
    Effect::Network,
];

fn arguments(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn approved(tool: &str, value: &Value, token: &str) -> ApprovedCall {
    ApprovedCall {
        tool: name(tool),
        arguments: arguments(value),
        token: TokenId::new(token),
    }
}

/// Every policy of a small world: modes, lists, the sandbox, the Rule of Two, limits of the agent.
fn policies() -> Vec<ToolPolicy> {
    let lists: [&[&str]; 3] = [&[], &["a"], &["a", "b"]];
    let mut all = Vec::new();
    for mode in ToolPolicyMode::ALL {
        for allow in lists {
            for deny in [&[][..], &["a"]] {
                for sandbox in [
                    SandboxMode::Strict,
                    SandboxMode::Moderate,
                    SandboxMode::Permissive,
                ] {
                    for two in [RuleOfTwo::Always, RuleOfTwo::WhenHostile, RuleOfTwo::Off] {
                        let sandbox = SandboxRule {
                            mode: sandbox,
                            allowed_commands: ["ls".to_owned()].into(),
                        };
                        let names =
                            |list: &[&str]| list.iter().map(|n| name(n)).collect::<Vec<_>>();
                        let policy =
                            ToolPolicy::new(*mode, names(allow), names(deny), sandbox, two);
                        all.push(policy.for_agent("main", ToolLimit::only([name("b")])));
                        all.push(policy);
                    }
                }
            }
        }
    }
    all
}

#[test]
fn a_yes_for_good_adds_exactly_the_calls_it_names_where_only_restrictive_asks() {
    let ls = json!({"command": ["ls"], "n": 1});
    // What is proposed; the first is what was approved.
    let proposed = [
        ls.clone(),
        json!({"n": 1, "command": ["ls"]}),
        json!({"command": ["ls"], "n": 1.0}),
        json!({"command": ["ls", ""], "n": 1}),
        json!({"command": ["ls "], "n": 1}),
        json!({"command": ["rm"], "n": 1}),
        json!({"command": ["ls"]}),
        json!({}),
    ];
    let yes = [
        approved("a", &ls, "t1"),
        approved("a", &json!({"command": ["rm"], "n": 1}), "t1"),
    ];
    let scopes = [ScopeSet::ALL, ScopeSet::NONE.with(Scope::Admin)];
    let (mut added, mut seen) = (0, 0);
    for without in policies() {
        let with = without.clone().approving(yes.clone());
        for tool in ["a", "b"] {
            for effect in EFFECTS {
                for taint in TAINTS {
                    for token in ["t1", "t2"] {
                        for scopes in scopes {
                            for value in &proposed {
                                let whose = Principal {
                                    token: TokenId::new(token),
                                    ..principal(scopes)
                                };
                                let facts = Facts {
                                    principal: &whose,
                                    who: &Who::default(),
                                    taint,
                                    approval: None,
                                };
                                let call = ToolCall {
                                    id: "1".into(),
                                    name: name(tool),
                                    effect,
                                    arguments: arguments(value),
                                };
                                let named = yes
                                    .iter()
                                    .any(|y| y.is_for(&whose.token, &call.name, &call.arguments));
                                let before = match without.decide(call.clone(), facts) {
                                    Decision::Allow(_) => Ok(true),
                                    Decision::Deny(_) => Ok(false),
                                    Decision::Ask(ask) => Err(ask),
                                };
                                let now = matches!(with.decide(call, facts), Decision::Allow(_));
                                let expected = match before {
                                    Ok(before) => before,
                                    Err(ask) => {
                                        let asks = ask.explanation().against();
                                        let only_restrictive =
                                            asks.iter().all(|r| r.rule == "tools.policy");
                                        added += u32::from(only_restrictive && named);
                                        only_restrictive && named
                                    }
                                };
                                assert_eq!(
                                    now, expected,
                                    "{without:?} {tool} {effect} {taint:?} {token} {value}"
                                );
                                seen += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(seen > 200_000 && added > 100, "{seen} {added}");
}

#[test]
fn a_call_let_through_for_good_names_the_entry_in_its_record() {
    let call = approved("write_file", &json!({"path": "a"}), "t1");
    let policy = super::tests::policy(ToolPolicyMode::Restrictive, &["write_file"], &[]);
    let policy = policy.approving([call.clone()]);
    let principal = principal(ScopeSet::ALL);
    let facts = Facts {
        principal: &principal,
        who: &Who::default(),
        taint: Taint::Clean,
        approval: None,
    };
    let said = policy.explain(&call.tool, Effect::Write, Some(&call.arguments), facts);
    assert_eq!(
        said.in_short().join(" "),
        "token.scopes=allow tools.allowList=allow tools.approvedCalls=allow"
    );
    let last = said.rules.last().unwrap();
    assert!(last.why.contains(&call.id()), "{}", last.why);
    let unknown = policy.explain(&call.tool, Effect::Write, None, facts);
    assert_eq!(
        unknown.verdict(),
        Verdict::Ask,
        "without arguments nothing is known"
    );
}

#[test]
fn a_yes_is_for_good_only_where_nothing_but_restrictive_asks() {
    for policy in policies() {
        for effect in EFFECTS {
            for taint in TAINTS {
                let may = policy.may_be_for_good(&name("a"), effect, taint).is_ok();
                let asks = policy.mode == ToolPolicyMode::Restrictive && effect.changes_state();
                let two = policy.rule_of_two_rule(effect, taint).is_some();
                assert_eq!(may, asks && !two, "{policy:?} {effect} {taint:?}");
            }
        }
    }
}
