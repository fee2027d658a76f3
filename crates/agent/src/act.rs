//! One tool call: validate, decide, write down, run, screen. The only way to a tool.

use crate::step::{Emitter, Step};
use crate::{agent::Agent, error::TurnError, way_out::Canary};
use clawdbot_domain::{
    Approval, Event, Outcome, Principal, Taint, ToolCall, UnixTime, Untrusted, Who,
};
use clawdbot_guard::Screened;
use clawdbot_policy::{
    Ask, Decision, Explanation, Facts, Permit, Presented, RuleSaid, ToolPolicy, Verdict,
};
use clawdbot_providers::ProposedCall;
use clawdbot_sessions::ApprovalInfo;
use std::fmt::Write as _;

/// The rule that turns away what is no call of a tool at all.
const INVALID: &str = "tool.schema";

/// What became of a proposed call.
#[derive(Debug)]
pub enum Acted {
    /// It ran.
    Ran {
        /// What came back, looked at and marked as untrusted.
        result: Screened,
        /// What came back, for a caller that is no model.
        output: Untrusted,
        /// True when the tool failed.
        is_error: bool,
        /// Exit code of a command.
        exit: Option<i32>,
        /// True when the output was cut at its cap.
        truncated: bool,
        /// Sandbox layers that held.
        layers: Vec<String>,
        /// Number of the begin record.
        record: Option<u64>,
        /// What the session is worth after it.
        taint: Taint,
    },
    /// It did not run.
    Refused(Refusal),
    /// A person must say yes first, and is not asked yet.
    Asks(Box<Ask>),
    /// A person is asked.
    Waits(Box<ApprovalInfo>),
}

/// A call that did not run, and why.
#[derive(Debug)]
pub struct Refusal {
    /// What was asked for.
    pub tool: String,
    /// Ask or deny.
    pub verdict: Verdict,
    /// The rules against it, strictest first.
    pub rules: Vec<RuleSaid>,
    /// Number of the record.
    pub record: Option<u64>,
}

impl Refusal {
    /// Fit for a model and for the caller: which rules, without the commands that would change them.
    pub fn reason(&self) -> String {
        let mut text = format!("{} was not run", self.tool);
        for (at, rule) in self.rules.iter().enumerate() {
            let _ = write!(text, "{} {}", if at == 0 { ":" } else { ";" }, rule.why);
        }
        text
    }

    /// True when the call itself was malformed: no policy was asked.
    pub fn is_invalid(&self) -> bool {
        self.rules.iter().any(|rule| rule.rule == INVALID)
    }

    /// The commands that would allow it, in order.
    pub fn remedies(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter_map(|rule| rule.remedy.as_deref())
    }
}

/// Who proposes a call, and in what state the session is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) principal: &'a Principal,
    pub(crate) who: &'a Who,
    pub(crate) taint: Taint,
    pub(crate) boundary: &'a str,
    /// The mark of the conversation, in a turn.
    pub(crate) canary: Option<&'a Canary>,
    /// The hosts that people named in it.
    pub(crate) named_hosts: &'a [String],
    /// Spent for this call.
    pub(crate) approval: Option<&'a Approval>,
}

