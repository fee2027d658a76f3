//! `search_web`: what a search provider finds.

use super::{MOST_ARGUMENTS, Tool, Work, number, text};
use crate::broker::line::{Head, Wanted};
use crate::broker::search;
use crate::online::Line;
use clawdbot_domain::Effect;
use serde_json::{Map, Value, json};

/// How many results when nothing is said.
const RESULTS: usize = 8;

pub(super) const TOOL: Tool = Tool {
    name: "search_web",
    description: "Search the public web with the provider that the operator chose: title, URL and a piece of text \
                  of each result. Read a result with fetch_url.",
    effect: Effect::Network,
    schema,
    most_arguments: MOST_ARGUMENTS,
    work: Work::Online(find),
};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "query": {
                "type": "string", "minLength": 1, "maxLength": 400,
                "description": "The words to search for"
            },
            "count": {
                "type": "integer", "minimum": 1, "maximum": 20,
                "description": "How many results"
            }
        },
        "required": ["query"],
        "additionalProperties": false
    })
}

fn find(line: &mut Line, arguments: &Map<String, Value>) -> Result<String, String> {
    let query = text(arguments, "query")?.to_owned();
    let count = number(arguments, "count").unwrap_or(RESULTS);
    match line.ask(&Wanted::Search { query, count })? {
        (Head::Found { provider }, body) => search::told(provider, &body, count),
        (Head::Got { .. } | Head::Refused(_), _) => {
            Err("the broker answered something else".to_owned())
        }
    }
}
