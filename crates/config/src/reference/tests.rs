use super::{json_schema, markdown};
use crate::keys::Key;
use crate::table::KEYS;
use std::fs;
use std::path::PathBuf;

/// Compares a page with what the table says; `UPDATE_REFERENCE=1` writes it anew.
fn same(name: &str, now: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/reference")
        .join(name);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&path, now).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == now,
        "docs/reference/{name} is not what the table of keys says; \
         run: UPDATE_REFERENCE=1 cargo nextest run -p clawdbot-config reference"
    );
}

#[test]
fn the_reference_is_what_the_table_says() {
    same("config.md", &markdown());
}

#[test]
fn the_schema_is_what_the_table_says() {
    same("config.schema.json", &format!("{:#}\n", json_schema()));
}

#[test]
fn the_schema_closes_every_group_and_knows_every_key() {
    let schema = json_schema();
    for key in &KEYS {
        let mut at = &schema;
        for part in key.name().split('.') {
            assert_eq!(at["additionalProperties"], false, "{}", key.name());
            at = &at["properties"][part];
        }
        assert_eq!(at["description"], key.about());
        assert_eq!(at["default"], key.default_value(), "{}", key.name());
    }
}

#[test]
fn the_reference_names_every_key_and_every_variable() {
    let page = markdown();
    for key in &KEYS {
        assert!(
            page.contains(&format!("### `{}`\n", key.name())),
            "{}",
            key.name()
        );
        assert!(
            page.contains(&format!("`{}`\n", Key::env_var(key))),
            "{}",
            key.name()
        );
    }
}
