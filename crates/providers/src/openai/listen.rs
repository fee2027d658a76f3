//! Chat completion chunks → our words.

use crate::reader::{CALLS, Draft, Ended, Reader, ended, refusal, whole};
use crate::sse::{Broken, SseEvent};
use crate::{Finish, ReplyEvent};
use clawdbot_domain::Usage;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Used>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Used {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Fragment>>,
}

#[derive(Deserialize)]
struct Fragment {
    #[serde(default)]
    index: Option<usize>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<String>,
}

/// Listens to one reply.
#[derive(Default)]
pub(crate) struct Listener {
    drafts: BTreeMap<usize, Draft>,
    finish: Option<Finish>,
    usage: Usage,
    over: bool,
}

impl Reader for Listener {
    fn take(&mut self, event: SseEvent<'_>, out: &mut Vec<ReplyEvent>) -> Result<(), Broken> {
        if self.over {
            return Ok(());
        }
        if event.data.trim() == "[DONE]" {
            self.over = true;
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_str(event.data)
            .map_err(|e| Broken::new(format!("a chunk is not a chat completion chunk: {e}")))?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(refusal(&error));
        }
        if let Some(used) = chunk.usage {
            self.usage.input_tokens = used.prompt_tokens.unwrap_or_default();
            self.usage.output_tokens = used.completion_tokens.unwrap_or_default();
        }
        // One reply was asked for; another choice beside it is nothing we could tell apart later.
        let first = |choice: &Choice| choice.index.unwrap_or(0) == 0;
        chunk
            .choices
            .into_iter()
            .filter(first)
            .try_for_each(|choice| self.choice(choice, out))
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn finish(&mut self, clean: bool) -> Result<Option<Ended>, Broken> {
        match self.finish {
            Some(finish) if self.over || clean => {
                let calls = whole(std::mem::take(&mut self.drafts).into_iter())?;
                Ok(Some(ended(finish, calls, self.usage)))
            }
            // `[DONE]` with no finish reason: the server gave up half-way and was polite about it.
            Some(_) | None => Ok(None),
        }
    }
}

impl Listener {
    fn choice(&mut self, choice: Choice, out: &mut Vec<ReplyEvent>) -> Result<(), Broken> {
        if let Some(delta) = choice.delta {
            for text in [delta.content, delta.refusal].into_iter().flatten() {
                self.text(text, out)?;
            }
            for fragment in delta.tool_calls.unwrap_or_default() {
                self.fragment(fragment)?;
            }
        }
        if let Some(reason) = choice.finish_reason {
            let finish = finish_of(&reason);
            if self.finish.is_some_and(|earlier| earlier != finish) {
                return Err(Broken::new(
                    "the reply finished twice, for different reasons",
                ));
            }
            self.finish = Some(finish);
        }
        Ok(())
    }

    fn text(&self, text: String, out: &mut Vec<ReplyEvent>) -> Result<(), Broken> {
        if text.is_empty() {
            return Ok(());
        }
        if self.finish.is_some() {
            return Err(Broken::new("text after the reply had finished"));
        }
        out.push(ReplyEvent::Text(text));
        Ok(())
    }

    fn fragment(&mut self, fragment: Fragment) -> Result<(), Broken> {
        if self.finish.is_some() {
            return Err(Broken::new("a tool call after the reply had finished"));
        }
        let id = fragment.id.unwrap_or_default();
        let index = fragment.index.unwrap_or_else(|| self.index_by_id(&id));
        if index >= CALLS {
            return Err(Broken::new("more tool calls than one reply may hold"));
        }
        let draft = self.drafts.entry(index).or_default();
        let function = fragment.function;
        let (name, arguments) = function.map_or((None, None), |f| (f.name, f.arguments));
        draft.is(&id, name.as_deref().unwrap_or_default())?;
        draft.add(arguments.as_deref().unwrap_or_default())
    }

    /// Some servers leave the index out: a new id begins a new call, none goes on with the last.
    fn index_by_id(&self, id: &str) -> usize {
        let last = self.drafts.last_key_value();
        match last {
            None => 0,
            Some((&index, _)) if id.is_empty() => index,
            Some((&last, _)) => {
                let known = self.drafts.iter().find(|(_, draft)| draft.id == id);
                known.map_or(last + 1, |(&index, _)| index)
            }
        }
    }
}

/// A reason nobody knows is no licence to act: it counts as a filter, which yields no calls.
fn finish_of(reason: &str) -> Finish {
    match reason {
        "stop" | "eos" | "end_turn" => Finish::Stop,
        "tool_calls" | "function_call" | "tool_use" => Finish::ToolCalls,
        "length" | "max_tokens" => Finish::Length,
        _ => Finish::Filtered,
    }
}
