//! The command line as a client of a running gateway: one request, the answer as it comes.

use crate::cli::{Exit, Failure};
use crate::pin::Pin;
use clawdbot_domain::Secret;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Names the session in requests and answers.
const SESSION: &str = "clawdbot-session";

/// A gateway on this machine, and the operator's token for it, if any.
pub struct Client {
    /// The session it talks in, once there is one.
    session: Mutex<Option<String>>,
    port: u16,
    token: Option<Secret>,
    /// The certificate the gateway must show, when it speaks TLS.
    pin: Option<Pin>,
    /// A finding that is to be overruled.
    allowed: Option<String>,
}

/// One event of a streamed answer.
pub enum Heard {
    /// A piece of text.
    Text(String),
    /// A step of the turn, as JSON.
    Step(Value),
}

impl Client {
    /// A client of the gateway at this port.
    pub fn new(port: u16, token: Secret, pin: Option<Pin>) -> Self {
        Self {
            session: Mutex::default(),
            port,
            token: Some(token),
            pin,
            allowed: None,
        }
    }

    /// One that asks only what everybody may ask.
    pub fn without_token(port: u16, pin: Option<Pin>) -> Self {
        Self {
            session: Mutex::default(),
            port,
            token: None,
            pin,
            allowed: None,
        }
    }

    /// The same, overruling a finding with each request.
    #[must_use]
    pub fn allowing(mut self, finding: Option<String>) -> Self {
        self.allowed = finding;
        self
    }

    async fn connect(&self) -> Result<http1::SendRequest<Full<Bytes>>, Failure> {
        let nobody = || {
            Failure::new(
                Exit::Unavailable,
                format!("no gateway answers on port {}", self.port),
            )
            .hint("start one with: clawdbot gateway   (or: clawdbot up)")
        };
        let stream = TcpStream::connect(("127.0.0.1", self.port))
            .await
            .map_err(|_| nobody())?;
        let Some(pin) = &self.pin else {
            return speak(stream).await.map_err(|_| nobody());
        };
        let stream = pin.connect(stream).await.map_err(|error| {
            let port = self.port;
            Failure::new(
                Exit::Refused,
                format!("what answers on port {port} does not show the certificate in gateway.tls.certificate: {error}"),
            )
        })?;
        speak(stream).await.map_err(|_| nobody())
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        body: String,
    ) -> Result<Response<Incoming>, Failure> {
        let mut sender = self.connect().await?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("127.0.0.1:{}", self.port))
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-clawdbot-steps", "1");
        if let Some(id) = self.session() {
            request = request.header(SESSION, id);
        }
        if let Some(finding) = &self.allowed {
            request = request.header("x-clawdbot-allow-finding", finding);
        }
        if let Some(token) = &self.token {
            let bearer = format!("Bearer {}", token.expose());
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|e| Failure::new(Exit::Bug, e))?;
        sender
            .send_request(request)
            .await
            .map_err(|error| cut(&error))
    }

    /// The session it talks in.
    fn session(&self) -> Option<String> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.clone()
    }

    /// The next message goes on where this answer belongs.
    fn go_on_in(&self, answer: &Response<Incoming>) {
        let told = answer.headers().get(SESSION).and_then(|v| v.to_str().ok());
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        *session = told.map(str::to_owned).or(session.take());
    }

    /// One JSON answer.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        let response = self.send("GET", path, String::new()).await?;
        let ok = response.status().is_success();
        let value = whole(response).await?;
        if ok { Ok(value) } else { Err(refused(&value)) }
    }

    /// Sends JSON; one JSON answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let response = self.send("POST", path, body.to_string()).await?;
        let ok = response.status().is_success();
        let value = whole(response).await?;
        if ok { Ok(value) } else { Err(refused(&value)) }
    }

    /// One JSON answer, whatever its status says.
    pub async fn get_whatever(&self, path: &str) -> Result<Value, Failure> {
        whole(self.send("GET", path, String::new()).await?).await
    }

    /// Asks the agent, and hears its answer piece by piece.
    pub async fn ask(&self, messages: &[Value], hear: impl FnMut(Heard)) -> Result<(), Failure> {
        let body = json!({"model": "clawdbot/main", "stream": true, "messages": messages});
        self.hear("/v1/chat/completions", &body, hear).await
    }

    /// Goes on with a turn that waited, and hears the rest of its answer.
    pub async fn go_on(&self, turn: &str, hear: impl FnMut(Heard)) -> Result<(), Failure> {
        let path = format!("/turns/{turn}/resume");
        self.hear(&path, &json!({"stream": true}), hear).await
    }

    async fn hear(
        &self,
        path: &str,
        body: &Value,
        mut hear: impl FnMut(Heard),
    ) -> Result<(), Failure> {
        let response = self.send("POST", path, body.to_string()).await?;
        if !response.status().is_success() {
            return Err(refused(&whole(response).await?));
        }
        self.go_on_in(&response);
        let mut body = response.into_body();
        let mut lines = Lines::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| cut(&error))?;
            for (event, data) in lines.take(frame.data_ref().map_or(&[][..], |d| d)) {
                if data == "[DONE]" {
                    return Ok(());
                }
                let value: Value = serde_json::from_str(&data).unwrap_or(Value::Null);
                if event == "clawdbot.step" {
                    hear(Heard::Step(value));
                } else if value.get("error").is_some() {
                    return Err(refused(&value));
                } else if let Some(text) = value.pointer("/choices/0/delta/content") {
                    hear(Heard::Text(text.as_str().unwrap_or_default().to_owned()));
                }
            }
        }
        Err(Failure::new(
            Exit::Unavailable,
            "the answer was cut before its end",
        ))
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::Result<http1::SendRequest<Full<Bytes>>> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Event lines out of whatever pieces they arrive in.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
    event: String,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) -> Vec<(String, String)> {
        self.rest.extend_from_slice(bytes);
        let mut heard = Vec::new();
        while let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if let Some(event) = line.strip_prefix("event: ") {
                event.clone_into(&mut self.event);
            } else if let Some(data) = line.strip_prefix("data: ") {
                heard.push((std::mem::take(&mut self.event), data.to_owned()));
            }
        }
        heard
    }
}

