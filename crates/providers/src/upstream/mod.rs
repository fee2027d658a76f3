//! The HTTP client: one origin, no redirects, no proxies, no cookies, no second host.

mod body;
mod dial;
mod head;
mod line;
mod socket;

pub(crate) use body::UpstreamBody;
pub(crate) use head::{clean_answer, clean_request};

use crate::{ProviderError, Timeouts};
use bytes::Bytes;
use clawdbot_domain::{Origin, ProviderName};
use dial::Dialer;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, response};
use http_body_util::Full;
use line::{Line, Pool};
use std::sync::Arc;
use tokio::time::timeout;

/// What is sent.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) path: PathAndQuery,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) head: response::Parts,
    /// True when its end is told by length or chunk, so that a cut cannot pass for an end.
    pub(crate) framed: bool,
    pub(crate) body: UpstreamBody,
}

/// A client for one provider's origin.
pub(crate) struct Upstream {
    provider: ProviderName,
    origin: Origin,
    host: HeaderValue,
    timeouts: Timeouts,
    dialer: Dialer,
    pool: Arc<Pool>,
}

/// How an exchange failed.
enum Lost {
    /// The connection died and not one byte of an answer was read.
    Unheard,
    Known(ProviderError),
}

impl Upstream {
    pub(crate) fn new(
        provider: ProviderName,
        origin: Origin,
        timeouts: Timeouts,
    ) -> Result<Self, String> {
        let dialer = Dialer::new(&origin)?;
        let text = origin.to_string();
        let host = text
            .split_once("://")
            .map_or(text.as_str(), |(_, host)| host);
        let host = HeaderValue::from_str(host).map_err(|e| e.to_string())?;
        Ok(Self {
            provider,
            origin,
            host,
            timeouts,
            dialer,
            pool: Arc::default(),
        })
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// A kept connection may have died unnoticed. When it did, and not one byte of an answer came,
    /// the request is sent once more over a new one; nothing else is ever sent twice from here.
    pub(crate) async fn send(&self, outgoing: &Outgoing) -> Result<Answer, ProviderError> {
        if let Some(line) = self.pool.take() {
            match self.exchange(line, outgoing).await {
                Ok(answer) => return Ok(answer),
                Err(Lost::Known(error)) => return Err(error),
                Err(Lost::Unheard) => {
                    tracing::debug!(provider = %self.provider, "a kept connection had died");
                }
            }
        }
        let line = self.dial().await?;
        self.exchange(line, outgoing)
            .await
            .map_err(|lost| match lost {
                Lost::Known(error) => error,
                Lost::Unheard => self.unreachable("it closed the connection without an answer"),
            })
    }

    async fn dial(&self) -> Result<Line, ProviderError> {
        let limit = self.timeouts.connect;
        let socket = match timeout(limit, self.dialer.dial()).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(why)) => return Err(self.unreachable(&why)),
            Err(_) => {
                return Err(self.unreachable(&format!("no connection within {limit:?}")));
            }
        };
        Line::new(socket)
            .await
            .map_err(|e| self.unreachable(&e.to_string()))
    }

    async fn exchange(&self, mut line: Line, outgoing: &Outgoing) -> Result<Answer, Lost> {
        let limit = self.timeouts.first_byte;
        let asked = timeout(limit, line.ask(self.request(outgoing))).await;
        let response = match asked {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.lost(&error, line.heard())),
            Err(_) => {
                let seconds = limit.as_secs();
                return Err(Lost::Known(ProviderError::TimedOut {
                    provider: self.provider,
                    seconds,
                }));
            }
        };
        let (head, incoming) = response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Lost::Known(self.malformed("it switched protocols unasked")));
        }
        let framed = head.headers.contains_key(header::CONTENT_LENGTH)
            || head.headers.contains_key(header::TRANSFER_ENCODING);
        let pool = Arc::clone(&self.pool);
        let body = UpstreamBody::new(self.provider, incoming, line, pool, self.timeouts.idle);
        Ok(Answer { head, framed, body })
    }

    fn request(&self, outgoing: &Outgoing) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(outgoing.body.clone()));
        *request.method_mut() = outgoing.method.clone();
        *request.uri_mut() = outgoing.path.clone().into();
        *request.headers_mut() = outgoing.headers.clone();
        request
            .headers_mut()
            .insert(header::HOST, self.host.clone());
        request
    }

    fn lost(&self, error: &hyper::Error, heard: bool) -> Lost {
        if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() {
            Lost::Known(self.malformed(&format!("no HTTP/1.1 answer: {error}")))
        } else if heard {
            Lost::Known(ProviderError::Cut {
                provider: self.provider,
            })
        } else {
            Lost::Unheard
        }
    }

    fn unreachable(&self, why: &str) -> ProviderError {
        ProviderError::Unreachable {
            provider: self.provider,
            origin: self.origin.to_string(),
            why: why.to_owned(),
        }
    }

    fn malformed(&self, why: &str) -> ProviderError {
        ProviderError::Malformed {
            provider: self.provider,
            why: why.to_owned(),
        }
    }

    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.pool.len()
    }
}

#[cfg(test)]
mod tls_tests;
