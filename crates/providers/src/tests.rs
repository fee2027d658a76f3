//! Whole exchanges with a provider that is a socket on this machine.

use crate::connect::remote;
use crate::remote::Remote;
use crate::{
    Credentials, Finish, Message, ModelCall, ProposedCall, Provider, ProviderError,
    ProviderSettings, RelayCall, ReplyEvent, Timeouts,
};
use clawdbot_audit::{AuditSettings, Recorder};
use clawdbot_domain::{Channel, Origin, Protocol, ProviderName, Secret, Usage, Who};
use clawdbot_guard::{Guard, GuardSettings};
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A provider that answers the nth request with the nth script, and keeps what it was sent.
struct Server {
    url: String,
    heard: Arc<Mutex<Vec<String>>>,
    closed: Arc<tokio::sync::Notify>,
}

#[derive(Clone)]
enum Script {
    /// Sends this and waits for the next request on the same connection.
    Keep(Vec<u8>),
    /// Sends this and closes.
    Close(Vec<u8>),
    /// Reads the request and says nothing.
    Silent,
}

async fn serve(scripts: Vec<Script>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (heard, closed) = (
        Arc::<Mutex<Vec<String>>>::default(),
        Arc::new(tokio::sync::Notify::new()),
    );
    let (log, gone) = (Arc::clone(&heard), Arc::clone(&closed));
    tokio::spawn(async move {
        let scripts = Arc::new(Mutex::new(scripts.into_iter()));
        while let Ok((stream, _)) = listener.accept().await {
            let (log, gone, scripts) = (Arc::clone(&log), Arc::clone(&gone), Arc::clone(&scripts));
            tokio::spawn(async move {
                converse(stream, &log, || scripts.lock().unwrap().next()).await;
                gone.notify_one();
            });
        }
    });
    Server { url, heard, closed }
}

async fn converse(
    mut stream: TcpStream,
    log: &Mutex<Vec<String>>,
    next: impl Fn() -> Option<Script>,
) {
    while let Some(request) = read_request(&mut stream).await {
        log.lock().unwrap().push(request);
        match next() {
            Some(Script::Keep(bytes)) => stream.write_all(&bytes).await.unwrap(),
            Some(Script::Close(bytes)) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Some(Script::Silent) => {}
            None => return,
        }
    }
}

/// A request with its body; `None` when the other side closed.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some(head) = text.find("\r\n\r\n") {
            let length = text.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1);
            let length = length.map_or(0, |l| l.split("\r\n").next().unwrap().parse().unwrap());
            if request.len() >= head + 4 + length {
                return Some(text);
            }
        }
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
}

struct Fixed(Result<Option<Secret>, String>);

impl Credentials for Fixed {
    fn secret_for(&self, _: ProviderName, _: &Origin) -> Result<Option<Secret>, String> {
        self.0.clone()
    }
}

const QUICK: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_millis(200),
    idle: Duration::from_millis(200),
};

const PATIENT: Timeouts = Timeouts {
    connect: Duration::from_secs(20),
    first_byte: Duration::from_secs(20),
    idle: Duration::from_secs(20),
};

fn at(name: ProviderName, url: &str, timeouts: Timeouts, secret: Option<&str>) -> Remote {
    let settings = ProviderSettings {
        name,
        base_url: url.to_owned(),
        timeouts,
    };
    let secret = Ok(secret.map(Secret::new));
    remote(&settings, Arc::new(Fixed(secret)))
        .unwrap()
        .impatient()
}

/// An audit log in a folder of its own, and the questions written in it.
struct Log {
    folder: tempfile::TempDir,
    recorder: Recorder,
    guard: Guard,
}

impl Log {
    fn new() -> Self {
        Self::with(true)
    }

    /// Without records on disk, for tests that ask thousands of times.
    fn unwritten() -> Self {
        Self::with(false)
    }

    fn with(log_requests: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = AuditSettings {
            log_requests,
            ..AuditSettings::default()
        };
        let recorder = Recorder::open(folder.path(), settings).unwrap();
        Self {
            folder,
            recorder,
            guard: Guard::new(GuardSettings {
                enabled: true,
                strict: true,
            }),
        }
    }

    async fn ask(
        &self,
        remote: &Remote,
    ) -> Result<Vec<Result<ReplyEvent, ProviderError>>, ProviderError> {
        let call = ModelCall {
            who: Who::default(),
            provider: remote.name(),
            model: "m".to_owned(),
            system: None,
            messages: vec![Message::User(
                self.guard.screen("hello", Channel::User).unwrap(),
            )],
            tools: Arc::new([]),
            max_tokens: 10,
        };
        let call = self.recorder.begin(call).await.unwrap();
        Ok(remote.reply(call).await?.events.collect().await)
    }

