//! How far one turn may go.

use std::time::Duration;

/// The caps of one turn. A model that asks for tools for ever ends here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// How often the model is asked.
    pub steps: u32,
    /// How many tool calls are looked at, refused ones included.
    pub tool_calls: u32,
    /// How long the whole turn may take.
    pub wall: Duration,
    /// Upper bound of one reply, in tokens.
    pub reply_tokens: u32,
    /// Upper bound of the text of one reply, in bytes.
    pub reply_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            steps: 12,
            tool_calls: 32,
            wall: Duration::from_secs(300),
            reply_tokens: 4096,
            reply_bytes: 1 << 20,
        }
    }
}

/// Which cap was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Spent {
    /// The model was asked often enough.
    #[error("the model was asked {0} times")]
    Steps(u32),
    /// Enough tool calls.
    #[error("the model asked for more than {0} tool calls")]
    ToolCalls(u32),
    /// Enough time.
    #[error("the turn took longer than {} s", .0.as_secs())]
    Wall(Duration),
    /// Too much text.
    #[error("the model's reply is longer than {0} bytes")]
    ReplyBytes(usize),
}
