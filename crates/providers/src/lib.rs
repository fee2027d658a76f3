//! Speak to models.
//!
//! A provider is given only what was screened and written down ([`Recorded`]), and hands back what
//! the model said: text, and tool calls that are whole. It sees neither tools nor policy.

mod anthropic;
mod call;
mod connect;
mod demo;
mod directory;
mod ending;
mod listening;
mod openai;
mod outbound;
mod reader;
mod relaying;
mod remote;
mod reply;
mod retry;
mod sse;
mod tail;
#[cfg(test)]
mod tests;
mod upstream;

pub use call::{Message, ModelCall, RelayCall};
pub use connect::{BadBaseUrl, Credentials, ProviderSettings, Timeouts, connect};
pub use demo::demo;
pub use directory::{Directory, NoProvider, Picked};
pub use outbound::{Note, Unseen, Watch};
pub use reply::{
    Finish, Models, ProposedCall, ProviderError, RelayBody, Relayed, Reply, ReplyEvent, ReplyStream,
};

use clawdbot_audit::Recorded;
use clawdbot_domain::{Protocol, ProviderName};
use std::{future::Future, pin::Pin};

/// A boxed future: the trait is used as an object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One model provider.
pub trait Provider: Send + Sync {
    /// Its name.
    fn name(&self) -> ProviderName;

    /// True when it can relay a request in this dialect unchanged.
    fn speaks(&self, protocol: Protocol) -> bool;

    /// Asks the model for a reply in our own words; used by agent turns.
    ///
    /// The stream yields text as it comes, and tool calls only after the whole reply has ended well:
    /// a reply that is cut anywhere yields an error and no call. The end record is written when the
    /// stream ends or is dropped.
    fn reply(&self, call: Recorded<ModelCall>) -> BoxFuture<'_, Result<Reply, ProviderError>>;

    /// Sends a client's own request on unchanged and streams the answer back unchanged.
    fn relay(&self, call: Recorded<RelayCall>) -> BoxFuture<'_, Result<Relayed, ProviderError>>;

    /// Lists the models it offers; also the probe of `models status --probe`.
    fn models(&self) -> BoxFuture<'_, Result<Models, ProviderError>>;
}
