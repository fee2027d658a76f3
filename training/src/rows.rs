//! Where the rows come from.

use clawdbot_guard::lab;
use serde::{Deserialize, Serialize};
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) text: String,
    pub(crate) label: u8,
    #[serde(default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) source: String,
    #[serde(default)]
    pub(crate) lang: String,
    #[serde(default)]
    pub(crate) licence: String,
}

/// Reads a JSONL file, packed or not.
pub(crate) fn load(path: &Path) -> Result<Vec<Row>, String> {
    let mut text = String::new();
    if path.extension().is_some_and(|e| e == "gz") {
        let mut gzip = Command::new("gzip")
            .arg("-dc")
            .arg(path)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start gzip to read {}: {e}", path.display()))?;
        if let Some(mut out) = gzip.stdout.take() {
            out.read_to_string(&mut text)
                .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        }
        gzip.wait().map_err(|e| e.to_string())?;
    } else {
        text = std::fs::read_to_string(path)
            .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    }
    text.lines()
        .map(|l| serde_json::from_str(l).map_err(|e| format!("{}: {e}", path.display())))
        .collect()
}

/// Which head judges a row.
pub(crate) fn head_of(row: &Row) -> lab::Head {
    match row.kind.as_str() {
        "indirect" | "tool_description" => lab::Head::Tool,
        _ => lab::Head::User,
    }
}
