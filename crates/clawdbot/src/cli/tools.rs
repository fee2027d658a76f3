//! `clawdbot tools`.

use super::record::settings;
use super::{CliResult, Exit, Failure, sessions};
use crate::home::Home;
use crate::{say, wire};
use clap::{Args, Subcommand};
use clawdbot_auth::{AuthError, TokenStore};
use clawdbot_config::Settings;
use clawdbot_domain::{
    ApprovedCall, Principal, ScopeSet, SessionId, Taint, TokenId, ToolLimit, ToolSpec, UnixTime,
    Who,
};
use clawdbot_policy::{Explanation, Facts, ToolPolicy, Verdict};
use clawdbot_tools::Catalogue;
use serde_json::{Map, Value, json};

#[derive(Debug, Subcommand)]
pub enum ToolsCommand {
    /// List every tool with its effect and whether a call of it would be allowed now
    List {
        #[command(flatten)]
        whose: Whose,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say whether a call would be allowed, by which rules, and what would change it
    Check {
        /// The tool
        name: String,
        /// The arguments of the call, a JSON object
        #[arg(long, value_name = "JSON")]
        args: Option<String>,
        /// In this session, with what it has taken in
        #[arg(long, value_name = "ID")]
        session: Option<String>,
        #[command(flatten)]
        whose: Whose,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Whose call is asked about.
#[derive(Debug, Args)]
pub struct Whose {
    /// A call with this token, by its id; a token with every scope and no limit otherwise
    #[arg(long, value_name = "ID")]
    token: Option<String>,
    /// A call by hand (POST /tools/invoke) instead of one that an agent's model proposes
    #[arg(long)]
    by_hand: bool,
}

/// The rules, and who is held to them.
struct Asked {
    policy: ToolPolicy,
    principal: Principal,
    taint: Taint,
}

pub fn run(command: ToolsCommand, home: &Home) -> CliResult {
    let loaded = settings(home)?;
    match command {
        ToolsCommand::List { whose, json } => {
            let approved = &loaded.settings.gateway.tools.approved_calls;
            Ok(list(&asked(home, &loaded.settings, whose)?, approved, json))
        }
        ToolsCommand::Check {
            name,
            args,
            session,
            whose,
            json,
        } => {
            let mut asked = asked(home, &loaded.settings, whose)?;
            if let Some(id) = session {
                asked.taint = taint_of(home, &id)?;
            }
            check(&asked, &name, args.as_deref(), json)
        }
    }
}

/// What a session has taken in.
fn taint_of(home: &Home, id: &str) -> Result<Taint, Failure> {
    let store = sessions::open(home)?;
    let found = store.session(None, &SessionId::new(id), UnixTime::now());
    found
        .map(|session| session.taint)
        .map_err(|e| sessions::failed(&e))
}

fn asked(home: &Home, settings: &Settings, whose: Whose) -> Result<Asked, Failure> {
    Ok(Asked {
        taint: Taint::Clean,
        policy: if whose.by_hand {
            wire::tool_policy(settings)
        } else {
            of_the_agent(settings)
        },
        principal: match whose.token {
            Some(id) => of_token(home, &id)?,
            None => anybody(settings),
        },
    })
}

fn of_the_agent(settings: &Settings) -> ToolPolicy {
    wire::tool_policy(settings).for_agent(wire::AGENT, settings.agent_tools.clone())
}

/// A token with every scope and no limit.
fn anybody(settings: &Settings) -> Principal {
    Principal {
        token: TokenId::new("any"),
        name: "any".into(),
        scopes: ScopeSet::ALL,
        env: settings.gateway.environment,
        tools: ToolLimit::Unlimited,
    }
}

fn of_token(home: &Home, id: &str) -> Result<Principal, Failure> {
    let bad = |e: AuthError| Failure::new(Exit::BadData, e).hint("clawdbot tokens list");
    let store = TokenStore::open(&home.state(), &home.secrets());
    let store = store.map_err(|e| Failure::new(Exit::Io, e))?;
    let info = store.find(&TokenId::new(id)).map_err(bad)?;
    if !info.is_live(UnixTime::now()) {
        return Err(bad(AuthError::NotLive(id.to_owned())));
    }
    Ok(Principal {
        token: info.id,
        name: info.name.into(),
        scopes: info.scopes,
        env: info.env,
        tools: info.tools,
    })
}

/// As the rules stand for a session that has taken in this much.
fn explain(asked: &Asked, spec: &ToolSpec, arguments: Option<&Map<String, Value>>) -> Explanation {
    let facts = Facts {
        principal: &asked.principal,
        who: &Who::default(),
        taint: asked.taint,
        approval: None,
    };
    asked
        .policy
        .explain(&spec.name, spec.effect, arguments, facts)
}

/// What the rules say of a call that was approved for good, made in a session without untrusted text.
pub(super) fn of_approved(
    home: &Home,
    settings: &Settings,
    call: &ApprovedCall,
) -> Result<Explanation, Failure> {
    let asked = Asked {
        taint: Taint::Clean,
        policy: wire::tool_policy(settings),
        principal: of_token(home, call.token.as_str())?,
    };
    let (tools, name) = (Catalogue::default(), call.tool.as_str());
    let valid = tools.validate("check", name, &call.canonical_arguments());
    let valid = valid.map_err(|bad| Failure::new(Exit::BadData, bad))?;
    let spec = tools.spec(name);
    let spec = spec.ok_or_else(|| Failure::new(Exit::BadData, tools.unknown(name)))?;
    Ok(explain(&asked, spec, Some(&valid.arguments)))
}

/// Every tool, and whether a call of it would be allowed.
pub(super) fn verdicts(settings: &Settings) -> Vec<(ToolSpec, Verdict)> {
    let asked = Asked {
        taint: Taint::Clean,
        policy: of_the_agent(settings),
        principal: anybody(settings),
    };
    let tools = Catalogue::default().specs();
    let verdict = |spec: &ToolSpec| explain(&asked, spec, None).verdict();
    tools
        .iter()
        .map(|spec| (spec.clone(), verdict(spec)))
        .collect()
}

fn list(asked: &Asked, approved: &[ApprovedCall], as_json: bool) -> Exit {
    let tools = Catalogue::default().specs();
    let rows = tools.iter().map(|spec| {
        let explanation = explain(asked, spec, None);
        let mut why = match explanation.against().first() {
            Some(rule) => rule.why.clone(),
            None => "every rule allows it".to_owned(),
        };
        let for_good = approved.iter().filter(|call| call.tool == spec.name);
        let for_good = for_good.count();
        if for_good > 0 {
            why.push_str("; approved for good: ");
            why.push_str(&for_good.to_string());
            why.push_str(" (clawdbot approvals always list)");
        }
        (spec, explanation.verdict(), why)
    });
    if as_json {
        let rows: Vec<Value> = rows
            .map(|(spec, verdict, why)| {
                json!({
                    "name": spec.name, "effect": spec.effect, "verdict": verdict, "why": why,
                    "input_schema": spec.schema
                })
            })
            .collect();
        say!("{}", Value::from(rows));
    } else {
        say!("{:<16} {:<8} {:<7} WHY", "TOOL", "EFFECT", "VERDICT");
        for (spec, verdict, why) in rows {
            let (name, effect) = (spec.name.as_str(), spec.effect.as_str());
            say!("{name:<16} {effect:<8} {:<7} {why}", verdict.to_string());
        }
    }
    Exit::Done
}

fn check(asked: &Asked, name: &str, args: Option<&str>, as_json: bool) -> CliResult {
    let tools = Catalogue::default();
    let spec = tools
        .spec(name)
        .ok_or_else(|| Failure::new(Exit::Usage, tools.unknown(name)))?;
    let call = args
        .map(|args| tools.validate("check", name, args))
        .transpose()
        .map_err(|bad| Failure::new(Exit::BadData, bad))?;
    let explanation = explain(asked, spec, call.as_ref().map(|call| &call.arguments));
    if as_json {
        say!(
            "{}",
            json!({
                "tool": spec.name, "effect": spec.effect, "session": asked.taint, "verdict": explanation.verdict(),
                "rules": explanation.rules, "remedies": explanation.remedies()
            })
        );
    } else {
        say!("{name}: {}", explanation.verdict());
        for rule in &explanation.rules {
            say!(
                "  {:<5} {:<26} {}",
                rule.verdict.to_string(),
                rule.rule,
                rule.why
            );
        }
        for remedy in explanation.remedies() {
            say!("to change it: {remedy}");
        }
    }
    Ok(match explanation.verdict() {
        Verdict::Allow => Exit::Done,
        Verdict::Ask => Exit::Unavailable,
        Verdict::Deny => Exit::Refused,
    })
}
