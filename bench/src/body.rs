//! The request, made once; what is to be new in each is overwritten before it is sent.

use crate::Kind;
use serde_json::{Value, json};

fn text(size: usize) -> String {
    let mut text =
        "please go through the quarterly report and list the open risks of each team in a table. "
            .repeat(size / 80 + 1);
    text.truncate(size);
    text
}

/// Stands where every request says something of its own: a text that was judged before may cost less.
pub(crate) const FRESH: &str = "#000000000000";

/// Overwrites it with the number of a request.
pub(crate) fn freshen(request: &mut [u8], places: &[usize], number: u64) {
    let digits = format!("#{:012}", number % 1_000_000_000_000);
    for place in places {
        request[*place..*place + FRESH.len()].copy_from_slice(digits.as_bytes());
    }
}

/// Where it stands.
pub(crate) fn places(request: &[u8]) -> Vec<usize> {
    let windows = request.windows(FRESH.len()).enumerate();
    let found = windows.filter(|(_, window)| *window == FRESH.as_bytes());
    found.map(|(at, _)| at).collect()
}

fn messages(kind: Kind) -> Value {
    match kind {
        Kind::Small | Kind::Stream => {
            json!([{"role": "user", "content": format!("{FRESH} {}", text(46))}])
        }
        Kind::FourK | Kind::FourKAgain => {
            let role = |nth: usize| {
                if nth.is_multiple_of(2) {
                    "user"
                } else {
                    "assistant"
                }
            };
            let begin = |nth| match nth {
                0..4 if kind == Kind::FourKAgain => "4k",
                _ => FRESH,
            };
            let message = |nth| {
                let content = format!("{} {}", begin(nth), text(760));
                json!({"role": role(nth), "content": content})
            };
            (0..5).map(message).collect()
        }
    }
}

/// Tells the mock provider how much to answer.
fn size(kind: Kind) -> &'static str {
    match kind {
        Kind::Small | Kind::Stream => "small",
        Kind::FourK | Kind::FourKAgain => "4k",
    }
}

/// A question to a model.
pub(crate) fn of(kind: Kind, model: &str) -> String {
    let mut body =
        json!({"model": model, "max_tokens": 256, "user": size(kind), "messages": messages(kind)});
    if kind == Kind::Stream {
        body["stream"] = true.into();
    }
    body.to_string()
}

/// The bytes of a POST.
pub(crate) fn request(path: &str, port: u16, token: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n\
         accept: */*\r\nuser-agent: load\r\nauthorization: Bearer {token}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
