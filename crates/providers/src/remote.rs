//! A provider behind a network: the credential, the question, the answer.

use crate::connect::Credentials;
use crate::ending::Ending;
use crate::listening::{Listening, shortened};
use crate::reader::{Reader, message_of};
use crate::relaying::Relaying;
use crate::retry::{Retries, retry_after};
use crate::upstream::{Answer, Outgoing, Upstream, UpstreamBody, clean_answer, clean_request};
use crate::{
    BoxFuture, ModelCall, Models, Provider, ProviderError, RelayBody, RelayCall, Relayed, Reply,
    anthropic, openai,
};
use bytes::{Bytes, BytesMut};
use clawdbot_audit::Recorded;
use clawdbot_domain::{Protocol, ProviderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::Value;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

/// The most that is read of an answer that is not a stream.
const BODY_BYTES: u64 = 64 << 20;

/// The most that is read of an error.
const ERROR_BYTES: u64 = 64 << 10;

/// The most that is read of a list of models, and how many are taken from it.
const MODELS_BYTES: u64 = 8 << 20;
const MODELS: usize = 2000;

/// The API version we are written for.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// Anthropic takes tokens of a subscription only with this mark.
const ANTHROPIC_OAUTH: &str = "oauth-2025-04-20";

/// One provider behind a network.
pub(crate) struct Remote {
    name: ProviderName,
    protocol: Protocol,
    base: String,
    upstream: Upstream,
    credentials: Arc<dyn Credentials>,
    retries: Retries,
}

impl Remote {
    pub(crate) fn new(
        name: ProviderName,
        base: String,
        upstream: Upstream,
        credentials: Arc<dyn Credentials>,
    ) -> Result<Self, String> {
        let protocol = name.protocol();
        let base = match protocol {
            // Both forms are in use; Anthropic's own paths begin with the version.
            Protocol::Anthropic => base.strip_suffix("/v1").unwrap_or(&base).to_owned(),
            Protocol::OpenAi => base,
        };
        let retries = Retries::default();
        let remote = Self {
            name,
            protocol,
            base,
            upstream,
            credentials,
            retries,
        };
        remote.path("/").map_err(|error| error.to_string())?;
        Ok(remote)
    }

    #[cfg(test)]
    pub(crate) fn impatient(mut self) -> Self {
        self.retries = Retries::at_once();
        self
    }

    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.upstream.kept()
    }

    fn path(&self, below: &str) -> Result<PathAndQuery, ProviderError> {
        let whole = below
            .starts_with('/')
            .then(|| format!("{}{below}", self.base));
        let path = whole.and_then(|whole| PathAndQuery::try_from(whole).ok());
        path.ok_or_else(|| ProviderError::Refused {
            provider: self.name,
            status: 400,
            message: "the path below the base URL is not one that can be sent".to_owned(),
            retry_after: None,
        })
    }

    /// Adds the credential. It is looked up for this origin and sent to this origin.
    fn identify(&self, headers: &mut HeaderMap) -> Result<(), ProviderError> {
        let provider = self.name;
        let missing = |why| ProviderError::NoCredential { provider, why };
        let origin = self.upstream.origin();
        let secret = self
            .credentials
            .secret_for(provider, origin)
            .map_err(missing)?;
        let Some(secret) = secret else {
            // A server on this machine rarely wants one.
            if origin.is_loopback() {
                return Ok(());
            }
            return Err(missing(format!(
                "none is stored for {origin}; store one: clawdbot models auth paste-token --provider {provider}"
            )));
        };
        let oauth = secret.expose().starts_with("sk-ant-oat");
        let bare = self.protocol == Protocol::Anthropic && !oauth;
        let scheme = if bare { "" } else { "Bearer " };
        let value = HeaderValue::try_from(format!("{scheme}{}", secret.expose()));
        let mut value = value.map_err(|_| {
            missing(format!(
                "the stored one holds characters no credential has; store it again: clawdbot models auth paste-token --provider {provider}"
            ))
        })?;
        value.set_sensitive(true);
        headers.insert(
            if bare {
                "x-api-key".parse().unwrap_or(header::AUTHORIZATION)
            } else {
                header::AUTHORIZATION
            },
            value,
        );
        if self.protocol == Protocol::Anthropic && oauth {
            headers.append("anthropic-beta", HeaderValue::from_static(ANTHROPIC_OAUTH));
        }
        Ok(())
    }

    /// Cleans the headers and adds what every request of this dialect has.
    fn dress(&self, headers: &mut HeaderMap) -> Result<(), ProviderError> {
        clean_request(headers);
        headers
            .entry(header::CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("application/json"));
        headers
            .entry(header::USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!(
                "clawdbot/",
                env!("CARGO_PKG_VERSION")
            )));
        if self.protocol == Protocol::Anthropic {
            headers
                .entry("anthropic-version")
                .or_insert(ANTHROPIC_VERSION);
        }
        self.identify(headers)
    }

    async fn ask(&self, call: &ModelCall) -> Result<Answer, ProviderError> {
        let (below, body) = match self.protocol {
            Protocol::OpenAi => ("/chat/completions", openai::body(call)),
            Protocol::Anthropic => ("/v1/messages", anthropic::body(call)),
        };
        let accept = HeaderValue::from_static("text/event-stream");
        let mut headers = HeaderMap::from_iter([(header::ACCEPT, accept)]);
        self.dress(&mut headers)?;
        let outgoing = Outgoing {
            method: Method::POST,
            path: self.path(below)?,
            headers,
            body: body.to_string().into(),
        };
        let mut tried = 0;
        loop {
            tried += 1;
            let error = match self.upstream.send(&outgoing).await {
                Ok(answer) if answer.head.status.is_success() => return Ok(answer),
                Ok(answer) => self.refused(answer).await,
                Err(error) => error,
            };
            let Some(pause) = self.retries.pause(tried, &error) else {
                return Err(error);
            };
            tracing::debug!(provider = %self.name, tried, %error, "asking again");
            tokio::time::sleep(pause).await;
        }
    }

    /// The error an answer that is no success stands for. Redirects are not followed: the
    /// credential and the prompt are for this host alone.
    async fn refused(&self, answer: Answer) -> ProviderError {
        let status = answer.head.status;
        let message = if status.is_redirection() {
            "it redirects elsewhere, and that is not followed; correct its base URL".to_owned()
        } else {
            let read = collect(answer.body.capped(ERROR_BYTES));
            let read = tokio::time::timeout(Duration::from_secs(10), read).await;
            explanation(&read.ok().and_then(Result::ok).unwrap_or_default())
        };
        ProviderError::Refused {
            provider: self.name,
            status: status.as_u16(),
            message,
            retry_after: retry_after(&answer.head.headers),
        }
    }

    async fn listen(&self, call: &ModelCall, mut ending: Ending) -> Result<Reply, ProviderError> {
        let asked = match self.ask(call).await {
            Ok(answer) => {
                ending.status = Some(answer.head.status.as_u16());
                self.streamed(answer)
            }
            Err(error) => Err(error),
        };
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) => {
                if let ProviderError::Refused { status, .. } = &error {
                    ending.status = Some(*status);
                }
                ending.badly(&error);
                return Err(error);
            }
        };
        let reader: Box<dyn Reader> = match self.protocol {
            Protocol::OpenAi => Box::new(openai::Listener::default()),
            Protocol::Anthropic => Box::new(anthropic::Listener::default()),
        };
        let events = Listening::new(self.name, answer.body, answer.framed, reader, ending);
        Ok(Reply {
            model: call.model.clone(),
            events: Box::pin(events),
        })
    }

    /// Checks that the answer is a stream as it was asked for.
    fn streamed(&self, answer: Answer) -> Result<Answer, ProviderError> {
        let malformed = |why: &str| ProviderError::Malformed {
            provider: self.name,
            why: why.to_owned(),
        };
        let headers = &answer.head.headers;
        let is = |name, what: &str| {
            let value: Option<&HeaderValue> = headers.get(name);
            value
                .and_then(|v| v.to_str().ok())
                .is_some_and(|v| v.trim().to_ascii_lowercase().starts_with(what))
        };
        if headers.contains_key(header::CONTENT_ENCODING)
            && !is(header::CONTENT_ENCODING, "identity")
        {
            return Err(malformed(
                "the answer is packed, although that was declined",
            ));
        }
        if is(header::CONTENT_TYPE, "application/json") || is(header::CONTENT_TYPE, "text/html") {
            return Err(malformed(
                "the answer is a document where a stream was asked for; is the base URL right?",
            ));
        }
        Ok(answer)
    }

    async fn pass_on(&self, call: RelayCall, mut ending: Ending) -> Result<Relayed, ProviderError> {
        let streams = call.body.stream();
        match self.send_on(call).await {
            Ok(Answer { mut head, body, .. }) => {
                ending.status = Some(head.status.as_u16());
                clean_answer(&mut head.headers);
                // A stream is handed on and never held, so it needs no end of ours.
                let body = if streams {
                    body
                } else {
                    body.capped(BODY_BYTES)
                };
                let body: RelayBody = Box::pin(Relaying::new(body, ending));
                Ok(Relayed {
                    response: http::Response::from_parts(head, body),
                })
            }
            Err(error) => {
                if let ProviderError::Refused { status, .. } = &error {
                    ending.status = Some(*status);
                }
                ending.badly(&error);
                Err(error)
            }
        }
    }

    async fn send_on(&self, call: RelayCall) -> Result<Answer, ProviderError> {
        if call.protocol != self.protocol {
            return Err(ProviderError::Refused {
                provider: self.name,
                status: 400,
                message: format!("it speaks the {} dialect", self.protocol),
                retry_after: None,
            });
        }
        let body = call.bytes();
        let mut headers = call.headers;
        self.dress(&mut headers)?;
        let path = self.path(&call.path_and_query)?;
        let outgoing = Outgoing {
            method: Method::POST,
            path,
            headers,
            body,
        };
        let answer = self.upstream.send(&outgoing).await?;
        if answer.head.status.is_redirection() {
            // Passed on, a caller's client would follow it and take its gateway token along.
            return Err(self.refused(answer).await);
        }
        Ok(answer)
    }

    async fn list(&self) -> Result<Models, ProviderError> {
        let below = match self.protocol {
            Protocol::OpenAi => "/models",
            Protocol::Anthropic => "/v1/models?limit=1000",
        };
        let accept = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::from_iter([(header::ACCEPT, accept)]);
        self.dress(&mut headers)?;
        headers.remove(header::CONTENT_TYPE);
        let path = self.path(below)?;
        let outgoing = Outgoing {
            method: Method::GET,
            path,
            headers,
            body: Bytes::new(),
        };
        let answer = self.upstream.send(&outgoing).await?;
        if !answer.head.status.is_success() {
            return Err(self.refused(answer).await);
        }
        let body = collect(answer.body.capped(MODELS_BYTES)).await?;
        let ids = model_ids(&body);
        let malformed = || ProviderError::Malformed {
            provider: self.name,
            why: "its list of models is not one; is the base URL right?".to_owned(),
        };
        Ok(Models {
            ids: ids.ok_or_else(malformed)?,
        })
    }
}

