//! What can be seen of a turn while it runs.

use clawdbot_domain::{ApprovalId, Channel, ProviderName, TurnId};
use clawdbot_policy::{RuleSaid, Verdict};
use serde::Serialize;
use tokio::sync::mpsc;

/// One thing that happened in a turn, for people who watch.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// The guard looked at a text.
    Screened {
        /// By which door it came in.
        channel: Channel,
        /// How long it is.
        bytes: usize,
        /// What was found, when something was.
        #[serde(skip_serializing_if = "Option::is_none")]
        finding: Option<String>,
    },
    /// A model is asked.
    Asked {
        /// Whom.
        provider: ProviderName,
        /// Which model.
        model: String,
        /// Number of the begin record.
        record: Option<u64>,
    },
    /// A tool call was permitted and written down.
    Permitted {
        /// Which tool.
        tool: String,
        /// With which arguments.
        arguments: String,
        /// The rules that allowed it.
        rules: Vec<String>,
        /// Number of the begin record.
        record: Option<u64>,
    },
    /// A tool call was refused.
    Refused {
        /// What was asked for; perhaps no tool at all.
        tool: String,
        /// Ask or deny.
        verdict: Verdict,
        /// The rules against it.
        rules: Vec<RuleSaid>,
        /// Number of the record.
        record: Option<u64>,
    },
    /// A tool call waits for a person, and the turn with it.
    Waits {
        /// The turn; none for a call by hand.
        #[serde(skip_serializing_if = "Option::is_none")]
        turn: Option<TurnId>,
        /// What a person is asked.
        approval: ApprovalId,
        /// Which tool.
        tool: String,
        /// The whole arguments, every hidden character written out.
        arguments: String,
        /// Why a person is asked.
        reasons: Vec<String>,
        /// From when on it is too late.
        expires: String,
        /// Number of the record.
        record: Option<u64>,
    },
    /// A running command has written something, up to its cap: without what must not leave the gateway, and
    /// without addresses that nobody listed. Whether it reads like an attack is not judged yet.
    Output {
        /// Which tool.
        tool: String,
        /// What it wrote since the last time.
        text: String,
    },
    /// A tool ran.
    Ran {
        /// Which tool.
        tool: String,
        /// The sandbox layers that held.
        layers: Vec<String>,
        /// Exit code of a command.
        #[serde(skip_serializing_if = "Option::is_none")]
        exit: Option<i32>,
        /// How much came back.
        bytes: usize,
        /// True when it failed.
        is_error: bool,
        /// True when its output was cut at its cap, and the tool ended there.
        truncated: bool,
    },
}

/// What a turn emits.
#[derive(Debug, Clone)]
pub enum Emit {
    /// A piece of the answer.
    Text(String),
    /// A step, for people who watch.
    Step(Step),
}

/// Where a turn emits to. A watcher that has gone away does not stop a turn; dropping the turn does.
#[derive(Debug, Clone)]
pub struct Emitter(mpsc::UnboundedSender<Emit>);

impl Emitter {
    /// An emitter and what it emits to. The channel needs no bound of its own: the turn is polled
    /// by whoever reads it, and what it can emit is capped by its budget.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Emit>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    pub(crate) fn text(&self, text: impl Into<String>) {
        let _ = self.0.send(Emit::Text(text.into()));
    }

    pub(crate) fn step(&self, step: Step) {
        let _ = self.0.send(Emit::Step(step));
    }
}

/// Text out of bytes that come in pieces: a character that is cut in two waits for its rest.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    rest: Vec<u8>,
}

impl Pieces {
    /// What can be read of it by now.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.rest) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            // What is no text at all is shown as such; it does not wait for anything.
            Err(error) => self.unfinished_after(error.valid_up_to()),
            Ok(text) => text.len(),
        };
        let after = self.rest.split_off(whole);
        let text = String::from_utf8_lossy(&self.rest).into_owned();
        self.rest = after;
        text
    }

    /// Where an unfinished character at the end begins, behind what is wrong in the middle.
    fn unfinished_after(&self, wrong: usize) -> usize {
        let mut at = wrong;
        loop {
            match std::str::from_utf8(self.rest.get(at..).unwrap_or_default()) {
                Ok(_) => return self.rest.len(),
                Err(error) => match error.error_len() {
                    None => return at + error.valid_up_to(),
                    Some(length) => at += error.valid_up_to() + length,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pieces;

    #[test]
    fn text_comes_out_whole_however_it_was_cut() {
        let bytes = "aé\u{1f980}b".as_bytes().to_vec();
        let odd = [&b"a\xff\xc3"[..], b"\xa9\xf0\x9f", b"z"].concat();
        for (bytes, expected) in [(bytes, "aé\u{1f980}b"), (odd, "a\u{fffd}é\u{fffd}z")] {
            for size in 1..=bytes.len() {
                let mut pieces = Pieces::default();
                let told: String = bytes.chunks(size).map(|piece| pieces.take(piece)).collect();
                assert_eq!(told, expected, "in pieces of {size}");
            }
        }
    }
}
