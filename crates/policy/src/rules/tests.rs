//! The rules, one table or claim each.

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

pub(crate) fn verdict(policy: &ToolPolicy, tool: &str, effect: Effect, taint: Taint) -> Verdict {
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
