//! Records in the OpenTelemetry logs data model, as OTLP's JSON: one `ExportLogsServiceRequest` a line,
//! which a collector takes at `/v1/logs` and from a file alike.
//!
//! | the log | the data model |
//! |---|---|
//! | `time` | `timeUnixNano` and `observedTimeUnixNano`: whoever wrote the record saw it happen |
//! | `level` | `severityText`, and `severityNumber` 5, 9, 13, 17 |
//! | `event` | `eventName` |
//! | the line as it stands | `body`: its `hash` proves it at the other end, too |
//! | `actor`, `session`, `address` | `user.id`, `session.id`, `client.address` |
//! | `method`, `path`, `status` of a request | `http.request.method`, `url.path`, `http.response.status_code` |
//! | everything else | `clawdbot.…` by its name |
//!
//! 64-bit numbers are text, as in all of Protobuf's JSON.

use crate::cli::audit::record::Record;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::borrow::Cow;

/// So many records one request carries: some hundred kilobytes, where collectors take four megabytes.
pub(super) const BATCH: usize = 256;
/// A request this long takes no more records; one of the longest is under two hundred kilobytes in it.
pub(super) const BATCH_BYTES: usize = 1 << 20;

/// What stands in a request before its log records.
pub(super) const HEAD: &str = concat!(
    r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"clawdbot"}},"#,
    r#"{"key":"service.version","value":{"stringValue":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}}]},"scopeLogs":[{"scope":{"name":"clawdbot.audit","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""},"logRecords":["#
);
/// What stands after them.
pub(super) const TAIL: &str = "]}]}]}";

/// A log record, borrowed from the log's: an export is of millions.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time_unix_nano: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_time_unix_nano: Option<&'a str>,
    severity_number: u8,
    severity_text: &'static str,
    event_name: &'a str,
    body: Body<'a>,
    attributes: Vec<Attribute<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    string_value: &'a str,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: Cow<'a, str>,
    value: Any<'a>,
}

/// Appends a record to `to`, as a log record.
pub(super) fn log_record(record: &Record, line: &str, to: &mut Vec<u8>) -> serde_json::Result<()> {
    let (severity_number, severity_text) = match record.text("level") {
        "debug" => (5, "DEBUG"),
        "info" => (9, "INFO"),
        "warn" => (13, "WARN"),
        _ => (17, "ERROR"),
    };
    let mut attributes = Vec::with_capacity(24);
    let mut add = |key, value| {
        attributes.extend(Any::of(value).map(|value| Attribute { key, value }));
    };
    for (field, key) in [
        ("index", "clawdbot.index"),
        ("outcome", "clawdbot.outcome"),
        ("begin", "clawdbot.begin"),
        ("actor", "user.id"),
        ("session", "session.id"),
        ("request", "clawdbot.request"),
        ("address", "client.address"),
        ("boot", "clawdbot.boot"),
        ("hash", "clawdbot.hash"),
    ] {
        add(key.into(), record.0.get(field).unwrap_or(&Value::Null));
    }
    let of_http = matches!(record.text("event"), "request" | "security.request.refused");
    for (field, value) in record.own() {
        let key = match field.as_str() {
            "method" if of_http => "http.request.method".into(),
            "path" if of_http => "url.path".into(),
            "status" if of_http => "http.response.status_code".into(),
            field => ["clawdbot.", field].concat().into(),
        };
        add(key, value);
    }
    let nanos = nanos(record.text("time"));
    let log_record = LogRecord {
        time_unix_nano: nanos.as_deref(),
        observed_time_unix_nano: nanos.as_deref(),
        severity_number,
        severity_text,
        event_name: record.text("event"),
        body: Body { string_value: line },
        attributes,
    };
    serde_json::to_writer(to, &log_record)
}

/// A value as `AnyValue`.
struct Any<'a>(&'a Value);

impl<'a> Any<'a> {
    /// Nothing for none.
    fn of(value: &'a Value) -> Option<Self> {
        (!value.is_null()).then_some(Self(value))
    }
}

#[derive(Serialize)]
struct Values<T> {
    values: Vec<T>,
}

