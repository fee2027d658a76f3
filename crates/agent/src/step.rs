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
