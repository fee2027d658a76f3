//! Anthropic's messages.

mod ask;
mod listen;

pub(crate) use ask::body;
pub(crate) use listen::Listener;