    async fn relay(
        &self,
        provider: &dyn Provider,
        protocol: Protocol,
        body: &str,
    ) -> Result<crate::Relayed, ProviderError> {
        let call = RelayCall {
            who: Who::default(),
            provider: provider.name(),
            protocol,
            path_and_query: match protocol {
                Protocol::OpenAi => "/chat/completions".to_owned(),
                Protocol::Anthropic => "/v1/messages?beta=true".to_owned(),
            },
            headers: http::HeaderMap::from_iter([
                (
                    http::header::AUTHORIZATION,
                    "Bearer gateway-token".parse().unwrap(),
                ),
                (
                    "anthropic-beta".parse().unwrap(),
                    "client-beta".parse().unwrap(),
                ),
            ]),
            body: self
                .guard
                .screen_body(body.to_owned().into(), protocol)
                .unwrap(),
        };
        provider
            .relay(self.recorder.begin(call).await.unwrap())
            .await
    }

    /// What the log says of how calls ended.
    async fn ends(&self) -> Vec<String> {
        self.recorder.flush().await;
        let mut text = String::new();
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "jsonl") {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
        let outcome = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["outcome"].as_str().unwrap().to_owned()
        };
        text.lines()
            .filter(|line| line.contains("model."))
            .map(outcome)
            .filter(|outcome| outcome != "begin")
            .collect()
    }
}

fn chunked(pieces: &[&str]) -> Vec<u8> {
    let mut bytes =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    for piece in pieces {
        bytes.extend(format!("{:x}\r\n{piece}\r\n", piece.len()).into_bytes());
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

fn until_closed(pieces: &[&str]) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{}",
        pieces.concat()
    )
    .into_bytes()
}

fn with_length(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const OPENAI_CALL: [&str; 7] = [
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"He\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"y\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"rm\",\"arguments\":\"\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"a\\\":\"}}]}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"1}\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n",
    "data: [DONE]\n\n",
];

const ANTHROPIC_CALL: [&str; 10] = [
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n",
    "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hey\"}}\n\n",
    "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"c1\",\"name\":\"rm\",\"input\":{}}}\n\n",
    "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\\\":\"}}\n\n",
    "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"1}\"}}\n\n",
    "data: {\"type\":\"content_block_stop\",\"index\":1}\n\n",
    "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":4}}\n\n",
    "data: {\"type\":\"message_stop\"}\n\n",
];

fn done() -> ReplyEvent {
    ReplyEvent::Done {
        finish: Finish::ToolCalls,
        calls: vec![ProposedCall {
            id: "c1".into(),
            name: "rm".into(),
            arguments: "{\"a\":1}".into(),
        }],
        usage: Usage {
            input_tokens: 3,
            output_tokens: 4,
        },
    }
}

fn text_of(events: &[Result<ReplyEvent, ProviderError>]) -> String {
    let texts = events.iter().filter_map(|event| match event {
        Ok(ReplyEvent::Text(text)) => Some(text.as_str()),
        Ok(ReplyEvent::Done { .. }) | Err(_) => None,
    });
    texts.collect()
}

#[tokio::test]
async fn a_whole_reply_yields_its_text_its_calls_and_a_connection_for_the_next() {
    let log = Log::new();
    for (name, pieces) in [
        (ProviderName::Ollama, &OPENAI_CALL[..]),
        (ProviderName::Anthropic, &ANTHROPIC_CALL[..]),
    ] {
        let server = serve(vec![Script::Keep(chunked(pieces)); 2]).await;
        let remote = at(name, &server.url, PATIENT, Some("sk-key"));
        for _ in 0..2 {
            let events = log.ask(&remote).await.unwrap();
            assert_eq!(text_of(&events), "Hey");
            assert_eq!(events.last(), Some(&Ok(done())));
            assert_eq!(remote.kept(), 1);
        }
    }
    assert_eq!(log.ends().await, ["ok"; 4]);
}