async fn whole(response: Response<Incoming>) -> Result<Value, Failure> {
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|error| cut(&error))?;
    Ok(serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null))
}

fn cut(error: &hyper::Error) -> Failure {
    Failure::new(Exit::Unavailable, format!("the gateway broke off: {error}"))
}

/// The gateway's refusal, with an exit code that says whose fault it was.
fn refused(body: &Value) -> Failure {
    let message = body.pointer("/error/message").and_then(Value::as_str);
    let code = body
        .pointer("/error/code")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let exit = match code {
        "rate_limited" | "audit_unavailable" => Exit::TryAgain,
        "invalid_token" | "approval_refused" | "turn_cancelled" | "scope_missing"
        | "prompt_injection" | "tool_denied" | "origin_not_allowed" | "answer_stopped"
        | "secret_in_request" => Exit::Refused,
        "no_provider_configured" => Exit::BadConfig,
        "invalid_request" | "finding_not_found" | "no_such_session" | "no_such_turn"
        | "no_such_approval" => Exit::BadData,
        _ => Exit::Unavailable,
    };
    let failure = Failure::new(
        exit,
        message.unwrap_or("the gateway answered with an error"),
    );
    if code == "incident" {
        return failure
            .hint("clawdbot incident report, and when it is over: clawdbot incident resume");
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn events_are_heard_whatever_pieces_they_come_in() {
        let text = b"event: a\ndata: 1\n\n: note\n\ndata: 2\r\n\n";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let heard: Vec<_> = text
                .chunks(size)
                .flat_map(|piece| lines.take(piece))
                .collect();
            assert_eq!(
                heard,
                [("a".into(), "1".into()), (String::new(), "2".into())]
            );
        }
    }
}
