//! A call that a person must say yes to: written down, then asked.

use crate::act::{Acted, Asking, Refusal};
use crate::agent::Agent;
use crate::error::TurnError;
use crate::step::{Emitter, Step};
use clawdbot_domain::{
    Approval, ApprovalId, Event, Outcome, Principal, Taint, TurnId, UnixTime, Who,
};
use clawdbot_policy::{Ask, RuleSaid, Verdict};
use clawdbot_providers::ProposedCall;
use clawdbot_sessions::{ApprovalInfo, ApprovalState, Decided, Request, Session, SessionError};

/// The rule that speaks for a person.
const APPROVAL: &str = "approval";

/// One tool call by hand.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Who asks, as authenticated.
    pub principal: Principal,
    /// Who it is about, for the record. Its session is that of `session`.
    pub who: Who,
    /// The session it belongs to, if it belongs to one.
    pub session: Option<Session>,
    /// The call.
    pub call: ProposedCall,
    /// The approval it presents.
    pub approval: Option<ApprovalId>,
}

impl Agent {
    /// One tool call by hand: the same road a model's call takes.
    pub async fn invoke(
        &self,
        invocation: &Invocation,
        emit: &Emitter,
    ) -> Result<Acted, TurnError> {
        let Invocation {
            principal,
            who,
            session,
            call,
            approval,
        } = invocation;
        let boundary = crate::turn::boundary(who);
        let taint = session.as_ref().map_or(Taint::Clean, |s| s.taint);
        let mut asking = Asking {
            principal,
            who,
            taint,
            boundary: &boundary,
            canary: None,
            named_hosts: &[],
            approval: None,
        };
        let mut acted = self.act(call, asking, &self.policy, emit).await?;
        if let Acted::Asks(ask) = acted {
            let Some(id) = approval else {
                return self.ask_person(ask, asking, None, emit).await;
            };
            let given = match self.spend(id, &ask, asking).await {
                Ok(given) => given,
                Err(TurnError::Session(SessionError::NotSo {
                    state: ApprovalState::Waiting,
                    ..
                })) => {
                    return self.still_waits(id, asking).await;
                }
                Err(error) => return self.misused(id, asking, error).await,
            };
            asking.approval = Some(&given);
            acted = self.act(call, asking, &self.policy, emit).await?;
        }
        if let (Acted::Ran { taint, .. }, Some(session)) = (&acted, session) {
            let (id, taint) = (session.id.clone(), *taint);
            if taint != session.taint {
                self.in_store(move |store| store.worsen(&id, taint)).await?;
            }
        }
        Ok(acted)
    }

    /// Asks a person: written down, then durable, then told. A turn that is given in words waits with it.
    pub(crate) async fn ask_person(
        &self,
        ask: Box<Ask>,
        asking: Asking<'_>,
        turn: Option<(TurnId, String)>,
        emit: &Emitter,
    ) -> Result<Acted, TurnError> {
        let arguments = ask.arguments_in_record();
        let rules = ask.explanation().in_short();
        let against = ask.explanation().against().into_iter();
        let mut against = against.cloned().collect::<Vec<RuleSaid>>();
        let request = Request {
            reasons: against.iter().map(|rule| rule.why.clone()).collect(),
            turn: turn.as_ref().map(|(id, _)| id.clone()),
            ..request(&ask, asking)
        };
        let now = UnixTime::now();
        let (alike, is_turn) = (request.clone(), turn.is_some());
        let before = self.in_store(move |store| store.alike(&alike, now)).await?;
        match before {
            Some(before) if before.state == ApprovalState::Denied => {
                // Asking again until somebody is tired of it is no way to a yes.
                against.push(person_said_no(&before.id));
                let (call, event) = (ask.call(), ask.event());
                let tool = call.name.to_string();
                return self.refuse(tool, event, against, asking, emit).await;
            }
            // By hand, the same call waits once however often it is made; a turn waits for itself.
            Some(before) if !is_turn && before.turn.is_none() => {
                return Ok(Acted::Waits(Box::new(before)));
            }
            Some(_) | None => {}
        }
        let asked = self
            .in_store(move |store| store.draft(request, now))
            .await?;
        let event = Event::ApprovalRequested {
            approval: asked.id.clone(),
            tool: asked.tool.clone(),
            effect: asked.effect,
            rules,
            arguments,
            arguments_sha256: asked.arguments_sha256.clone(),
            turn: asked.turn.clone(),
            expires: asked.expires.to_string(),
        };
        let record = self
            .recorder
            .note(asking.who.clone(), Outcome::Begin, event)
            .await?;
        let keeping = asked.clone();
        let body = turn.map(|(_, body)| body);
        let kept = self
            .in_store(move |store| store.ask(&keeping, body.as_deref(), now))
            .await;
        match kept {
            Ok(()) => {}
            Err(TurnError::Session(
                full @ (SessionError::TooManyWaiting(_) | SessionError::NoRoomToWait),
            )) => {
                against.push(RuleSaid {
                    rule: APPROVAL,
                    verdict: Verdict::Deny,
                    why: full.to_string(),
                    remedy: Some("clawdbot approvals list".to_owned()),
                });
                let (tool, event) = (ask.call().name.to_string(), ask.event());
                return self.refuse(tool, event, against, asking, emit).await;
            }
            Err(error) => return Err(error),
        }
        self.kept.counts.call(Some(asked.tool.as_str()), "ask");
        emit.step(Step::Waits {
            turn: asked.turn.clone(),
            approval: asked.id.clone(),
            tool: asked.tool.to_string(),
            arguments: asked.shown(),
            reasons: asked.reasons.clone(),
            expires: asked.expires.to_string(),
            record,
        });
        Ok(Acted::Waits(Box::new(asked)))
    }

