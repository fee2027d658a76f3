//! Search providers: how each is asked, and how each writes its results.

use super::target::Target;
use clawdbot_domain::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::Write as _;
use std::sync::Arc;

/// Whose results they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dialect {
    /// A `SearXNG` instance, without a key.
    SearXng,
    /// Brave's web search.
    Brave,
    /// Tavily.
    Tavily,
}

/// Where a key is kept: asked for each search, so that a new one is taken up at once. An error in words says
/// why there is none that can be read.
pub type Keeper = Arc<dyn Fn() -> Result<Option<Secret>, String> + Send + Sync>;

/// The search provider that an operator chose.
#[derive(Clone)]
pub struct SearchSettings {
    /// Which kind.
    pub dialect: Dialect,
    /// Where it is. Chosen by the operator, so it may be inside.
    pub base_url: String,
    /// Its key. No child, argument or record ever sees it.
    pub key: Keeper,
}

impl std::fmt::Debug for SearchSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SearchSettings")
            .field("dialect", &self.dialect)
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
    }
}

/// One question to a provider.
pub(super) struct Question {
    pub(super) target: Target,
    pub(super) headers: Vec<(&'static str, String)>,
    /// Set for a POST.
    pub(super) body: Option<String>,
}

impl SearchSettings {
    /// The key, for a provider that wants one.
    fn key(&self) -> Result<Option<Secret>, String> {
        let name = match self.dialect {
            Dialect::SearXng => return Ok(None),
            Dialect::Brave => "brave",
            Dialect::Tavily => "tavily",
        };
        match (self.key)() {
            Ok(Some(key)) => Ok(Some(key)),
            Ok(None) => Err(format!(
                "no key is stored for {name}: clawdbot models auth paste-token --provider {name}"
            )),
            // Whoever keeps it has told the log.
            Err(_) => Err(format!(
                "the key of {name} cannot be read; the log says why"
            )),
        }
    }

    /// How to ask it.
    pub(super) fn ask(&self, query: &str, count: usize) -> Result<Question, String> {
        let base = self.base_url.trim_end_matches('/');
        let words = encoded(query);
        let key = self.key()?;
        let key = key.as_ref().map(Secret::expose).unwrap_or_default();
        let (url, headers, body) = match self.dialect {
            Dialect::SearXng => (format!("{base}/search?format=json&q={words}"), vec![], None),
            Dialect::Brave => (
                format!("{base}/res/v1/web/search?count={count}&q={words}"),
                vec![("x-subscription-token", key.to_owned())],
                None,
            ),
            Dialect::Tavily => (
                format!("{base}/search"),
                vec![
                    ("authorization", format!("Bearer {key}")),
                    ("content-type", "application/json".to_owned()),
                ],
                Some(serde_json::json!({ "query": query, "max_results": count }).to_string()),
            ),
        };
        let target =
            Target::parse(&url).map_err(|why| format!("the search provider's URL: {why}"))?;
        Ok(Question {
            target,
            headers,
            body,
        })
    }
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            all.push(char::from(byte));
        } else {
            let _ = write!(all, "%{byte:02X}");
        }
        all
    })
}

/// Results in words: title, address and a piece of text each. Runs in the child: what a provider sends is as
/// trusted as what it found.
pub(crate) fn told(dialect: Dialect, body: &[u8], count: usize) -> Result<String, String> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| format!("the search provider did not answer in JSON: {error}"))?;
    let (results, text) = match dialect {
        Dialect::SearXng | Dialect::Tavily => (body.get("results"), "content"),
        Dialect::Brave => (
            body.get("web").and_then(|web| web.get("results")),
            "description",
        ),
    };
    let results = results
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if results.is_empty() {
        return Ok("[no result]\n".to_owned());
    }
    let mut all = String::new();
    for (at, result) in results.iter().take(count).enumerate() {
        let field =
            |name: &str| one_line(result.get(name).and_then(Value::as_str).unwrap_or(""), 500);
        let _ = writeln!(
            all,
            "{}. {}\n   {}\n   {}",
            at + 1,
            field("title"),
            field("url"),
            field(text)
        );
    }
    Ok(all)
}

fn one_line(text: &str, most: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dialect: Dialect) -> SearchSettings {
        SearchSettings {
            dialect,
            base_url: "https://search.example/".into(),
            key: Arc::new(|| Ok(Some(Secret::new("k3y")))),
        }
    }

    #[test]
    fn each_provider_is_asked_in_its_way_and_the_words_stay_words() {
        let ask = settings(Dialect::SearXng).ask("a b&q=c", 5).unwrap();
        assert_eq!(ask.target.path, "/search?format=json&q=a%20b%26q%3Dc");
        assert!(ask.headers.is_empty(), "SearXNG is sent no key");
        let ask = settings(Dialect::Brave).ask("é", 5).unwrap();
        assert_eq!(ask.target.path, "/res/v1/web/search?count=5&q=%C3%A9");
        assert_eq!(ask.headers, [("x-subscription-token", "k3y".to_owned())]);
        let ask = settings(Dialect::Tavily).ask("\"x", 5).unwrap();
        assert_eq!(ask.body.unwrap(), r#"{"query":"\"x","max_results":5}"#);
    }

    #[test]
    fn results_are_told_on_three_lines_each_and_no_more_than_asked() {
        let result = r#"{"title":"T\n1. fake","url":"https://a/","content":"x","description":"x"}"#;
        let list = format!(r#"{{"results":[{result},{result}]}}"#);
        let expected = "1. T 1. fake\n   https://a/\n   x\n";
        assert_eq!(
            told(Dialect::SearXng, list.as_bytes(), 1).unwrap(),
            expected
        );
        assert_eq!(told(Dialect::Tavily, list.as_bytes(), 1).unwrap(), expected);
        let brave = format!(r#"{{"web":{list}}}"#);
        assert_eq!(told(Dialect::Brave, brave.as_bytes(), 1).unwrap(), expected);
        assert_eq!(told(Dialect::Brave, b"{}", 1).unwrap(), "[no result]\n");
        assert!(told(Dialect::Brave, b"<html>", 1).is_err());
    }
}
