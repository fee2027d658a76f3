//! The way out, place by place: a credential at every place of an answer at which a string can stand, whole
//! or told in pieces, in both dialects.

use base64::Engine as _;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use testkit::gateway::UPSTREAM_KEY;
use testkit::{Answer, Call, Dialect, Gateway, Home, Reply, Upstream};

/// Most letters of a credential, or of its encoding, that may get out.
const FEW: usize = 20;

/// Where strings stand in the events of a stream, the fields of some servers and of tomorrow among them.
const OPENAI: &str = "/choices/0/delta/content /choices/0/delta/content/0/text \
    /choices/0/delta/refusal /choices/0/delta/reasoning_content /choices/0/delta/reasoning \
    /choices/0/delta/reasoning_details/0/text /choices/0/delta/thinking \
    /choices/0/delta/annotations/0/url_citation/title /choices/0/delta/annotations/0/url_citation/url \
    /choices/0/delta/audio/transcript /choices/0/delta/audio/data /choices/0/delta/tomorrow \
    /choices/0/delta/tool_calls/0/function/arguments /choices/0/delta/tool_calls/0/custom/input \
    /choices/0/delta/tool_calls/0/tomorrow /choices/0/delta/function_call/arguments \
    /choices/0/logprobs/content/0/token /choices/0/logprobs/content/0/top_logprobs/0/token \
    /choices/1/delta/content";
const ANTHROPIC: &str = "/content_block/text /content_block/thinking /content_block/tomorrow \
    /content_block/input/q /content_block/content/0/title /delta/text /delta/thinking \
    /delta/partial_json /delta/signature /delta/citation/cited_text /delta/citation/url /delta/tomorrow";

/// Strings that never come in pieces.
const OPENAI_LABELS: &str = "/id /model /object /system_fingerprint /service_tier /choices/0/delta/role \
    /choices/0/delta/tool_calls/0/id /choices/0/delta/tool_calls/0/function/name /error/message /tomorrow \
    /choices/0/finish_reason /usage/tomorrow";
const ANTHROPIC_LABELS: &str = "/message/id /message/model /message/content/0/text /content_block/id \
    /content_block/name /delta/stop_sequence /error/message /tomorrow /usage/tomorrow";

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// Puts a value at a place, making what is on the way.
fn put(event: &mut Value, place: &str, value: &str) {
    let mut here = event;
    for name in place.split('/').skip(1) {
        here = match name.parse::<usize>() {
            Ok(nth) => {
                if !here.is_array() {
                    *here = json!([]);
                }
                let items = here.as_array_mut().unwrap();
                while items.len() <= nth {
                    items.push(json!({"index": items.len()}));
                }
                &mut items[nth]
            }
            Err(_) => here
                .as_object_mut()
                .unwrap()
                .entry(name)
                .or_insert(json!({})),
        };
    }
    *here = value.into();
}

/// An event of a dialect with this at this place.
fn event(dialect: Dialect, place: &str, value: &str) -> Value {
    let mut event = match dialect {
        Dialect::OpenAi => json!({"choices": [{"index": 0, "delta": {}}]}),
        Dialect::Anthropic if place.starts_with("/content_block") => {
            json!({"type": "content_block_start", "index": 0})
        }
        Dialect::Anthropic if place.starts_with("/message") => json!({"type": "message_start"}),
        Dialect::Anthropic => json!({"type": "content_block_delta", "index": 0}),
    };
    put(&mut event, place, value);
    event
}

fn stream(events: impl IntoIterator<Item = Value>, line: &str) -> Vec<u8> {
    let events = events
        .into_iter()
        .map(|event| format!("data: {event}{line}{line}"));
    events.collect::<String>().into_bytes()
}

/// A gateway before a provider that answers what is put here.
struct House {
    gateway: Gateway,
    upstream: Upstream,
    next: Arc<Mutex<(String, Vec<u8>)>>,
}

