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
use serde_json::{Value, json};

/// So many records one request carries: some hundred kilobytes, where collectors take four megabytes.
pub(super) const BATCH: usize = 256;
/// So many bytes of records; one of the longest still fits.
pub(super) const BATCH_BYTES: usize = 1 << 20;

/// A request with these log records.
pub(super) fn request(records: &[Value]) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({"resourceLogs": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "clawdbot"}},
            {"key": "service.version", "value": {"stringValue": version}},
        ]},
        "scopeLogs": [{
            "scope": {"name": "clawdbot.audit", "version": version},
            "logRecords": records,
        }],
    }]})
}

/// A record as a log record.
pub(super) fn log_record(record: &Record, line: &str) -> Value {
    let level = record.text("level");
    let number = match level {
        "debug" => 5,
        "info" => 9,
        "warn" => 13,
        _ => 17,
    };
    let mut attributes = Vec::new();
    let mut add = |key: String, value: &Value| {
        if let Some(value) = any(value) {
            attributes.push(json!({"key": key, "value": value}));
        }
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
        add(key.to_owned(), record.0.get(field).unwrap_or(&Value::Null));
    }
    let of_http = matches!(record.text("event"), "request" | "security.request.refused");
    for (field, value) in record.own() {
        let key = match field.as_str() {
            "method" if of_http => "http.request.method".to_owned(),
            "path" if of_http => "url.path".to_owned(),
            "status" if of_http => "http.response.status_code".to_owned(),
            field => format!("clawdbot.{field}"),
        };
        add(key, value);
    }
    let mut out = json!({
        "severityNumber": number,
        "severityText": level.to_uppercase(),
        "eventName": record.text("event"),
        "body": {"stringValue": line},
        "attributes": attributes,
    });
    if let (Some(nanos), Some(fields)) = (nanos(record.text("time")), out.as_object_mut()) {
        let nanos = Value::String(nanos);
        fields.insert("timeUnixNano".to_owned(), nanos.clone());
        fields.insert("observedTimeUnixNano".to_owned(), nanos);
    }
    out
}

/// A value as `AnyValue`; nothing for none.
fn any(value: &Value) -> Option<Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => json!({"boolValue": flag}),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => json!({"intValue": whole.to_string()}),
            None => json!({"doubleValue": number}),
        },
        Value::String(text) => json!({"stringValue": text}),
        Value::Array(all) => {
            let all: Vec<Value> = all.iter().filter_map(any).collect();
            json!({"arrayValue": {"values": all}})
        }
        Value::Object(all) => {
            let pair = |(key, value): (&String, &Value)| {
                any(value).map(|value| json!({"key": key, "value": value}))
            };
            let all: Vec<Value> = all.iter().filter_map(pair).collect();
            json!({"kvlistValue": {"values": all}})
        }
    })
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
    use super::{log_record, nanos, request};
    use crate::cli::audit::record::Record;
    use serde_json::{Value, json};

    fn of(line: &str) -> Value {
        log_record(&Record::parse(line).unwrap(), line)
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
        let whole = request(&[record]);
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
