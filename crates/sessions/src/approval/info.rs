//! What an approval is, and what people see of it.

use super::APPROVAL_LASTS;
use clawdbot_domain::{
    ApprovalId, ApprovedCall, Effect, Event, SessionId, TokenId, ToolCall, ToolName, TurnId,
    UnixTime,
};

/// What became of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalState {
    /// A person is asked.
    Waiting,
    /// A person said yes, and the call has not been made.
    Given,
    /// A person said no.
    Denied,
    /// The call was made.
    Spent,
    /// Five minutes have passed.
    Expired,
    /// Its session or turn was ended.
    Void,
}

impl ApprovalState {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Given => "given",
            Self::Denied => "denied",
            Self::Spent => "spent",
            Self::Expired => "expired",
            Self::Void => "void",
        }
    }

    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Waiting => "is not decided yet",
            Self::Given => "is given already",
            Self::Denied => "was denied",
            Self::Spent => "is spent: it counted for one call",
            Self::Expired => "is over: it counted for five minutes",
            Self::Void => "is void: its session or turn was ended",
        }
    }

    /// What is no state of ours permits nothing.
    pub(super) fn parse(text: &str) -> Self {
        let all = [
            Self::Waiting,
            Self::Given,
            Self::Denied,
            Self::Spent,
            Self::Expired,
        ];
        let found = all.into_iter().find(|state| state.as_str() == text);
        found.unwrap_or(Self::Void)
    }
}

/// What a person is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose call it is.
    pub token: TokenId,
    /// In which session.
    pub session: Option<SessionId>,
    /// Of which turn.
    pub turn: Option<TurnId>,
    /// The call.
    pub call: ToolCall,
    /// Why a person is asked.
    pub reasons: Vec<String>,
}

/// An approval, as people look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalInfo {
    /// Its id.
    pub id: ApprovalId,
    /// Whose call it is.
    pub token: TokenId,
    /// In which session.
    pub session: Option<SessionId>,
    /// Of which turn.
    pub turn: Option<TurnId>,
    /// Of which tool.
    pub tool: ToolName,
    /// What the tool does to the world.
    pub effect: Effect,
    /// The whole arguments, canonical JSON.
    pub arguments: String,
    /// Their SHA-256 in hex.
    pub arguments_sha256: String,
    /// Why a person is asked.
    pub reasons: Vec<String>,
    /// When it was asked for.
    pub created: UnixTime,
    /// From when on it no longer counts.
    pub expires: UnixTime,
    /// What became of it.
    pub state: ApprovalState,
    /// Who decided.
    pub decided_by: Option<String>,
}

impl ApprovalInfo {
    /// As it is written down when a person decides; `always` when the yes is for good.
    pub fn decided_event(&self, given: bool, always: bool) -> Event {
        let (approval, tool) = (self.id.clone(), self.tool.clone());
        let arguments_sha256 = self.arguments_sha256.clone();
        let requested_by = self.token.clone();
        if given {
            Event::ApprovalGiven {
                approval,
                tool,
                arguments_sha256,
                requested_by,
                always,
            }
        } else {
            Event::ApprovalDenied {
                approval,
                tool,
                arguments_sha256,
                requested_by,
            }
        }
    }

    /// The whole arguments as a person must see them: still JSON of the same value, but every character
    /// that a screen hides, reorders or obeys is written out.
    pub fn shown(&self) -> String {
        clawdbot_domain::shown(&self.arguments)
    }

    /// The same call of the same token, to be approved for good; none when what is kept is no call.
    pub fn for_good(&self) -> Option<ApprovedCall> {
        ApprovedCall::of_text(&self.tool, &self.arguments, &self.token)
    }

    /// Letters that are not ASCII, each once: `а` is not `a`.
    pub fn foreign_letters(&self) -> Vec<char> {
        clawdbot_domain::foreign_letters(&self.arguments)
    }

    pub(super) fn of(request: Request, id: ApprovalId, now: UnixTime) -> Self {
        Self {
            id,
            token: request.token,
            session: request.session,
            turn: request.turn,
            arguments: request.call.canonical_arguments(),
            arguments_sha256: request.call.arguments_sha256(),
            tool: request.call.name,
            effect: request.call.effect,
            reasons: request.reasons,
            created: now,
            expires: now.plus(APPROVAL_LASTS),
            state: ApprovalState::Waiting,
            decided_by: None,
        }
    }
}
