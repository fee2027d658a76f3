//! What comes in is looked at before the model sees it.

use crate::act::{Asking, Refusal};
use crate::agent::Agent;
use crate::error::TurnError;
use crate::step::{Emitter, Step};
use crate::turn::{Question, Said};
use clawdbot_domain::{Channel, Outcome, Untrusted};
use clawdbot_guard::{Looked, Report};
use clawdbot_providers::{Message, ProposedCall};

impl Agent {
    pub(crate) async fn screen_all(
        &self,
        question: &Question,
        emit: &Emitter,
    ) -> Result<Vec<Message>, TurnError> {
        if !question
            .said
            .iter()
            .any(|said| matches!(said, Said::User(_)))
        {
            return Err(TurnError::Question("there is no user message to answer"));
        }
        let mut messages = Vec::with_capacity(question.said.len());
        for said in question.said.iter() {
            let (text, channel) = match said {
                Said::System(text) | Said::User(text) => (text, Channel::User),
                Said::Assistant(text) => (text, Channel::Model),
            };
            let looked = self.guard.screen_allowing(text, channel, &question.allowed);
            let finding = match &looked {
                Ok((_, report)) => report.as_ref().map(Report::public),
                Err(refusal) => Some(refusal.report().public()),
            };
            emit.step(Step::Screened {
                channel,
                bytes: text.len(),
                finding,
            });
            // What was allowed was written down when the whole request was looked at.
            let screened = match looked {
                Ok((screened, _)) => screened,
                Err(refusal) => {
                    return Err(self.refused(&question.who, refusal.into_report()).await);
                }
            };
            messages.push(match said {
                Said::System(_) | Said::User(_) => Message::User(screened),
                Said::Assistant(_) => Message::Assistant {
                    text: Some(screened),
                    calls: Vec::new(),
                },
            });
        }
        Ok(messages)
    }

    /// Looks at what came from outside, and writes down what was found.
    pub(crate) async fn look_at(
        &self,
        text: &Untrusted,
        asking: Asking<'_>,
        emit: &Emitter,
    ) -> Result<Looked, TurnError> {
        let looked = self.guard.screen_untrusted(text, asking.boundary);
        let finding = looked.report.as_ref().map(Report::public);
        emit.step(Step::Screened {
            channel: Channel::Tool,
            bytes: text.len(),
            finding,
        });
        if let Some(report) = &looked.report {
            self.found(asking.who, Outcome::Denied, report.event())
                .await?;
        }
        Ok(looked)
    }

    /// The model hears why; the commands that would change it are for the person only.
    pub(crate) fn tell_refusal(
        &self,
        proposed: &ProposedCall,
        refusal: &Refusal,
        boundary: &str,
    ) -> Message {
        // The reason quotes what the model wrote, so it is no operator text.
        let reason = Untrusted::new(refusal.reason());
        let result = self.guard.screen_untrusted(&reason, boundary).text;
        // A malformed call was not taken back into the conversation, so it has no result either.
        if refusal.is_invalid() {
            return Message::User(result);
        }
        Message::ToolResult {
            call_id: proposed.id.clone(),
            result,
            is_error: true,
        }
    }
}

pub(crate) fn guarded(refusal: clawdbot_guard::Refusal) -> TurnError {
    TurnError::Guarded(Box::new(refusal.into_report()))
}
