//! A relayed answer that is no stream.

use super::parts::words_of;
use super::{Unseen, Watch};
use crate::{ProviderError, RelayBody};
use bytes::{Bytes, BytesMut};
use clawdbot_guard::{Leak, Outward, Stopped, neutralise, neutralised};
use http_body::{Body, Frame, SizeHint};
use serde_json::Value;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The largest answer that is looked at. One that is larger does not go out.
const MOST: usize = 16 << 20;

/// Reads an answer to its end and looks at it: its very bytes, when there is nothing to take out.
pub(super) async fn look(watch: &Watch, body: RelayBody, is_json: bool) -> Result<Bytes, Unseen> {
    let bytes = collect(watch, body).await.map_err(Unseen::Provider)?;
    let text = String::from_utf8_lossy(&bytes);
    let parsed: Option<Value> = serde_json::from_slice(&bytes).ok();
    let outward = &watch.outward;
    let leak = outward.find_plain(&text).or_else(|| match &parsed {
        Some(value) => in_strings(outward, value),
        None => outward.find(&text),
    });
    if let Some(leak) = leak {
        let stopped = Stopped::leak(leak, &text);
        return Err(Unseen::Stopped(stopped));
    }
    let Some(hosts) = &outward.hosts else {
        return Ok(bytes);
    };
    let Some(mut value) = parsed else {
        // A client may read what we cannot, addresses and all. What is not said to be JSON is an error page.
        if !is_json {
            return Ok(bytes);
        }
        return Err(Unseen::Provider(ProviderError::Malformed {
            provider: watch.provider,
            why: "the answer is not the JSON it is said to be".to_owned(),
        }));
    };
    let mut taken_out = Vec::new();
    for at in words_of(watch.protocol, &value) {
        let Some(Value::String(words)) = value.pointer_mut(&at) else {
            continue;
        };
        let neutral = neutralise(words, hosts);
        if !neutral.removed.is_empty() {
            *words = neutral.text;
            taken_out.extend(neutral.removed);
        }
    }
    if taken_out.is_empty() {
        return Ok(bytes);
    }
    (watch.note)(neutralised(&taken_out, &text));
    Ok(value.to_string().into())
}

async fn collect(watch: &Watch, mut body: RelayBody) -> Result<Bytes, ProviderError> {
    let mut whole = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            whole.extend_from_slice(&data);
        }
        if whole.len() > MOST {
            return Err(ProviderError::Malformed {
                provider: watch.provider,
                why: format!("the answer is larger than the {MOST} bytes that can be looked at"),
            });
        }
    }
    Ok(whole.freeze())
}

/// Escapes of JSON are taken off before a text is looked at.
fn in_strings(outward: &Outward, value: &Value) -> Option<Leak> {
    match value {
        Value::String(text) => outward.find(text),
        Value::Array(items) => items.iter().find_map(|item| in_strings(outward, item)),
        Value::Object(fields) => fields.values().find_map(|v| in_strings(outward, v)),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// A body that is there already.
pub(super) struct Whole(Option<Bytes>);

impl Whole {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self((!bytes.is_empty()).then_some(bytes))
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = ProviderError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ProviderError>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