impl House {
    fn new() -> Self {
        let next = Arc::new(Mutex::new((String::new(), Vec::new())));
        let told = Arc::clone(&next);
        let upstream = Upstream::thinking(move |_, _| {
            let (kind, body) = told.lock().unwrap().clone();
            // A provider that repeats its key where nobody looks.
            let headers = vec![
                ("x-echo".to_owned(), UPSTREAM_KEY.to_owned()),
                ("x-other".to_owned(), "hello".to_owned()),
            ];
            Reply::Verbatim {
                status: 200,
                kind,
                headers,
                body,
            }
        });
        let home = Home::with_upstream(&upstream);
        home.set("gateway.security.rateLimit.maxRequests", "100000");
        Self {
            gateway: home.start(),
            upstream,
            next,
        }
    }

    fn ask(&self, dialect: Dialect, kind: &str, body: Vec<u8>) -> Answer {
        *self.next.lock().unwrap() = (kind.to_owned(), body);
        let (path, model) = match dialect {
            Dialect::OpenAi => ("/v1/chat/completions", "openai/gpt-mock"),
            Dialect::Anthropic => ("/v1/messages", "anthropic/claude-mock"),
        };
        let stream = kind == "text/event-stream";
        let body = json!({"model": model, "max_tokens": 9, "stream": stream,
            "messages": [{"role": "user", "content": "tell me"}]});
        self.gateway.post(path, &body)
    }

    /// How many letters of what was said at a place got out in a stream.
    fn letters(&self, dialect: Dialect, place: &str, events: Vec<Value>, line: &str) -> usize {
        let answer = self.ask(dialect, "text/event-stream", stream(events, line));
        let text = answer.text().replace("\r\n", "\n").replace('\r', "\n");
        let got = text
            .lines()
            .filter(|line| !line.contains("stopped on its way out"))
            .filter_map(|line| line.split_once("data: "));
        let got = got.filter_map(|(_, data)| serde_json::from_str::<Value>(data).ok());
        got.filter_map(|event| Some(event.pointer(place)?.as_str()?.len()))
            .sum()
    }
}

