//! A turn that waits for a person: put into words that can be kept, and taken up again.
//!
//! Nothing that was screened is kept as screened: whoever could write the file would make it so. What is
//! taken up again is looked at again, by the guard as it is then.

use crate::agent::Agent;
use crate::error::TurnError;
use crate::turn::{Question, Turn};
use clawdbot_domain::{Channel, Provenance, Taint, Untrusted, Usage};
use clawdbot_guard::Screened;
use clawdbot_providers::{Message, ProposedCall};
use clawdbot_sessions::Resumed;
use serde::{Deserialize, Serialize};

/// Raised with every change of the form; a turn in another form is not taken up.
const FORM: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Kept {
    form: u32,
    messages: Vec<KeptMessage>,
    /// Not answered yet; the first is what the person is asked about.
    calls: Vec<KeptCall>,
    taint: Taint,
    steps: u32,
    calls_seen: u32,
    input_tokens: u64,
    output_tokens: u64,
    max_tokens: Option<u32>,
    /// Hosts that people named.
    hosts: Vec<String>,
}

#[derive(Serialize, Deserialize)]
enum KeptMessage {
    User(String),
    /// Told as the user's turn, but not the user's words.
    Data(String),
    Assistant {
        text: Option<String>,
        untrusted: bool,
        calls: Vec<KeptCall>,
    },
    Result {
        id: String,
        data: String,
        is_error: bool,
    },
}

#[derive(Serialize, Deserialize)]
struct KeptCall {
    id: String,
    name: String,
    arguments: String,
}

impl From<&ProposedCall> for KeptCall {
    fn from(call: &ProposedCall) -> Self {
        Self {
            id: call.id.clone(),
            name: call.name.clone(),
            arguments: call.arguments.clone(),
        }
    }
}

impl KeptMessage {
    fn of(message: &Message) -> Self {
        match message {
            Message::User(text) if text.provenance() == Provenance::Untrusted => {
                Self::Data(text.inner().to_owned())
            }
            Message::User(text) => Self::User(text.as_str().to_owned()),
            Message::Assistant { text, calls } => Self::Assistant {
                text: text.as_ref().map(|text| text.inner().to_owned()),
                untrusted: text
                    .as_ref()
                    .is_some_and(|text| text.provenance() == Provenance::Untrusted),
                calls: calls
                    .iter()
                    .map(|call| KeptCall {
                        id: call.id.clone(),
                        name: call.name.to_string(),
                        arguments: call.canonical_arguments(),
                    })
                    .collect(),
            },
            Message::ToolResult {
                call_id,
                result,
                is_error,
            } => Self::Result {
                id: call_id.clone(),
                data: result.inner().to_owned(),
                is_error: *is_error,
            },
        }
    }
}

impl Turn {
    /// The turn in words, with the calls it has still to answer.
    pub(crate) fn keep<'a>(&self, calls: impl Iterator<Item = &'a ProposedCall>) -> String {
        let kept = Kept {
            form: FORM,
            messages: self.messages.iter().map(KeptMessage::of).collect(),
            calls: calls.map(KeptCall::from).collect(),
            taint: self.taint,
            steps: self.steps,
            calls_seen: self.calls_seen,
            input_tokens: self.usage.input_tokens,
            output_tokens: self.usage.output_tokens,
            max_tokens: self.question.max_tokens,
            hosts: self.named_hosts.clone(),
        };
        serde_json::to_string(&kept).unwrap_or_default()
    }
}

impl Agent {
    /// A turn as it was, and the calls it has still to answer.
    pub(crate) fn wake(
        &self,
        mut question: Question,
        resumed: &Resumed,
    ) -> Result<(Turn, Vec<ProposedCall>), TurnError> {
        let changed = TurnError::Question(
            "the turn was kept by another version, or a tool is gone; ask again",
        );
        let kept = serde_json::from_str::<Kept>(&resumed.body).ok();
        let Some(kept) = kept.filter(|kept| kept.form == FORM) else {
            return Err(changed);
        };
        question.max_tokens = kept.max_tokens;
        let mut turn = self.new_turn(question, Vec::new());
        turn.taint = turn.taint.and(kept.taint);
        turn.named_hosts = kept.hosts;
        (turn.steps, turn.calls_seen) = (kept.steps, kept.calls_seen);
        turn.usage = Usage {
            input_tokens: kept.input_tokens,
            output_tokens: kept.output_tokens,
        };
        for message in kept.messages {
            let Some(message) = self.screen_again(message, &turn.boundary)? else {
                return Err(changed);
            };
            turn.messages.push(message);
        }
        let calls = kept.calls.into_iter().map(|call| ProposedCall {
            id: call.id,
            name: call.name,
            arguments: call.arguments,
        });
        Ok((turn, calls.collect()))
    }

    /// `None` when it holds a call of a tool that is no more.
    fn screen_again(
        &self,
        message: KeptMessage,
        boundary: &str,
    ) -> Result<Option<Message>, TurnError> {
        let data = |text: String| -> Screened {
            let looked = self.guard.screen_untrusted(&Untrusted::new(text), boundary);
            looked.text
        };
        Ok(Some(match message {
            KeptMessage::User(text) => {
                let screened = self.guard.screen(&text, Channel::User);
                Message::User(
                    screened.map_err(|found| TurnError::Guarded(Box::new(found.into_report())))?,
                )
            }
            KeptMessage::Data(text) => Message::User(data(text)),
            KeptMessage::Assistant {
                text,
                untrusted,
                calls,
            } => {
                let whole = calls.len();
                let calls = calls
                    .iter()
                    .filter_map(|c| self.toolbox.validate(&c.id, &c.name, &c.arguments).ok());
                let calls = calls.collect::<Vec<_>>();
                if calls.len() != whole {
                    return Ok(None);
                }
                let text = text.map(|text| match self.guard.screen(&text, Channel::Model) {
                    Ok(screened) if !untrusted => screened,
                    Ok(_) | Err(_) => data(text),
                });
                Message::Assistant { text, calls }
            }
            KeptMessage::Result {
                id: call_id,
                data: text,
                is_error,
            } => Message::ToolResult {
                call_id,
                result: data(text),
                is_error,
            },
        }))
    }
}
