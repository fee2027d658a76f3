//! A client's own request to a model: looked at, written down, sent on; the answer is looked at on its
//! way back.

use crate::act::Asking;
use crate::agent::Agent;
use crate::error::TurnError;
use bytes::Bytes;
use clawdbot_domain::{Channel, Event, Outcome, Protocol, TokenId, Untrusted, Who};
use clawdbot_guard::{Action, Allowed, BodyRefusal, Leak, Outward, Report, ScreenedBody};
use clawdbot_providers::{Note, Provider, RelayCall, Relayed, Unseen, Watch};
use std::sync::Arc;
use std::time::Instant;

/// What the model is shown instead of a tool's result that holds a secret of the gateway.
pub(crate) const WITHHELD: &str = "[withheld by the gateway: the result holds a credential or token of the gateway. \
                        Tell the user so.]";

impl Agent {
    /// The texts that were refused under these ids. Each id is spent by asking; an unknown one is an
    /// error, because whoever gave it believes that it changes something.
    pub fn allow<'i>(&self, ids: impl IntoIterator<Item = &'i str>) -> Result<Allowed, TurnError> {
        let now = Instant::now();
        let mut texts = Vec::new();
        for id in ids {
            let text = self.kept.findings.take(id, now);
            let text = text.ok_or_else(|| TurnError::NoFinding(id.chars().take(40).collect()))?;
            texts.push((text, id.to_owned()));
        }
        Ok(Allowed::new(texts))
    }

    /// Looks at every text of a client's own request to a model, and writes down what was found.
    pub async fn screen_body(
        &self,
        who: &Who,
        body: Bytes,
        protocol: Protocol,
        allowed: &Allowed,
    ) -> Result<ScreenedBody, TurnError> {
        if let Some(leak) = self.kept.known.current().find_plain_in(&body) {
            let event = leaked(&leak, Channel::User, "refused", &body);
            self.found(who, Outcome::Denied, event).await?;
            return Err(TurnError::Secret);
        }
        let sender = who.actor.as_ref().map(TokenId::as_str);
        let seen = self.kept.seen.as_ref().zip(sender);
        let seen = seen.map(|(seen, sender)| seen.of(sender));
        let guard = &self.guard;
        match guard.screen_body_allowing(body, protocol, allowed, seen) {
            Ok(screened) => {
                for report in screened.reports() {
                    self.found(who, Outcome::Ok, report.event()).await?;
                }
                Ok(screened)
            }
            Err(BodyRefusal::Finding(report)) => Err(self.refused(who, report).await),
            Err(malformed @ BodyRefusal::Malformed { .. }) => Err(TurnError::Body(malformed)),
        }
    }

    /// Sends a client's own request on: written down, then sent. The answer is looked at on its way out.
    pub async fn relay(
        &self,
        provider: &dyn Provider,
        call: RelayCall,
    ) -> Result<(Relayed, Option<u64>), TurnError> {
        let who = call.who.clone();
        for text in call.beside() {
            let known = self.kept.known.current();
            if let Some(leak) = known.find_plain(&String::from_utf8_lossy(text)) {
                let event = leaked(&leak, Channel::User, "refused", text);
                self.found(&who, Outcome::Denied, event).await?;
                return Err(TurnError::Secret);
            }
        }
        let watch = self.watch(&call);
        let recorded = self.recorder.begin(call).await?;
        let record = recorded.index();
        let relayed = provider.relay(recorded).await?;
        match watch.over(relayed).await {
            Ok(relayed) => Ok((relayed, record)),
            Err(Unseen::Provider(error)) => Err(error.into()),
            Err(Unseen::Stopped(stopped)) => {
                self.found(&who, Outcome::Denied, stopped.event()).await?;
                Err(TurnError::Stopped(Box::new(stopped)))
            }
        }
    }

    fn watch(&self, call: &RelayCall) -> Watch {
        let body = &call.body;
        let outward = Outward {
            secrets: vec![self.kept.known.current()],
            hosts: self.links.hosts(body.taint(), body.named_hosts()),
            // The client's own model answers the client's own question: whether it writes about
            // attacks is no business of ours.
            guard: None,
        };
        let (recorder, kept, who) = (
            self.recorder.clone(),
            Arc::clone(&self.kept),
            call.who.clone(),
        );
        let note: Note = Arc::new(move |event| {
            kept.counts.event(&event);
            recorder.note_later(who.clone(), Outcome::Denied, event);
        });
        Watch {
            provider: call.provider,
            protocol: call.protocol,
            streams: body.stream(),
            outward: Arc::new(outward),
            note,
        }
    }

    /// A refusal is written down with the id by which a person may overrule it, and then told.
    pub(crate) async fn refused(&self, who: &Who, mut report: Report) -> TurnError {
        if report.action == Action::Refused {
            let findings = &self.kept.findings;
            report.id = findings.add(report.text_sha256(), Instant::now());
        }
        match self.found(who, Outcome::Denied, report.event()).await {
            Ok(()) => TurnError::Guarded(Box::new(report)),
            Err(error) => error,
        }
    }

    /// A notice in the place of a result that holds a secret: what a provider hears has left the house.
    pub(crate) async fn withhold_secret(
        &self,
        text: &Untrusted,
        asking: Asking<'_>,
    ) -> Result<Option<Untrusted>, TurnError> {
        let raw = text.reveal_untrusted();
        let Some(leak) = self.kept.known.current().find(raw) else {
            return Ok(None);
        };
        let event = leaked(&leak, Channel::Tool, "withheld", raw.as_bytes());
        self.found(asking.who, Outcome::Denied, event).await?;
        Ok(Some(Untrusted::new(WITHHELD)))
    }
}

pub(crate) fn leaked(leak: &Leak, channel: Channel, action: &str, text: &[u8]) -> Event {
    Event::GuardFinding {
        channel,
        action: action.to_owned(),
        score: 1.0,
        findings: vec![leak.rule()],
        text_sha256: clawdbot_domain::sha256_hex(text),
        id: None,
    }
}