impl<'a> Serialize for Any<'a> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut one = to.serialize_map(Some(1))?;
        match self.0 {
            Value::Null => {}
            Value::Bool(flag) => one.serialize_entry("boolValue", flag)?,
            Value::Number(number) => match number.as_i64() {
                Some(whole) => one.serialize_entry("intValue", &whole.to_string())?,
                None => one.serialize_entry("doubleValue", number)?,
            },
            Value::String(text) => one.serialize_entry("stringValue", text)?,
            Value::Array(all) => {
                let values: Vec<Any<'_>> = all.iter().filter_map(Any::of).collect();
                one.serialize_entry("arrayValue", &Values { values })?;
            }
            Value::Object(all) => {
                let pair = |(key, value): (&'a String, &'a Value)| {
                    let key = key.as_str().into();
                    Any::of(value).map(|value| Attribute { key, value })
                };
                let values: Vec<Attribute<'_>> = all.iter().filter_map(pair).collect();
                one.serialize_entry("kvlistValue", &Values { values })?;
            }
        }
        one.end()
    }
}

/// Nanoseconds since 1970 as text, of a time as the log has it; nothing before 1970, which the field
/// cannot tell.
fn nanos(time: &str) -> Option<String> {
    let at: jiff::Timestamp = time.parse().ok()?;
    let nanos = u64::try_from(at.as_nanosecond()).ok()?;
    Some(nanos.to_string())
}

#[cfg(test)]
mod tests {
    use super::{HEAD, TAIL, log_record, nanos};
    use crate::cli::audit::record::Record;
    use serde_json::{Value, json};

    fn of(line: &str) -> Value {
        let mut text = Vec::new();
        log_record(&Record::parse(line).unwrap(), line, &mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn attribute<'a>(record: &'a Value, key: &str) -> &'a Value {
        let all = record["attributes"].as_array().unwrap();
        let found = all.iter().find(|one| one["key"] == key);
        &found.unwrap_or_else(|| panic!("{key} is not in {record}"))["value"]
    }

    #[test]
    fn every_field_of_a_record_has_its_place_in_the_data_model() {
        let line = r#"{"index":7,"time":"2026-11-25T17:00:00.123456789Z","boot":"b","mono":1,"level":"warn","event":"security.request.refused","method":"GET","path":"/x","status":401,"score":0.5,"usage":{"input_tokens":3},"rules":["a"],"error":null,"outcome":"denied","repeats":9007199254740993,"actor":"t","session":"s","request":"r","address":"::1","prev":"0","hash":"ff"}"#;
        let record = of(line);
        assert_eq!(record["timeUnixNano"], "1795626000123456789");
        assert_eq!(record["observedTimeUnixNano"], record["timeUnixNano"]);
        assert_eq!(
            (&record["severityNumber"], &record["severityText"]),
            (&json!(13), &json!("WARN"))
        );
        assert_eq!(record["eventName"], "security.request.refused");
        assert_eq!(record["body"]["stringValue"], line, "nothing is lost");
        for (key, value) in [
            ("user.id", json!({"stringValue": "t"})),
            ("session.id", json!({"stringValue": "s"})),
            ("client.address", json!({"stringValue": "::1"})),
            ("http.request.method", json!({"stringValue": "GET"})),
            ("url.path", json!({"stringValue": "/x"})),
            ("http.response.status_code", json!({"intValue": "401"})),
            ("clawdbot.index", json!({"intValue": "7"})),
            ("clawdbot.repeats", json!({"intValue": "9007199254740993"})),
            ("clawdbot.score", json!({"doubleValue": 0.5})),
            ("clawdbot.hash", json!({"stringValue": "ff"})),
            (
                "clawdbot.rules",
                json!({"arrayValue": {"values": [{"stringValue": "a"}]}}),
            ),
            (
                "clawdbot.usage",
                json!({"kvlistValue": {"values": [{"key": "input_tokens", "value": {"intValue": "3"}}]}}),
            ),
        ] {
            assert_eq!(attribute(&record, key), &value, "{key}");
        }
        let keys = record["attributes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["key"].as_str());
        let mut keys: Vec<_> = keys.collect();
        let many = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), many, "keys of a record are unique");
        assert!(!keys.contains(&Some("clawdbot.error")), "null is no value");
        let whole = [HEAD, &record.to_string(), TAIL].concat();
        let whole: Value = serde_json::from_str(&whole).unwrap();
        let logs = &whole["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
        assert_eq!(logs.as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn a_time_that_is_none_is_left_out() {
        let record = of(r#"{"event":"x","time":"yesterday"}"#);
        assert_eq!(record.get("timeUnixNano"), None);
        assert_eq!(nanos("1969-01-01T00:00:00Z"), None);
    }
}
