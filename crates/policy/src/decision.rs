//! What a decision is: a value that names the rules that made it.

use clawdbot_domain::{ApprovalId, Audited, Event, Outcome, ToolCall, Who};
use serde::Serialize;
use std::fmt;

/// How many bytes of a call's arguments are written into its begin record. The hash covers all of
/// them; a `write_file` of a megabyte need not stand in the log in full.
const ARGUMENTS_IN_RECORD: usize = 4096;

/// Ordered from free to forbidden: the verdict over several rules is the `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The call may happen.
    Allow,
    /// A person must approve this very call.
    Ask,
    /// The call may not happen.
    Deny,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        })
    }
}

/// What one rule said of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleSaid {
    /// The rule's name: the setting or principle behind it.
    pub rule: &'static str,
    /// Its verdict.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub why: String,
    /// The one command that would make this rule allow the call, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Every rule that looked at a call, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What each rule said.
    pub rules: Vec<RuleSaid>,
}

impl Explanation {
    /// The strictest of all rules. No rule at all is a no: a missing answer never allows.
    pub fn verdict(&self) -> Verdict {
        self.rules
            .iter()
            .map(|r| r.verdict)
            .max()
            .unwrap_or(Verdict::Deny)
    }

    /// The rules that stand in the way, strictest first.
    pub fn against(&self) -> Vec<&RuleSaid> {
        let mut against: Vec<_> = self
            .rules
            .iter()
            .filter(|r| r.verdict > Verdict::Allow)
            .collect();
        against.sort_by_key(|r| std::cmp::Reverse(r.verdict));
        against
    }

    /// `rule=verdict` for the log.
    pub fn in_short(&self) -> Vec<String> {
        self.rules
            .iter()
            .map(|r| format!("{}={}", r.rule, r.verdict))
            .collect()
    }

    /// The commands that would make the call possible, in the order they are needed.
    pub fn remedies(&self) -> Vec<&str> {
        self.against()
            .iter()
            .filter_map(|r| r.remedy.as_deref())
            .collect()
    }
}

/// The answer to "may this call happen?".
#[derive(Debug)]
#[must_use = "a decision that is dropped decides nothing"]
pub enum Decision {
    /// It may: here is the permit.
    Allow(Permit),
    /// A person must say so first.
    Ask(Ask),
    /// It may not.
    Deny(Denial),
}

/// Permission for one call, once. Made only by [`crate::ToolPolicy::decide`].
#[derive(Debug)]
pub struct Permit {
    call: ToolCall,
    who: Who,
    rules: Vec<String>,
    approval: Option<ApprovalId>,
}

impl Permit {
    pub(crate) fn new(call: ToolCall, who: Who, explanation: &Explanation) -> Self {
        Self {
            call,
            who,
            rules: explanation.in_short(),
            approval: None,
        }
    }

    /// For a call that a person approved.
    pub(crate) fn approved(mut self, by: ApprovalId) -> Self {
        self.approval = Some(by);
        self
    }

    /// The call it is for.
    pub fn call(&self) -> &ToolCall {
        &self.call
    }

    /// The rules that allowed it, `rule=verdict`.
    pub fn rules(&self) -> &[String] {
        &self.rules
    }

    /// Spends the permit.
    pub fn into_call(self) -> ToolCall {
        self.call
    }
}

impl Audited for Permit {
    fn event(&self) -> Event {
        Event::ToolBegin {
            tool: self.call.name.clone(),
            effect: self.call.effect,
            rules: self.rules.clone(),
            approval: self.approval.clone(),
            arguments: first_bytes(self.call.canonical_arguments(), ARGUMENTS_IN_RECORD),
            arguments_sha256: self.call.arguments_sha256(),
        }
    }

    fn who(&self) -> Who {
        self.who.clone()
    }
}

/// A call that waits for a person.
#[derive(Debug)]
pub struct Ask {
    call: ToolCall,
    explanation: Explanation,
}

/// A call that may not happen.
#[derive(Debug)]
pub struct Denial {
    call: ToolCall,
    explanation: Explanation,
}

macro_rules! refused_call {
    ($name:ident) => {
        impl $name {
            pub(crate) fn new(call: ToolCall, explanation: Explanation) -> Self {
                Self { call, explanation }
            }

            /// The call that was asked for.
            pub fn call(&self) -> &ToolCall {
                &self.call
            }

            /// Every rule and what it said.
            pub fn explanation(&self) -> &Explanation {
                &self.explanation
            }

            /// As it is written in the log.
            pub fn event(&self) -> Event {
                Event::ToolDenied {
                    tool: self.call.name.to_string(),
                    effect: Some(self.call.effect),
                    rules: self.explanation.in_short(),
                    arguments_sha256: self.call.arguments_sha256(),
                }
            }

            /// How the record ends.
            pub const fn outcome(&self) -> Outcome {
                Outcome::Denied
            }
        }
    };
}
impl Ask {
    /// How its arguments stand in a record: cut where they are long, with the hash of all of them beside.
    pub fn arguments_in_record(&self) -> String {
        first_bytes(self.call.canonical_arguments(), ARGUMENTS_IN_RECORD)
    }

    /// The call and the explanation, to ask a person about.
    pub fn into_parts(self) -> (ToolCall, Explanation) {
        (self.call, self.explanation)
    }
}

refused_call!(Ask);
refused_call!(Denial);

/// Cuts at a character boundary, and says so.
fn first_bytes(mut text: String, most: usize) -> String {
    if text.len() > most {
        let cut = (0..=most)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}
