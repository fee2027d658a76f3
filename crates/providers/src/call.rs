//! What a model is asked.

use bytes::Bytes;
use clawdbot_domain::{
    Audited, Event, Protocol, ProviderName, ToolCall, ToolSpec, Who, hex, sha256_hex,
};
use clawdbot_guard::{Screened, ScreenedBody};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// One message of a conversation.
#[derive(Debug, Clone)]
pub enum Message {
    /// What a person or client said.
    User(Screened),
    /// What the model said, and the calls it proposed.
    Assistant {
        /// Its words, if any.
        text: Option<Screened>,
        /// Its calls, if any.
        calls: Vec<ToolCall>,
    },
    /// What a call returned.
    ToolResult {
        /// The id of the call.
        call_id: String,
        /// What came back, or why it was refused.
        result: Screened,
        /// True when the call failed or was refused.
        is_error: bool,
    },
}

/// A question in our own words.
#[derive(Debug, Clone)]
pub struct ModelCall {
    /// Who asks.
    pub who: Who,
    /// Which provider.
    pub provider: ProviderName,
    /// The provider's own name of the model.
    pub model: String,
    /// The operator's instructions.
    pub system: Option<Screened>,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// The tools the model may propose to call.
    pub tools: Arc<[ToolSpec]>,
    /// Upper bound of the reply, in tokens.
    pub max_tokens: u32,
}

impl Audited for ModelCall {
    fn event(&self) -> Event {
        let mut hash = Sha256::new();
        let mut bytes = 0;
        let mut add = |text: &str| {
            bytes += text.len();
            hash.update(text.as_bytes());
            hash.update([0]);
        };
        if let Some(system) = &self.system {
            add(system.as_str());
        }
        for message in &self.messages {
            match message {
                Message::User(text) | Message::ToolResult { result: text, .. } => {
                    add(text.as_str());
                }
                Message::Assistant { text, calls } => {
                    if let Some(text) = text {
                        add(text.as_str());
                    }
                    for call in calls {
                        add(&call.canonical_arguments());
                    }
                }
            }
        }
        Event::ModelBegin {
            provider: self.provider,
            model: self.model.clone(),
            stream: true,
            prompt_bytes: bytes,
            prompt_sha256: hex(&hash.finalize()),
        }
    }

    fn who(&self) -> Who {
        self.who.clone()
    }
}

/// A client's own request, to be sent on as it is.
#[derive(Debug, Clone)]
pub struct RelayCall {
    /// Who asks.
    pub who: Who,
    /// Which provider.
    pub provider: ProviderName,
    /// The dialect it is written in.
    pub protocol: Protocol,
    /// Path below the provider's base URL and query, such as `/chat/completions` or
    /// `/v1/messages?beta=true`.
    pub path_and_query: String,
    /// Headers to send on: content type, accept, beta and version headers. Never a credential.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: ScreenedBody,
}

impl RelayCall {
    /// The bytes to send.
    pub fn bytes(&self) -> Bytes {
        self.body.bytes().clone()
    }

    /// What leaves the house with the body: query and headers.
    pub fn beside(&self) -> impl Iterator<Item = &[u8]> {
        let headers = self.headers.values().map(http::HeaderValue::as_bytes);
        headers.chain([self.path_and_query.as_bytes()])
    }
}

impl Audited for RelayCall {
    fn event(&self) -> Event {
        Event::ModelBegin {
            provider: self.provider,
            model: self.body.model().to_owned(),
            stream: self.body.stream(),
            prompt_bytes: self.body.bytes().len(),
            prompt_sha256: sha256_hex(self.body.bytes()),
        }
    }

    fn who(&self) -> Who {
        self.who.clone()
    }
}
