//! The request, made once and sent as it is.

use crate::Kind;
use serde_json::{Value, json};

fn text(size: usize) -> String {
    let mut text =
        "please go through the quarterly report and list the open risks of each team in a table. "
            .repeat(size / 80 + 1);
    text.truncate(size);
    text
}

fn messages(kind: Kind) -> Value {
    match kind {
        Kind::Small | Kind::Stream => json!([{"role": "user", "content": text(60)}]),
        Kind::FourK => {
            let role = |nth: usize| {
                if nth.is_multiple_of(2) {
                    "user"
                } else {
                    "assistant"
                }
            };
            let message = |nth| json!({"role": role(nth), "content": format!("4k {}", text(760))});
            (0..5).map(message).collect()
        }
    }
}

/// A question to a model.
pub(crate) fn of(kind: Kind, model: &str) -> String {
    let mut body = json!({"model": model, "max_tokens": 256, "messages": messages(kind)});
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
