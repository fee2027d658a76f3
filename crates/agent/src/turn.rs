//! What a turn is asked, what it holds while it runs, and how it ends well.

use crate::act::{Asking, Refusal};
use crate::step::Emitter;
use crate::way_out::{self, Canary};
use clawdbot_domain::{Principal, Taint, TurnId, Usage, Who};
use clawdbot_guard::{Allowed, Outward};
use clawdbot_providers::{Finish, Message, Provider};
use clawdbot_sessions::{ApprovalInfo, Resumed, Session};
use std::sync::Arc;

/// One message as a client sent it; nobody has looked at it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Instructions of the client, which is a user to us.
    System(String),
    /// What the user said.
    User(String),
    /// What the model said in an earlier turn.
    Assistant(String),
}

/// What a turn is asked.
pub struct Question {
    /// Who asks, as authenticated.
    pub principal: Principal,
    /// Who it is about, for the record.
    pub who: Who,
    /// Whom to ask.
    pub provider: Arc<dyn Provider>,
    /// Which of its models.
    pub model: String,
    /// The conversation so far.
    pub said: Arc<[Said]>,
    /// The session it goes on in (see [`Agent::session`]).
    pub session: Session,
    /// The client's own cap on a reply, in tokens.
    pub max_tokens: Option<u32>,
    /// Texts that a person wants sent although the guard finds something in them.
    pub allowed: Allowed,
    /// The name of the turn.
    pub turn: TurnId,
    /// A turn that waited and goes on, in place of a new one.
    pub resumes: Option<Box<Resumed>>,
}

/// How a turn ended well.
#[derive(Debug)]
pub struct Answer {
    /// The whole text, which was also emitted piece by piece.
    pub text: String,
    /// Why the model stopped.
    pub finish: Finish,
    /// The sum over all steps.
    pub usage: Usage,
    /// What the turn waits for; the text says so too.
    pub waits: Option<Box<ApprovalInfo>>,
}

/// The state of one turn.
pub(crate) struct Turn {
    pub(crate) question: Question,
    pub(crate) messages: Vec<Message>,
    pub(crate) taint: Taint,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) steps: u32,
    pub(crate) calls_seen: u32,
    pub(crate) text: String,
    pub(crate) usage: Usage,
    pub(crate) boundary: String,
    pub(crate) canary: Canary,
    pub(crate) named_hosts: Vec<String>,
}

impl Turn {
    pub(crate) fn asking(&self) -> Asking<'_> {
        Asking {
            principal: &self.question.principal,
            who: &self.question.who,
            taint: self.taint,
            boundary: &self.boundary,
            canary: Some(&self.canary),
            named_hosts: &self.named_hosts,
            approval: None,
        }
    }

    pub(crate) fn say(&mut self, text: &str, emit: &Emitter) {
        self.text.push_str(text);
        emit.text(text);
    }

    /// Whatever the model made of it, the person learns what was refused and what would allow it.
    pub(crate) fn footnote(&mut self, outward: &Outward, emit: &Emitter) {
        for refusal in std::mem::take(&mut self.refusals) {
            self.say(&way_out::note(outward, &refusal), emit);
        }
    }
}

/// What the person reads in place of the rest.
pub(crate) fn waiting_note(asked: &ApprovalInfo) -> String {
    let (id, tool) = (&asked.id, &asked.tool);
    format!(
        "\n\n[clawdbot] {tool} waits for a person until {}: {}.\n\
         To look at it: clawdbot approvals show {id}\nTo approve it: clawdbot approvals approve {id}",
        asked.expires,
        // Policy's own words: what the model wrote is shown where a person decides, and not here.
        asked.reasons.join("; ")
    )
}

/// Marks untrusted data for the model. Taken from the request's id, which is random and unknown to
/// whoever wrote the data.
pub(crate) fn boundary(who: &Who) -> String {
    who.request
        .as_ref()
        .map_or_else(|| "data".to_owned(), |id| id.as_str().to_owned())
}
