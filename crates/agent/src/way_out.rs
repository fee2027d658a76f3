//! The way out of a turn: what the model says to people, and what it puts into a call.

use crate::act::{Asking, Refusal};
use crate::agent::Agent;
use crate::error::TurnError;
use crate::step::{Emitter, Step};
use crate::turn::Said;
use clawdbot_domain::{
    Channel, Event, Outcome, RequestId, SessionId, Taint, ToolCall, Who, sha256_hex,
};
use clawdbot_guard::{
    Leak, Outward, Released, Secrets, Stopped, hosts_in, neutralise, neutralised,
};
use clawdbot_policy::{RuleSaid, Verdict};
use serde_json::Value;
use std::sync::Arc;

/// The name of a planted mark in the log.
const CANARY: &str = "canary";

/// The rule that turns away a call which carries a secret.
const SECRET_RULE: &str = "outward.secret";

/// Which addresses in an answer are taken out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Links {
    /// Hosts that links and images may always lead to; `None` is every host.
    pub allowed: Option<Vec<String>>,
    /// From which taint on an answer's links are looked at; `None` is never.
    pub from: Option<Taint>,
}

impl Links {
    /// The hosts an answer's links may lead to; `None` when all may stay. What a person named is
    /// theirs to be shown.
    pub(crate) fn hosts(&self, taint: Taint, named: &[String]) -> Option<Vec<String>> {
        let watched = self.from.is_some_and(|from| taint >= from);
        let allowed = self.allowed.as_ref().filter(|_| watched)?;
        Some(allowed.iter().chain(named).cloned().collect())
    }
}

/// The mark of one conversation: it stands in what the operator tells the model and nowhere else, so
/// where it comes out, the instructions come out.
#[derive(Debug, Clone)]
pub(crate) struct Canary {
    pub(crate) word: String,
    pub(crate) secrets: Arc<Secrets>,
}

impl Canary {
    /// The same for every turn of a session, so that providers need not read the instructions anew.
    pub(crate) fn of(who: &Who, seed: &[u8; 32]) -> Self {
        let session = who.session.as_ref().map(SessionId::as_str);
        let request = who.request.as_ref().map(RequestId::as_str);
        let id = session.or(request).unwrap_or_default();
        let hash = sha256_hex(&[seed.as_slice(), id.as_bytes()].concat());
        let word = hash.get(..24).unwrap_or_default().to_owned();
        // It is long enough by construction; were it not, there would be nothing to look for.
        let secrets = Secrets::new([(CANARY, word.as_str())]).unwrap_or_default();
        Self {
            word,
            secrets: Arc::new(secrets),
        }
    }
}

/// The hosts of addresses that people wrote.
pub(crate) fn named_hosts(said: &[Said]) -> Vec<String> {
    let people = said.iter().filter_map(|said| match said {
        Said::System(text) | Said::User(text) => Some(text),
        Said::Assistant(_) => None,
    });
    people.flat_map(|text| hosts_in(text)).collect()
}

impl Agent {
    /// What one reply is held against.
    pub(crate) fn outward(&self, canary: &Canary, taint: Taint, named: &[String]) -> Arc<Outward> {
        Arc::new(Outward {
            secrets: vec![self.kept.known.current(), Arc::clone(&canary.secrets)],
            hosts: self.links.hosts(taint, named),
            // A person may ask how attacks read. Handed on from untrusted text they are somebody else's.
            guard: (self.guard.is_strict() && taint > Taint::Clean).then_some(self.guard),
        })
    }

    /// A reply was stopped on its way out: written down, then told.
    pub(crate) async fn stopped(&self, who: &Who, stopped: Stopped, emit: &Emitter) -> TurnError {
        emit.step(Step::Screened {
            channel: Channel::Model,
            bytes: 0,
            finding: Some(stopped.public().to_owned()),
        });
        match self.found(who, Outcome::Denied, stopped.event()).await {
            Ok(()) => TurnError::Stopped(Box::new(stopped)),
            Err(error) => error,
        }
    }

    /// Writes down which addresses were taken out of what was released.
    pub(crate) async fn note_removed(
        &self,
        who: &Who,
        released: &Released,
        emit: &Emitter,
    ) -> Result<(), TurnError> {
        if released.removed.is_empty() {
            return Ok(());
        }
        emit.step(Step::Screened {
            channel: Channel::Model,
            bytes: released.of,
            finding: Some(format!(
                "addresses taken out: {}",
                released.removed.join(", ")
            )),
        });
        let event = neutralised(&released.removed, &released.text);
        self.found(who, Outcome::Denied, event).await
    }

    /// Writes a finding down, and counts it.
    pub(crate) async fn found(
        &self,
        who: &Who,
        outcome: Outcome,
        event: Event,
    ) -> Result<(), TurnError> {
        self.kept.counts.event(&event);
        self.recorder.note(who.clone(), outcome, event).await?;
        Ok(())
    }

    /// Looks at the arguments of a call before anything is done with them: a secret is refused, and the
    /// mark of the conversation ends the turn.
    pub(crate) async fn look_at_call(
        &self,
        call: &ToolCall,
        asking: Asking<'_>,
        emit: &Emitter,
    ) -> Result<Option<RuleSaid>, TurnError> {
        let known = self.kept.known.current();
        let planted = asking.canary.map(|canary| canary.secrets.as_ref());
        let all = [planted, Some(known.as_ref())];
        let found = all
            .into_iter()
            .flatten()
            .find_map(|secrets| in_call(secrets, call));
        let Some(leak) = found else { return Ok(None) };
        if leak.name == CANARY {
            let stopped = Stopped::leak(leak, &call.canonical_arguments());
            return Err(self.stopped(asking.who, stopped, emit).await);
        }
        Ok(Some(RuleSaid {
            rule: SECRET_RULE,
            verdict: Verdict::Deny,
            why: "its arguments hold something that must not leave the gateway".to_owned(),
            remedy: None,
        }))
    }
}

/// A secret in the arguments of a call: in any one text, or in all of them together.
fn in_call(secrets: &Secrets, call: &ToolCall) -> Option<Leak> {
    let inside = call
        .arguments
        .values()
        .find_map(|value| in_value(secrets, value));
    inside.or_else(|| secrets.find(&call.canonical_arguments()))
}

fn in_value(secrets: &Secrets, value: &Value) -> Option<Leak> {
    match value {
        Value::String(text) => secrets.find(text),
        Value::Array(items) => items.iter().find_map(|item| in_value(secrets, item)),
        Value::Object(fields) => fields.values().find_map(|v| in_value(secrets, v)),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// A note of ours that quotes what a model wrote. It goes out without addresses, or not at all.
pub(crate) fn note(outward: &Outward, refusal: &Refusal) -> String {
    let reason = neutralise(&refusal.reason(), &[]).text;
    let reason = match outward.find(&reason) {
        Some(_) => "a call was not run, and why cannot be told here".to_owned(),
        None => reason,
    };
    let mut note = format!("\n\n[clawdbot] {reason}.");
    for remedy in refusal.remedies() {
        note.push_str("\nTo allow it: ");
        note.push_str(remedy);
    }
    note
}
