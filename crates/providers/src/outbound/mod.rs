//! A relayed answer on its way out: what must not leave the gateway is stopped, and everything else
//! arrives byte for byte as the provider sent it.

mod document;
mod json;
mod lines;
mod parts;
mod segments;
mod stream;

use crate::{ProviderError, RelayBody, Relayed};
use clawdbot_domain::{Event, Protocol, ProviderName};
use clawdbot_guard::{Outward, Stopped};
use http::{HeaderMap, HeaderValue, header};
use std::sync::Arc;

/// Takes what was found, to write it down.
pub type Note = Arc<dyn Fn(Event) + Send + Sync>;

/// What a relayed answer is held against.
#[derive(Clone)]
pub struct Watch {
    /// Who answers.
    pub provider: ProviderName,
    /// The dialect it is written in.
    pub protocol: Protocol,
    /// Whether a stream was asked for.
    pub streams: bool,
    /// What must not go out.
    pub outward: Arc<Outward>,
    /// Takes what was found.
    pub note: Note,
}

/// Why a relayed answer does not go out.
#[derive(Debug)]
pub enum Unseen {
    /// Something must not leave.
    Stopped(Stopped),
    /// It could not be looked at.
    Provider(ProviderError),
}

impl Watch {
    /// Looks at an answer. A stream is looked at while it flows; anything else is read to its end first,
    /// so that a refusal has a status of its own.
    pub async fn over(self, relayed: Relayed) -> Result<Relayed, Unseen> {
        let Relayed { response } = relayed;
        let (mut head, body) = response.into_parts();
        self.clean(&mut head.headers);
        let is = |name: &header::HeaderName, what: &str| {
            let value: Option<&HeaderValue> = head.headers.get(name);
            let value = value.and_then(|v| v.to_str().ok());
            value.is_some_and(|v| v.trim().to_ascii_lowercase().starts_with(what))
        };
        let packed = head.headers.contains_key(header::CONTENT_ENCODING)
            && !is(&header::CONTENT_ENCODING, "identity");
        if packed {
            return Err(Unseen::Provider(ProviderError::Malformed {
                provider: self.provider,
                why: "the answer is packed, although that was declined".to_owned(),
            }));
        }
        // Some servers forget to say what they stream.
        let flows = is(&header::CONTENT_TYPE, "text/event-stream")
            || (self.streams && !is(&header::CONTENT_TYPE, "application/json"));
        let body: RelayBody = if flows {
            // What was taken out changes the length.
            head.headers.remove(header::CONTENT_LENGTH);
            Box::pin(stream::Watching::new(self, body))
        } else {
            let is_json = is(&header::CONTENT_TYPE, "application/json");
            let whole = document::look(&self, body, is_json).await?;
            if head.headers.contains_key(header::CONTENT_LENGTH) {
                head.headers
                    .insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
            }
            Box::pin(document::Whole::new(whole))
        };
        let response = http::Response::from_parts(head, body);
        Ok(Relayed { response })
    }

    /// A header that holds a secret stays here; the answer can do without it.
    fn clean(&self, headers: &mut HeaderMap) {
        let mut holding = Vec::new();
        for (name, value) in &*headers {
            let text = String::from_utf8_lossy(value.as_bytes());
            if let Some(leak) = self.outward.find_plain(&text) {
                (self.note)(Stopped::leak(leak, &text).event());
                holding.push(name.clone());
            }
        }
        for name in holding {
            headers.remove(name);
        }
    }
}
