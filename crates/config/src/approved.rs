//! `gateway.tools.approvedCalls`: what one entry may be.

use crate::check;
use crate::kind::short;
use crate::nearest::nearest;
use clawdbot_domain::{ApprovedCall, TokenId};
use serde_json::{Map, Value};

/// The most calls, and the most bytes of all of them: a change of the list stands in the audit log whole,
/// as it was and as it is, and one record there has 60 KiB.
const MOST: usize = 64;
const MOST_BYTES: usize = 8_192;

/// The members of an entry, each of which must be there.
const MEMBERS: [&str; 3] = ["tool", "arguments", "token"];

/// What the key may be, in words.
pub(crate) fn allowed() -> String {
    format!(
        "a list of {{\"tool\": …, \"arguments\": {{…}}, \"token\": ID}}, at most {MOST} and {MOST_BYTES} bytes in all"
    )
}

/// The list as JSON, in its canonical spelling.
pub(crate) fn to_json(calls: &[ApprovedCall]) -> Value {
    calls.iter().map(ApprovedCall::to_json).collect()
}

/// Reads the list.
pub(crate) fn list(value: &Value) -> Result<Vec<ApprovedCall>, String> {
    let must_be = || format!("must be {}", allowed());
    let entries = value.as_array().ok_or_else(must_be)?;
    if entries.len() > MOST {
        return Err(format!("must have at most {MOST} entries"));
    }
    let mut calls = Vec::with_capacity(entries.len());
    for (at, value) in entries.iter().enumerate() {
        let named = |why| format!("entry {} ({}): {why}", at + 1, short(&value.to_string()));
        let call = entry(value).map_err(named)?;
        let (token, tool, arguments) = (&call.token, &call.tool, &call.arguments);
        let is_same = |other: &ApprovedCall| other.is_for(token, tool, arguments);
        if calls.iter().any(is_same) {
            return Err(named("stands here a second time".to_owned()));
        }
        calls.push(call);
    }
    let bytes = to_json(&calls).to_string().len();
    if bytes > MOST_BYTES {
        return Err(format!(
            "has {bytes} bytes, and at most {MOST_BYTES} stand in one record of the audit log"
        ));
    }
    Ok(calls)
}

fn entry(value: &Value) -> Result<ApprovedCall, String> {
    let entry = value
        .as_object()
        .ok_or_else(|| format!("must be an object with {}", MEMBERS.join(", ")))?;
    if let Some(other) = entry.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
        let meant = nearest(other, MEMBERS.into_iter());
        let meant = meant.map_or_else(String::new, |name| format!("; is {name} meant?"));
        return Err(format!("has no member {:?}{meant}", short(other)));
    }
    let text = |name| {
        let text = entry.get(name).and_then(Value::as_str);
        text.ok_or_else(|| format!("{name} must be text in quotes"))
    };
    Ok(ApprovedCall {
        tool: check::tool(text("tool")?)?,
        arguments: arguments(entry)?,
        token: token(text("token")?)?,
    })
}

fn arguments(entry: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let arguments = entry.get("arguments").and_then(Value::as_object);
    arguments.cloned().ok_or_else(|| {
        "arguments must be the whole arguments of one call, an object; there are no patterns"
            .to_owned()
    })
}

/// The public id of one token. All of them cannot be meant.
fn token(text: &str) -> Result<TokenId, String> {
    let is_id = text.len() == 12 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if is_id {
        return Ok(TokenId::new(text));
    }
    Err("token must be the id of one token: clawdbot tokens list".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call(tool: &str, arguments: &Value, token: &str) -> Value {
        json!({"tool": tool, "arguments": arguments, "token": token})
    }

    const ID: &str = "Abc123xyz789";

    #[test]
    fn an_entry_is_one_call_of_one_token_and_nothing_wider() {
        let good = call(
            "write_file",
            &json!({"path": "*", "content": {"b": 1, "a": 2}}),
            ID,
        );
        let read = list(&json!([good])).unwrap();
        let canonical = r#"[{"arguments":{"content":{"a":2,"b":1},"path":"*"},"token":"Abc123xyz789","tool":"write_file"}]"#;
        assert_eq!(to_json(&read).to_string(), canonical);
        for (bad, why) in [
            (call("*", &json!({}), ID), "there is no such tool"),
            (call("writefile", &json!({}), ID), "is write_file meant?"),
            (call("write_file", &json!("*"), ID), "there are no patterns"),
            (call("write_file", &json!([]), ID), "there are no patterns"),
            (
                call("write_file", &Value::Null, ID),
                "there are no patterns",
            ),
            (call("write_file", &json!({}), "*"), "the id of one token"),
            (call("write_file", &json!({}), ""), "the id of one token"),
            (
                json!({"tool": "write_file", "arguments": {}}),
                "token must be",
            ),
            (
                json!({"tool": "write_file", "argument": {}, "token": ID}),
                "is arguments meant?",
            ),
            (
                json!({"tool": "write_file", "arguments": {}, "token": ID, "session": "x"}),
                "has no member",
            ),
            (json!("write_file"), "must be an object"),
        ] {
            let said = list(&json!([bad])).unwrap_err();
            assert!(
                said.starts_with("entry 1 (") && said.contains(why),
                "{said}"
            );
        }
        assert!(list(&json!({"tool": "write_file"})).is_err());
    }

    #[test]
    fn a_list_is_short_and_holds_no_call_twice() {
        let one = |n: usize| call("write_file", &json!({"n": n}), ID);
        let twice = json!([
            call("write_file", &json!({"a": 1, "b": 2}), ID),
            call("write_file", &json!({"b": 2, "a": 1}), ID),
        ]);
        assert!(list(&twice).unwrap_err().contains("a second time"));
        let most: Value = (0..64).map(one).collect();
        assert_eq!(list(&most).unwrap().len(), 64);
        let more: Value = (0..65).map(one).collect();
        assert!(list(&more).unwrap_err().contains("at most 64"));
        let huge = json!([call("write_file", &json!({"x": "y".repeat(8_192)}), ID)]);
        assert!(list(&huge).unwrap_err().contains("at most 8192"));
    }
}