impl Provider for Remote {
    fn name(&self) -> ProviderName {
        self.name
    }

    fn speaks(&self, protocol: Protocol) -> bool {
        self.protocol == protocol
    }

    fn reply(&self, call: Recorded<ModelCall>) -> BoxFuture<'_, Result<Reply, ProviderError>> {
        let (call, record) = call.act();
        let ending = Ending::new(self.name, record);
        Box::pin(async move { self.listen(&call, ending).await })
    }

    fn relay(&self, call: Recorded<RelayCall>) -> BoxFuture<'_, Result<Relayed, ProviderError>> {
        let (call, record) = call.act();
        let ending = Ending::new(self.name, record);
        Box::pin(self.pass_on(call, ending))
    }

    fn models(&self) -> BoxFuture<'_, Result<Models, ProviderError>> {
        Box::pin(self.list())
    }
}

async fn collect(mut body: UpstreamBody) -> Result<Bytes, ProviderError> {
    let mut whole = BytesMut::new();
    while let Some(bytes) = poll_fn(|cx| body.poll_data(cx)).await {
        whole.extend_from_slice(&bytes?);
    }
    Ok(whole.freeze())
}

/// What an error answer says, bounded and without anything like a key.
fn explanation(body: &[u8]) -> String {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let told = parsed
        .as_ref()
        .and_then(|value| message_of(value.get("error").unwrap_or(value)));
    let text = String::from_utf8_lossy(body);
    shortened(told.unwrap_or_else(|| text.trim()))
}

fn model_ids(body: &[u8]) -> Option<Vec<String>> {
    let value: Value = serde_json::from_slice(body).ok()?;
    // Some servers answer `null` when they have none.
    let listed = value
        .get("data")?
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let ids = listed.iter().filter_map(|model| model.get("id")?.as_str());
    let sane = |id: &&str| !id.is_empty() && id.len() <= 256 && !id.chars().any(char::is_control);
    Some(ids.filter(sane).take(MODELS).map(str::to_owned).collect())
}