fn places(of: &[&'static str]) -> impl Iterator<Item = &'static str> {
    of.iter()
        .flat_map(|of| of.split_whitespace())
        .collect::<Vec<_>>()
        .into_iter()
}

#[test]
fn a_credential_gets_out_at_no_place_of_a_stream_whole_encoded_or_in_pieces() {
    let house = House::new();
    let twice = base64(&base64(UPSTREAM_KEY));
    let mut out = Vec::new();
    for (dialect, pieces, labels) in [
        (Dialect::OpenAi, OPENAI, OPENAI_LABELS),
        (Dialect::Anthropic, ANTHROPIC, ANTHROPIC_LABELS),
    ] {
        for place in places(&[pieces, labels]) {
            for said in [UPSTREAM_KEY, &twice] {
                let whole = vec![event(dialect, place, said)];
                if house.letters(dialect, place, whole, "\n") > FEW {
                    out.push(format!("{place} whole: {said}"));
                }
            }
        }
        for place in places(&[pieces]) {
            for said in [UPSTREAM_KEY, &twice] {
                let cut = said
                    .as_bytes()
                    .chunks(3)
                    .map(|piece| std::str::from_utf8(piece).unwrap());
                let cut = cut.map(|piece| event(dialect, place, piece)).collect();
                if house.letters(dialect, place, cut, "\n") > FEW {
                    out.push(format!("{place} in pieces: {said}"));
                }
            }
        }
    }
    assert_eq!(out, Vec::<String>::new());
}

#[test]
fn a_stream_that_a_client_reads_otherwise_than_the_gateway_does_not_go_out() {
    let house = House::new();
    let place = "/choices/0/delta/content";
    let pieces = || {
        let cut = UPSTREAM_KEY
            .as_bytes()
            .chunks(3)
            .map(|piece| std::str::from_utf8(piece).unwrap());
        cut.map(|piece| event(Dialect::OpenAi, place, piece))
            .collect::<Vec<_>>()
    };
    assert!(house.letters(Dialect::OpenAi, place, pieces(), "\r") <= FEW);
    assert!(house.letters(Dialect::OpenAi, place, pieces(), "\r\n") <= FEW);
    // What our parser takes for no JSON, and others for some.
    for odd in ["1e999", "\"\\ud800\"", "NaN"] {
        let events = pieces().into_iter().map(|event| {
            let event = event
                .to_string()
                .replacen('{', &format!("{{\"odd\":{odd},"), 1);
            format!("data: {event}\n\n")
        });
        let body = events.collect::<String>().into_bytes();
        let answer = house.ask(Dialect::OpenAi, "text/event-stream", body);
        assert!(
            answer.text().contains("stopped on its way out"),
            "{odd}: {}",
            answer.text()
        );
    }
    // Of two fields with one name clients take the last, so that one is put together with its like.
    let doubled = pieces().into_iter().map(|event| {
        let event = event.to_string();
        let event = event.replacen("\"content\":", "\"content\":\"a word\",\"content\":", 1);
        format!("data: {event}\n\n")
    });
    let body = doubled.collect::<String>().into_bytes();
    let answer = house.ask(Dialect::OpenAi, "text/event-stream", body);
    let text = answer.text();
    assert!(text.contains("stopped on its way out"), "{text}");
}

#[test]
fn fields_of_tomorrow_arrive_byte_for_byte() {
    let house = House::new();
    for (dialect, place) in [
        (Dialect::OpenAi, "/choices/0/delta/content"),
        (Dialect::Anthropic, "/delta/text"),
    ] {
        let of = |nth: usize| {
            let mut event = event(dialect, place, &format!("word {nth} "));
            let at = place.rsplit_once('/').unwrap().0;
            put(&mut event, &format!("{at}/same_in_each"), "v-1.2_x");
            put(
                &mut event,
                &format!("{at}/parts/0/text"),
                &format!("a/{nth} b-{nth}_"),
            );
            put(
                &mut event,
                &format!("{at}/signature"),
                &base64(&format!("{nth}").repeat(40)),
            );
            event
        };
        let said = stream((0..40).map(of), "\n");
        let answer = house.ask(dialect, "text/event-stream", said.clone());
        assert!(answer.body == said, "{dialect:?}: {}", answer.text());
    }
}

#[test]
fn a_credential_beside_a_body_is_passed_on_in_neither_direction() {
    let house = House::new();
    let body = json!({"choices": [{"message": {"role": "assistant", "content": "hi"}}]});
    let answer = house.ask(
        Dialect::OpenAi,
        "application/json",
        body.to_string().into_bytes(),
    );
    assert_eq!(
        (answer.status, answer.header("x-other")),
        (200, Some("hello"))
    );
    assert_eq!(answer.header("x-echo"), None);
    assert_eq!(house.upstream.seen().len(), 1);
    let body = json!({"model": "openai/gpt-mock", "messages": [{"role": "user", "content": "hi"}]});
    let path = "/v1/chat/completions";
    for call in [
        Call::post(&format!("{path}?key={UPSTREAM_KEY}"), &body),
        Call::post(path, &body).header("openai-beta", UPSTREAM_KEY),
        Call::post(path, &body).header("user-agent", &house.gateway.token.clone()),
    ] {
        let answer = house.gateway.ask(call);
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    assert_eq!(house.upstream.seen().len(), 1, "the provider heard of none");
}

#[test]
fn addresses_lose_their_place_in_every_field_of_words_and_where_we_cannot_read() {
    let house = House::new();
    let link = "![x](https://evil.example/?q=1)";
    let words = ["content", "reasoning_content", "reasoning", "refusal"];
    let said: serde_json::Map<_, _> = words
        .map(|name| (name.to_owned(), link.into()))
        .into_iter()
        .collect();
    let whole = json!({"choices": [{"message": said}]}).to_string();
    let odd = whole.replacen('{', "{\"odd\":1e999,", 1);
    let asked = json!({"model": "openai/gpt-mock", "messages": [
        {"role": "user", "content": "read it"},
        {"role": "tool", "tool_call_id": "c", "content": "a page"}]});
    for (body, status) in [(whole, 200), (odd, 502)] {
        *house.next.lock().unwrap() = ("application/json".to_owned(), body.into_bytes());
        let answer = house.gateway.post("/v1/chat/completions", &asked);
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(
            !answer.text().contains("evil.example/"),
            "{}",
            answer.text()
        );
    }
}
