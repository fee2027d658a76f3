//! `clawdbot tools`.

use super::record::settings;
use super::{CliResult, Exit, Failure, sessions};
use crate::home::Home;
use crate::{say, wire};
use clap::Subcommand;
use clawdbot_config::Settings;
use clawdbot_domain::{Principal, ScopeSet, SessionId, Taint, TokenId, ToolSpec, UnixTime, Who};
use clawdbot_policy::{Explanation, Facts, Verdict};
use clawdbot_tools::Catalogue;
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub enum ToolsCommand {
    /// List every tool with its effect and whether a call of it would be allowed now
    List {
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
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub fn run(command: ToolsCommand, home: &Home) -> CliResult {
    let loaded = settings(home)?;
    match command {
        ToolsCommand::List { json } => Ok(list(&loaded.settings, json)),
        ToolsCommand::Check {
            name,
            args,
            session,
            json,
        } => {
            let taint = session.map_or(Ok(Taint::Clean), |id| taint_of(home, &id))?;
            check(&loaded.settings, &name, args.as_deref(), taint, json)
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

/// As the rules stand for a token with every scope and a session that has taken in this much.
fn explain(
    settings: &Settings,
    spec: &ToolSpec,
    command: Option<&str>,
    taint: Taint,
) -> Explanation {
    let principal = Principal {
        token: TokenId::new("any"),
        name: "any".into(),
        scopes: ScopeSet::ALL,
        env: settings.gateway.environment,
    };
    let facts = Facts {
        principal: &principal,
        who: &Who::default(),
        taint,
        approval: None,
    };
    wire::tool_policy(settings).explain(&spec.name, spec.effect, command, facts)
}

fn list(settings: &Settings, as_json: bool) -> Exit {
    let tools = Catalogue::default().specs();
    let rows = tools.iter().map(|spec| {
        let explanation = explain(settings, spec, None, Taint::Clean);
        let why = match explanation.against().first() {
            Some(rule) => rule.why.clone(),
            None => "every rule allows it".to_owned(),
        };
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

fn check(
    settings: &Settings,
    name: &str,
    args: Option<&str>,
    taint: Taint,
    as_json: bool,
) -> CliResult {
    let tools = Catalogue::default();
    let spec = tools
        .spec(name)
        .ok_or_else(|| Failure::new(Exit::Usage, tools.unknown(name)))?;
    let call = args
        .map(|args| tools.validate("check", name, args))
        .transpose()
        .map_err(|bad| Failure::new(Exit::BadData, bad))?;
    let command = call
        .as_ref()
        .and_then(|call| call.arguments.get("command")?.get(0)?.as_str());
    let explanation = explain(settings, spec, command, taint);
    if as_json {
        say!(
            "{}",
            json!({
                "tool": spec.name, "effect": spec.effect, "session": taint, "verdict": explanation.verdict(),
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
