//! Message events → our words.

use crate::reader::{CALLS, Draft, Ended, Reader, ended, refusal, whole};
use crate::sse::{Broken, SseEvent};
use crate::{Finish, ReplyEvent};
use clawdbot_domain::Usage;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    MessageStart {
        message: Begun,
    },
    ContentBlockStart {
        index: usize,
        content_block: Block,
    },
    ContentBlockDelta {
        index: usize,
        delta: Delta,
    },
    ContentBlockStop {
        index: usize,
    },
    MessageDelta {
        delta: Stopped,
        #[serde(default)]
        usage: Option<Used>,
    },
    MessageStop,
    Error {
        error: Value,
    },
    /// `ping`, and what is to come.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Begun {
    #[serde(default)]
    usage: Option<Used>,
}

#[derive(Deserialize)]
struct Used {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        #[serde(default)]
        text: String,
    },
    ToolUse {
        id: String,
        name: String,
        #[serde(default)]
        input: Value,
    },
    /// Thinking, and what is to come: nothing anyone acts on.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Stopped {
    #[serde(default)]
    stop_reason: Option<String>,
}

enum State {
    Text,
    Call(Draft, Value),
    Ignored,
}

/// Listens to one reply.
#[derive(Default)]
pub(crate) struct Listener {
    begun: bool,
    /// Blocks that are being said; almost always one.
    open: BTreeMap<usize, State>,
    /// Indexes that were opened, so that none is opened twice.
    opened: usize,
    whole: BTreeMap<usize, Draft>,
    finish: Option<Finish>,
    usage: Usage,
    over: bool,
}

impl Reader for Listener {
    fn take(&mut self, event: SseEvent<'_>, out: &mut Vec<ReplyEvent>) -> Result<(), Broken> {
        if self.over {
            return Ok(());
        }
        let said: Said = serde_json::from_str(event.data)
            .map_err(|e| Broken::new(format!("an event is not a message event: {e}")))?;
        match said {
            Said::MessageStart { message } => self.start(message),
            Said::ContentBlockStart {
                index,
                content_block,
            } => self.open_block(index, content_block, out),
            Said::ContentBlockDelta { index, delta } => self.delta(index, delta, out),
            Said::ContentBlockStop { index } => self.close_block(index),
            Said::MessageDelta { delta, usage } => self.stopped(delta, usage),
            Said::MessageStop => self.stop(),
            Said::Error { error } => Err(refusal(&error)),
            Said::Other => Ok(()),
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn finish(&mut self, _clean: bool) -> Result<Option<Ended>, Broken> {
        match self.finish {
            // Only `message_stop` says that this was all; a well-framed end without it is a cut.
            Some(finish) if self.over => {
                let calls = whole(std::mem::take(&mut self.whole).into_iter())?;
                Ok(Some(ended(finish, calls, self.usage)))
            }
            Some(_) | None => Ok(None),
        }
    }
}

impl Listener {
    fn start(&mut self, message: Begun) -> Result<(), Broken> {
        if std::mem::replace(&mut self.begun, true) {
            return Err(Broken::new("the message began twice"));
        }
        self.count(message.usage);
        Ok(())
    }

    fn count(&mut self, used: Option<Used>) {
        if let Some(used) = used {
            // Later counts are totals, so they replace earlier ones.
            self.usage.input_tokens = used.input_tokens.unwrap_or(self.usage.input_tokens);
            self.usage.output_tokens = used.output_tokens.unwrap_or(self.usage.output_tokens);
        }
    }

    fn open_block(
        &mut self,
        index: usize,
        block: Block,
        out: &mut Vec<ReplyEvent>,
    ) -> Result<(), Broken> {
        // Blocks are numbered in order: anything else is a block lost or told twice.
        if !self.begun || self.finish.is_some() || index != self.opened {
            return Err(Broken::new("a content block began out of turn"));
        }
        self.opened += 1;
        let state = match block {
            Block::Text { text } => {
                say(text, out);
                State::Text
            }
            Block::ToolUse { id, name, input } => {
                if self.whole.len() + self.open.len() >= CALLS {
                    return Err(Broken::new("more tool calls than one reply may hold"));
                }
                let mut draft = Draft::default();
                draft.is(&id, &name)?;
                State::Call(draft, input)
            }
            Block::Other => State::Ignored,
        };
        self.open.insert(index, state);
        Ok(())
    }

    fn delta(
        &mut self,
        index: usize,
        delta: Delta,
        out: &mut Vec<ReplyEvent>,
    ) -> Result<(), Broken> {
        let state = self.open.get_mut(&index);
        let state =
            state.ok_or_else(|| Broken::new("a piece of a content block that is not open"))?;
        match (state, delta) {
            (State::Text, Delta::Text { text }) => {
                say(text, out);
                Ok(())
            }
            (State::Call(draft, _), Delta::InputJson { partial_json }) => draft.add(&partial_json),
            (State::Ignored, _) | (State::Text | State::Call(..), Delta::Other) => Ok(()),
            (State::Text | State::Call(..), Delta::Text { .. } | Delta::InputJson { .. }) => Err(
                Broken::new("a piece of another kind than its content block"),
            ),
        }
    }

    fn close_block(&mut self, index: usize) -> Result<(), Broken> {
        let state = self.open.remove(&index);
        match state.ok_or_else(|| Broken::new("a content block ended that is not open"))? {
            State::Call(mut draft, input) => {
                // The input may come whole with the start of the block instead of in pieces.
                if draft.arguments.is_empty() && input.is_object() {
                    draft.add(&input.to_string())?;
                }
                self.whole.insert(index, draft);
                Ok(())
            }
            State::Text | State::Ignored => Ok(()),
        }
    }

    fn stopped(&mut self, delta: Stopped, usage: Option<Used>) -> Result<(), Broken> {
        self.count(usage);
        let Some(reason) = delta.stop_reason else {
            return Ok(());
        };
        if self.finish.replace(finish_of(&reason)).is_some() {
            return Err(Broken::new("the message stopped twice"));
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Broken> {
        if self.finish.is_none() || !self.open.is_empty() {
            return Err(Broken::new("the message stopped in the middle"));
        }
        self.over = true;
        Ok(())
    }
}

fn say(text: String, out: &mut Vec<ReplyEvent>) {
    if !text.is_empty() {
        out.push(ReplyEvent::Text(text));
    }
}

/// A reason nobody knows is no licence to act: it counts as a filter, which yields no calls.
fn finish_of(reason: &str) -> Finish {
    match reason {
        "end_turn" | "stop_sequence" | "pause_turn" => Finish::Stop,
        "tool_use" => Finish::ToolCalls,
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        _ => Finish::Filtered,
    }
}