    /// A call of a turn whose approval was decided.
    pub(crate) async fn act_decided(
        &self,
        call: &ProposedCall,
        decided: &Decided,
        asking: Asking<'_>,
        emit: &Emitter,
    ) -> Result<Acted, TurnError> {
        let rule = match decided {
            Decided::Given(approval) => {
                let asking = Asking {
                    approval: Some(approval),
                    ..asking
                };
                return self.act(call, asking, &self.own_policy, emit).await;
            }
            Decided::Denied => no("a person said no to this very call"),
            Decided::Expired => no("nobody approved it within five minutes"),
        };
        let event = Event::ToolDenied {
            tool: call.name.clone(),
            effect: None,
            rules: vec![format!("{APPROVAL}=deny")],
            arguments_sha256: clawdbot_domain::sha256_hex(call.arguments.as_bytes()),
        };
        self.refuse(call.name.clone(), event, vec![rule], asking, emit)
            .await
    }

    async fn spend(
        &self,
        id: &ApprovalId,
        ask: &Ask,
        asking: Asking<'_>,
    ) -> Result<Approval, TurnError> {
        let (id, request) = (id.clone(), request(ask, asking));
        self.in_store(move |store| store.spend(&id, &request, UnixTime::now()))
            .await
    }

    async fn still_waits(&self, id: &ApprovalId, asking: Asking<'_>) -> Result<Acted, TurnError> {
        let (id, token) = (id.clone(), asking.principal.token.clone());
        let found: ApprovalInfo = self
            .in_store(move |store| store.approval(Some(&token), &id, UnixTime::now()))
            .await?;
        Ok(Acted::Waits(Box::new(found)))
    }

    /// An approval that does not fit is written down: somebody tried.
    async fn misused(
        &self,
        id: &ApprovalId,
        asking: Asking<'_>,
        error: TurnError,
    ) -> Result<Acted, TurnError> {
        if let TurnError::Session(why) = &error {
            let event = Event::ApprovalRefused {
                approval: id.as_str().chars().take(64).collect(),
                reason: why.to_string(),
            };
            let noted = self
                .recorder
                .note(asking.who.clone(), Outcome::Denied, event);
            noted.await?;
        }
        Err(error)
    }
}

fn request(ask: &Ask, asking: Asking<'_>) -> Request {
    Request {
        token: asking.principal.token.clone(),
        session: asking.who.session.clone(),
        turn: None,
        call: ask.call().clone(),
        reasons: Vec::new(),
    }
}

fn no(why: &str) -> RuleSaid {
    RuleSaid {
        rule: APPROVAL,
        verdict: Verdict::Deny,
        why: why.to_owned(),
        remedy: None,
    }
}

fn person_said_no(id: &ApprovalId) -> RuleSaid {
    no(&format!("a person said no to this very call ({id})"))
}

impl Refusal {
    /// True when a person, or the want of one, stands in the way.
    pub fn was_denied_by_a_person(&self) -> bool {
        let mut by = self.rules.iter();
        by.any(|rule| rule.rule == APPROVAL && rule.verdict == Verdict::Deny)
    }
}
