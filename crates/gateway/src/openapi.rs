//! `GET /openapi.json`: the API, described from the route table and from the types that handlers read
//! and write. OpenAPI 3.1, whose schemas are JSON Schema 2020-12.

use crate::answer::ErrorBody;
use crate::body::json;
use crate::caller::Caller;
use crate::routes::{Access, Gives, Handled, Row, TABLE};
use axum::body::Body;
use http::{Request, StatusCode};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// The schema of a type, as the route table names it.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The schema of one type.
pub(crate) fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Model routes read the model's name before they decode anything else.
pub(crate) fn names_model(schema: &mut Schema) {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        let about = "`clawdbot/main` for an agent turn, or provider/model";
        properties.insert(
            "model".into(),
            json!({"type": "string", "description": about}),
        );
    }
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.push(json!("model"));
    }
}

/// What the edge, the token check and the body reader may answer on any guarded route.
const REFUSALS: [(u16, &str); 10] = [
    (
        400,
        "The request is not understood; the message says what is wrong",
    ),
    (401, "No valid token"),
    (
        403,
        "The token lacks the scope, the origin is foreign, or policy or guard refuse",
    ),
    (404, "There is no such thing"),
    (408, "The body did not arrive in time"),
    (413, "The body is too large"),
    (415, "The body is not plain application/json"),
    (421, "This host is not served here"),
    (429, "Too many requests; Retry-After says when to come back"),
    (
        503,
        "The audit log cannot be written, or the gateway is full: nothing was done",
    ),
];

/// Handles `GET /openapi.json`.
pub(crate) async fn openapi(_: Caller, _: Request<Body>) -> Handled {
    Ok(json(StatusCode::OK, &document()))
}

/// The whole document.
pub(crate) fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for row in TABLE {
        let operation = operation(row, &mut generator);
        if let Value::Object(path) = paths.entry(row.path).or_insert_with(|| json!({})) {
            path.insert(row.method.to_ascii_lowercase(), operation);
        }
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Clawdbot", "version": env!("CARGO_PKG_VERSION"),
            "description": "Self-hosted AI-assistant gateway. Every route but the open ones takes a bearer token with the scope it names.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "cb-<env>-<id>.<secret>"}},
        },
    })
}

fn operation(row: &Row, generator: &mut SchemaGenerator) -> Value {
    let mut operation = Map::new();
    let mut put = |name: &str, value: Value| operation.insert(name.to_owned(), value);
    put("operationId", json!(row.name));
    put("summary", json!(row.summary));
    match row.access {
        Access::Open => put("security", json!([])),
        Access::Scope(scope) => {
            put("security", json!([{"token": []}]));
            put("x-clawdbot-scope", json!(scope.as_str()))
        }
    };
    if row.path.contains("{id}") {
        let pattern = if row.path.starts_with("/tokens/") {
            "^[0-9A-Za-z]{12}$"
        } else {
            "^[0-9A-Za-z_]{12,40}$"
        };
        let schema = json!({"type": "string", "pattern": pattern});
        let id = json!({"name": "id", "in": "path", "required": true, "schema": schema});
        put("parameters", json!([id]));
    }
    if let Some(takes) = row.takes {
        let content = json!({"application/json": {"schema": takes(generator)}});
        put(
            "requestBody",
            json!({"required": !row.perhaps, "content": content}),
        );
    }
    put("responses", responses(row, generator));
    Value::Object(operation)
}

fn responses(row: &Row, generator: &mut SchemaGenerator) -> Value {
    let (status, content) = match row.gives {
        Gives::Json(status, schema) => {
            let schema =
                schema.map_or_else(|| json!({"type": "object"}), |of| of(generator).to_value());
            (status, json!({"application/json": {"schema": schema}}))
        }
        Gives::Stream => (
            200,
            json!({"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}}),
        ),
        Gives::Text => (200, json!({"text/plain": {"schema": {"type": "string"}}})),
    };
    let mut responses = Map::new();
    responses.insert(
        status.to_string(),
        json!({"description": "It is done", "content": content}),
    );
    let error = schema_of::<ErrorBody>(generator);
    for (status, about) in REFUSALS.iter().chain(row.also) {
        let refusal = json!({
            "description": about, "content": {"application/json": {"schema": error}},
        });
        responses.entry(status.to_string()).or_insert(refusal);
    }
    Value::Object(responses)
}