impl Agent {
    /// Takes one proposed call as far as the rules let it go.
    pub(crate) async fn act(
        &self,
        proposed: &ProposedCall,
        asking: Asking<'_>,
        policy: &ToolPolicy,
        emit: &Emitter,
    ) -> Result<Acted, TurnError> {
        let call = match self
            .toolbox
            .validate(&proposed.id, &proposed.name, &proposed.arguments)
        {
            Ok(call) => call,
            Err(bad) => {
                let rule = RuleSaid {
                    rule: INVALID,
                    verdict: Verdict::Deny,
                    why: bad.to_string(),
                    remedy: None,
                };
                let tool: String = proposed.name.chars().take(64).collect();
                let event = Event::ToolDenied {
                    tool: tool.clone(),
                    effect: None,
                    rules: vec![format!("{INVALID}=deny")],
                    arguments_sha256: clawdbot_domain::sha256_hex(proposed.arguments.as_bytes()),
                };
                return self.refuse(tool, event, vec![rule], asking, emit).await;
            }
        };
        if let Some(rule) = self.look_at_call(&call, asking, emit).await? {
            let event = Event::ToolDenied {
                tool: call.name.to_string(),
                effect: Some(call.effect),
                rules: vec![format!("{}=deny", rule.rule)],
                arguments_sha256: call.arguments_sha256(),
            };
            return self
                .refuse(call.name.to_string(), event, vec![rule], asking, emit)
                .await;
        }
        let facts = Facts {
            principal: asking.principal,
            who: asking.who,
            taint: asking.taint,
            approval: asking.approval.map(|approval| Presented {
                approval,
                now: UnixTime::now(),
            }),
        };
        match policy.decide(call, facts) {
            Decision::Allow(permit) => self.run(permit, asking, emit).await,
            Decision::Ask(ask) => Ok(Acted::Asks(Box::new(ask))),
            Decision::Deny(denial) => {
                let (call, why) = (denial.call(), denial.explanation());
                self.refuse_call(call, denial.event(), why, asking, emit)
                    .await
            }
        }
    }

    /// Written down, then run, then looked at.
    async fn run(
        &self,
        permit: Permit,
        asking: Asking<'_>,
        emit: &Emitter,
    ) -> Result<Acted, TurnError> {
        let tool = permit.call().name.to_string();
        let recorded = self.recorder.begin(permit).await?;
        let record = recorded.index();
        self.kept.counts.call(Some(&tool), "allow");
        emit.step(Step::Permitted {
            tool: tool.clone(),
            arguments: recorded.value().call().canonical_arguments(),
            rules: recorded.value().rules().to_vec(),
            record,
        });
        let mut live = self.live(asking);
        let show = |text: String| {
            if !text.is_empty() {
                let tool = tool.clone();
                emit.step(Step::Output { tool, text });
            }
        };
        let mut watch = |bytes: &[u8]| show(live.take(bytes));
        let outcome = self.toolbox.run_watched(recorded, Some(&mut watch)).await;
        show(live.finish());
        emit.step(Step::Ran {
            tool: tool.clone(),
            layers: outcome.layers.clone(),
            exit: outcome.exit,
            bytes: outcome.output.len(),
            is_error: outcome.is_error,
            truncated: outcome.truncated,
        });
        let withheld = self.withhold_secret(&outcome.output, asking).await?;
        let is_withheld = withheld.is_some();
        self.note_live(live, &outcome.output, is_withheld, asking)
            .await?;
        let output = withheld.unwrap_or(outcome.output);
        let looked = self.look_at(&output, asking, emit).await?;
        Ok(Acted::Ran {
            result: looked.text,
            output,
            is_error: outcome.is_error,
            exit: outcome.exit,
            truncated: outcome.truncated,
            layers: outcome.layers,
            record,
            taint: asking.taint.and(looked.taint),
        })
    }

    async fn refuse_call(
        &self,
        call: &ToolCall,
        event: Event,
        explanation: &Explanation,
        asking: Asking<'_>,
        emit: &Emitter,
    ) -> Result<Acted, TurnError> {
        let rules = explanation.against().into_iter().cloned().collect();
        self.refuse(call.name.to_string(), event, rules, asking, emit)
            .await
    }

    /// A refusal is written down before it is told.
    pub(crate) async fn refuse(
        &self,
        tool: String,
        event: Event,
        rules: Vec<RuleSaid>,
        asking: Asking<'_>,
        emit: &Emitter,
    ) -> Result<Acted, TurnError> {
        let record = self
            .recorder
            .note(asking.who.clone(), Outcome::Denied, event)
            .await?;
        let verdict = rules
            .iter()
            .map(|r| r.verdict)
            .max()
            .unwrap_or(Verdict::Deny);
        let known = self.toolbox.spec(&tool).map(|_| tool.as_str());
        self.kept.counts.call(known, &verdict.to_string());
        emit.step(Step::Refused {
            tool: tool.clone(),
            verdict,
            rules: rules.clone(),
            record,
        });
        Ok(Acted::Refused(Refusal {
            tool,
            verdict,
            rules,
            record,
        }))
    }
}