#[tokio::test]
async fn a_reply_cut_at_any_byte_yields_no_call() {
    let log = Log::unwritten();
    for (name, whole) in [
        (ProviderName::Ollama, until_closed(&OPENAI_CALL)),
        (ProviderName::Anthropic, until_closed(&ANTHROPIC_CALL)),
        (ProviderName::Ollama, chunked(&OPENAI_CALL)),
        (ProviderName::Anthropic, chunked(&ANTHROPIC_CALL)),
    ] {
        // The last event is whole with its blank line; what follows is framing.
        let text = String::from_utf8_lossy(&whole).into_owned();
        let last = text.rfind("\n\n").unwrap() + 2;
        let scripts = (0..last)
            .map(|cut| Script::Close(whole[..cut].to_vec()))
            .collect();
        let server = serve(scripts).await;
        let remote = at(name, &server.url, PATIENT, None);
        let mut asked = 0;
        while server.heard.lock().unwrap().len() < last {
            asked += 1;
            if let Ok(events) = log.ask(&remote).await {
                let ended = events
                    .iter()
                    .any(|e| matches!(e, Ok(ReplyEvent::Done { .. })));
                assert!(!ended, "after request {asked}: {events:?}");
                assert!(
                    events.last().is_some_and(Result::is_err),
                    "after request {asked}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_broken_stream_yields_an_error_and_no_call() {
    let log = Log::new();
    let piece =
        |delta: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n");
    let call = |index: usize, id: &str, name: &str| {
        piece(&format!(
            "{{\"tool_calls\":[{{\"index\":{index},\"id\":\"{id}\",\"function\":{{\"name\":\"{name}\",\"arguments\":\"{{}}\"}}}}]}}"
        ))
    };
    let finish =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n";
    let over = "data: [DONE]\n\n";
    for stream in [
        "data: not json\n\n".to_owned(),
        "data: {\"choices\":[\0]}\n\n".to_owned(),
        "data: {\"choices\":7}\n\n".to_owned(),
        [&call(0, "a", "x"), &call(0, "b", "x"), finish, over].concat(),
        [&call(0, "a", "x"), &call(0, "a", "y"), finish, over].concat(),
        [&call(0, "a", "x"), &call(1, "a", "x"), finish, over].concat(),
        [&call(0, "a", ""), finish, over].concat(),
        [&call(999, "a", "x"), finish, over].concat(),
        [finish, &call(0, "a", "x"), over].concat(),
        [&call(0, "a", "x"), over].concat(),
        [
            &call(0, "a", "x"),
            "data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n",
            finish,
            over,
        ]
        .concat(),
        String::new(),
    ] {
        let server = serve(vec![Script::Keep(chunked(&[&stream]))]).await;
        let events = log
            .ask(&at(ProviderName::Vllm, &server.url, PATIENT, None))
            .await
            .unwrap();
        assert_eq!(events.len(), 1, "{stream}: {events:?}");
        assert!(events[0].is_err(), "{stream}: {events:?}");
    }
}

#[tokio::test]
async fn calls_of_a_reply_that_ran_into_a_limit_do_not_count() {
    let log = Log::new();
    let whole = OPENAI_CALL.concat().replace(
        "\"finish_reason\":\"tool_calls\"",
        "\"finish_reason\":\"length\"",
    );
    let server = serve(vec![Script::Keep(chunked(&[
        &whole,
        "data: after the end\n\n",
    ]))])
    .await;
    let events = log
        .ask(&at(ProviderName::Ollama, &server.url, PATIENT, None))
        .await
        .unwrap();
    let usage = Usage {
        input_tokens: 3,
        output_tokens: 4,
    };
    let expected = ReplyEvent::Done {
        finish: Finish::Length,
        calls: Vec::new(),
        usage,
    };
    assert_eq!(events.last(), Some(&Ok(expected)));
}

#[tokio::test]
async fn a_busy_provider_is_asked_again_and_an_absurd_wait_is_not_waited() {
    let log = Log::new();
    let busy = |wait: &str| {
        Script::Keep(with_length(
            "429 Too Many Requests",
            wait,
            "{\"error\":{\"message\":\"slow down sk-secret123\"}}",
        ))
    };
    for (wait, asked) in [
        ("", 3),
        ("retry-after: -1\r\n", 3),
        ("retry-after: x\r\n", 3),
        ("retry-after: 86400\r\n", 1),
    ] {
        let server = serve(vec![busy(wait); 5]).await;
        let error = log
            .ask(&at(ProviderName::Ollama, &server.url, PATIENT, None))
            .await
            .unwrap_err();
        let retry_after = (asked == 1).then_some(86_400);
        let message = "slow down [key]".to_owned();
        assert_eq!(
            error,
            ProviderError::Refused {
                provider: ProviderName::Ollama,
                status: 429,
                message,
                retry_after
            }
        );
        assert_eq!(server.heard.lock().unwrap().len(), asked, "{wait}");
    }
    let server = serve(vec![busy(""), Script::Keep(chunked(&OPENAI_CALL))]).await;
    let events = log
        .ask(&at(ProviderName::Ollama, &server.url, PATIENT, None))
        .await
        .unwrap();
    assert_eq!(events.last(), Some(&Ok(done())));
    assert_eq!(
        log.ends().await,
        ["failed", "failed", "failed", "failed", "ok"]
    );
}

#[tokio::test]
async fn a_provider_that_says_nothing_times_out() {
    let log = Log::new();
    let timed_out = |seconds| ProviderError::TimedOut {
        provider: ProviderName::Ollama,
        seconds,
    };
    let server = serve(vec![Script::Silent]).await;
    assert_eq!(
        log.ask(&at(ProviderName::Ollama, &server.url, QUICK, None))
            .await
            .unwrap_err(),
        timed_out(0)
    );
    let part = chunked(&OPENAI_CALL[..3]);
    let server = serve(vec![Script::Keep(part[..part.len() - 5].to_vec())]).await;
    let events = log
        .ask(&at(ProviderName::Ollama, &server.url, QUICK, None))
        .await
        .unwrap();
    assert_eq!(events.last(), Some(&Err(timed_out(0))));
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_credential_stays() {
    let log = Log::new();
    let other = serve(vec![]).await;
    let redirect = with_length(
        "307 Temporary Redirect",
        &format!("location: {}/x\r\n", other.url),
        "",
    );
    let server = serve(vec![Script::Keep(redirect); 2]).await;
    let remote = at(ProviderName::Ollama, &server.url, PATIENT, Some("sk-key"));
    let is_307 = |error: ProviderError| matches!(error, ProviderError::Refused { status: 307, .. });
    assert!(is_307(log.ask(&remote).await.unwrap_err()));
    let body = r#"{"model":"m","messages":[]}"#;
    assert!(
        log.relay(&remote, Protocol::OpenAi, body)
            .await
            .err()
            .is_some_and(is_307)
    );
    assert_eq!(other.heard.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn each_credential_has_its_header_and_the_callers_own_is_never_sent() {
    let log = Log::new();
    let body = r#"{"model":"m","max_tokens":1,"messages":[],"context_management":{"new":1}}"#;
    for (name, secret, there) in [
        (
            ProviderName::Anthropic,
            "sk-ant-api03-k",
            "x-api-key: sk-ant-api03-k\r\n",
        ),
        (
            ProviderName::Anthropic,
            "sk-ant-oat01-k",
            "authorization: Bearer sk-ant-oat01-k\r\n",
        ),
        (
            ProviderName::OpenRouter,
            "sk-or-k",
            "authorization: Bearer sk-or-k\r\n",
        ),
    ] {
        let server = serve(vec![Script::Keep(with_length("200 OK", "", "{}"))]).await;
        let remote = at(name, &server.url, PATIENT, Some(secret));
        log.relay(&remote, name.protocol(), body).await.unwrap();
        let heard = server.heard.lock().unwrap().concat();
        assert!(heard.contains(there), "{heard}");
        assert!(!heard.contains("gateway-token"), "{heard}");
        assert!(heard.contains("anthropic-beta: client-beta\r\n"), "{heard}");
        assert_eq!(
            heard.contains("anthropic-beta: oauth-2025-04-20"),
            secret.contains("oat"),
            "{heard}"
        );
        assert!(heard.ends_with(body), "{heard}");
    }
}

#[tokio::test]
async fn without_a_credential_nothing_leaves_for_another_machine() {
    let log = Log::new();
    let remote = at(
        ProviderName::OpenAi,
        "https://api.example.invalid/v1",
        QUICK,
        None,
    );
    let error = log.ask(&remote).await.unwrap_err();
    assert!(
        matches!(&error, ProviderError::NoCredential { why, .. } if why.contains("paste-token --provider openai")),
        "{error}"
    );
}

#[tokio::test]
async fn a_relayed_answer_is_the_same_bytes_and_the_gateways_headers_are_its_own() {
    let log = Log::new();
    let whole = OPENAI_CALL.concat();
    let server = serve(vec![
        Script::Keep(chunked(&OPENAI_CALL)),
        Script::Keep(with_length(
            "418 Odd",
            "x-request-id: r\r\nset-cookie: a=b\r\nconnection: keep-alive\r\n",
            "short and stout",
        )),
    ])
    .await;
    let remote = at(ProviderName::Ollama, &server.url, PATIENT, None);
    let body = r#"{"model":"m","stream":true,"messages":[]}"#;
    let relayed = log.relay(&remote, Protocol::OpenAi, body).await.unwrap();
    let bytes = relayed
        .response
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    assert_eq!(bytes, whole.as_bytes());
    let relayed = log.relay(&remote, Protocol::OpenAi, body).await.unwrap();
    assert_eq!(relayed.response.status(), 418);
    assert_eq!(
        relayed
            .response
            .headers()
            .keys()
            .map(http::HeaderName::as_str)
            .collect::<Vec<_>>(),
        ["x-request-id"]
    );
    let bytes = relayed
        .response
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    assert_eq!(bytes, "short and stout");
    assert_eq!(server.heard.lock().unwrap().len(), 2);
    assert_eq!(log.ends().await, ["ok", "failed"]);
}

#[tokio::test]
async fn a_kept_connection_that_died_is_replaced_once() {
    let log = Log::new();
    let good = Script::Keep(with_length("200 OK", "", "{}"));
    // The second request meets a server that reads it and closes without a word.
    let server = serve(vec![good.clone(), Script::Close(Vec::new()), good]).await;
    let remote = at(ProviderName::Ollama, &server.url, PATIENT, None);
    let body = r#"{"model":"m","messages":[]}"#;
    for _ in 0..2 {
        let relayed = log.relay(&remote, Protocol::OpenAi, body).await.unwrap();
        assert_eq!(
            relayed
                .response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes(),
            "{}"
        );
    }
    assert_eq!(server.heard.lock().unwrap().len(), 3);
    // One that had begun to answer is not asked again.
    let good = Script::Keep(with_length("200 OK", "", "{}"));
    let server = serve(vec![
        good.clone(),
        Script::Close(b"HTTP/1.1 2".to_vec()),
        good,
    ])
    .await;
    let remote = at(ProviderName::Ollama, &server.url, PATIENT, None);
    let relayed = log.relay(&remote, Protocol::OpenAi, body).await.unwrap();
    relayed.response.into_body().collect().await.unwrap();
    assert!(log.relay(&remote, Protocol::OpenAi, body).await.is_err());
    assert_eq!(server.heard.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_the_providers_work_too() {
    let log = Log::new();
    let part = chunked(&OPENAI_CALL[..3]);
    let server = serve(vec![Script::Keep(part[..part.len() - 5].to_vec())]).await;
    let remote = at(ProviderName::Ollama, &server.url, PATIENT, None);
    let body = r#"{"model":"m","stream":true,"messages":[]}"#;
    let mut relayed = log
        .relay(&remote, Protocol::OpenAi, body)
        .await
        .unwrap()
        .response
        .into_body();
    assert!(relayed.frame().await.unwrap().is_ok());
    drop(relayed);
    server.closed.notified().await;
    assert_eq!(log.ends().await, ["abandoned"]);
}

#[tokio::test]
async fn models_are_listed_and_an_answer_that_is_no_list_is_said_to_be_none() {
    let server = serve(vec![
        Script::Keep(with_length(
            "200 OK",
            "",
            r#"{"data":[{"id":"a"},{"id":"b\u0007"},{"id":"c"}]}"#,
        )),
        Script::Keep(with_length("200 OK", "", "<html>")),
    ])
    .await;
    let remote = at(ProviderName::Ollama, &server.url, PATIENT, None);
    assert_eq!(remote.models().await.unwrap().ids, ["a", "c"]);
    assert!(matches!(
        remote.models().await,
        Err(ProviderError::Malformed { .. })
    ));
}

#[tokio::test]
async fn the_scripted_provider_speaks_both_dialects_streamed_and_whole() {
    let log = Log::new();
    let demo = crate::demo();
    let body = |stream: bool| {
        format!(
            r#"{{"model":"demo","max_tokens":9,"stream":{stream},"messages":[{{"role":"user","content":"hello"}}]}}"#
        )
    };
    for protocol in [Protocol::OpenAi, Protocol::Anthropic] {
        for stream in [true, false] {
            let relayed = log
                .relay(demo.as_ref(), protocol, &body(stream))
                .await
                .unwrap();
            let bytes = relayed
                .response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes();
            assert!(
                String::from_utf8_lossy(&bytes).contains("[demo provider: scripted"),
                "{protocol} {stream}"
            );
        }
    }
    assert_eq!(log.ends().await, ["ok"; 4]);
}
