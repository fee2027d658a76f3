//! OpenAI's chat completions, as OpenAI, OpenRouter and every compatible server speak them.

mod ask;
mod listen;

pub(crate) use ask::body;
pub(crate) use listen::Listener;
