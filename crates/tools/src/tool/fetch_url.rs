//! `fetch_url`: a page of the web as text.

use super::{MOST_ARGUMENTS, Tool, Work, number, text};
use crate::broker::line::{Head, Wanted};
use crate::online::Line;
use clawdbot_domain::Effect;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The most characters of a page, and how many when nothing is said.
const MOST_PAGE: usize = 100_000;
const PAGE: usize = 20_000;
/// How wide text is set.
const WIDTH: usize = 100;

pub(super) const TOOL: Tool = Tool {
    name: "fetch_url",
    description: "Read a page of the public web as text. Long pages come in parts: give `offset` (characters to \
                  skip) and `limit`. Nothing is sent but the request for this URL.",
    effect: Effect::Network,
    schema,
    most_arguments: MOST_ARGUMENTS,
    work: Work::Online(fetch),
};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "url": {
                "type": "string", "minLength": 1, "maxLength": 8192,
                "description": "An http or https URL"
            },
            "offset": {
                "type": "integer", "minimum": 0, "maximum": 100_000_000,
                "description": "Characters to skip"
            },
            "limit": {
                "type": "integer", "minimum": 1, "maximum": MOST_PAGE,
                "description": "Characters to show"
            }
        },
        "required": ["url"],
        "additionalProperties": false
    })
}

fn fetch(line: &mut Line, arguments: &Map<String, Value>) -> Result<String, String> {
    let (head, body) = line.ask(&Wanted::Url(text(arguments, "url")?.to_owned()))?;
    let Head::Got {
        url,
        status,
        media,
        cut,
    } = head
    else {
        return Err("the broker answered something else".to_owned());
    };
    let content = readable(&media, &body)?;
    let skip = number(arguments, "offset").unwrap_or(0);
    let limit = number(arguments, "limit").unwrap_or(PAGE);
    let page: String = content.chars().skip(skip).take(limit).collect();
    let mut told = format!("[{status} {url}]\n{page}");
    let (shown, all) = (page.chars().count(), content.chars().count());
    if !told.ends_with('\n') {
        told.push('\n');
    }
    if skip + shown < all {
        let _ = writeln!(
            told,
            "[characters {skip} to {} of {all}; go on with offset {0}]",
            skip + shown
        );
    }
    if cut {
        told.push_str("[the page is longer than what is fetched]\n");
    }
    if status >= 400 { Err(told) } else { Ok(told) }
}

/// What people would read of it.
fn readable(media: &str, body: &[u8]) -> Result<String, String> {
    let kind = media
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    let is_html = matches!(kind.as_str(), "text/html" | "application/xhtml+xml");
    let is_text = kind.starts_with("text/")
        || kind.ends_with("json")
        || kind.ends_with("xml")
        || kind.ends_with("javascript")
        || kind.is_empty();
    if is_html {
        return html2text::from_read(body, WIDTH).map_err(|error| format!("the page: {error}"));
    }
    let text = String::from_utf8_lossy(body);
    if !is_text || text.contains('\0') {
        let bytes = body.len();
        return Err(format!(
            "the answer is not text ({bytes} bytes of {kind:?})"
        ));
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_text_without_its_scripts() {
        let page = b"<html><head><title>T</title><script>evil()</script><style>p{}</style></head>\
            <body><h1>Hi</h1><p>One <a href='/x'>link</a></p><ul><li>a<li>b</ul></body></html>";
        let text = readable("text/html; charset=utf-8", page).unwrap();
        assert!(
            text.contains("Hi") && text.contains("One") && text.contains("link"),
            "{text}"
        );
        assert!(!text.contains("evil") && !text.contains("p{}"), "{text}");
    }

    #[test]
    fn nests_and_broken_pages_are_read_and_data_is_refused() {
        let deep = "<div>".repeat(5_000) + "x";
        assert!(readable("text/html", deep.as_bytes()).is_ok());
        assert!(readable("text/html", b"<p><b>\xff</i><table><td>").is_ok());
        assert!(readable("image/png", b"\x89PNG").is_err());
        assert!(readable("text/plain", b"a\0b").is_err());
        assert_eq!(readable("application/json", b"{}").unwrap(), "{}");
    }
}
