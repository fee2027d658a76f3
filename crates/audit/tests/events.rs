//! `docs/reference/events.md` is what the code says. `UPDATE_REFERENCE=1` writes it anew.
//!
//! It is read from the text of the catalogue: an enum cannot be asked for its comments.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly as the tests do"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

const HEAD: &str = "# Events of the audit log

<!-- Generated from crates/domain/src/audited.rs by: UPDATE_REFERENCE=1 cargo nextest run -p clawdbot-audit --test events -->

One JSON object a line. Each has:

| field | what it is |
|---|---|
| `index` | The record's number. It tells the order, whatever the clock did. |
| `time` | UTC, RFC 3339 with nanoseconds. |
| `boot`, `mono` | The kernel's boot id, and nanoseconds since that boot. |
| `level` | `debug`, `info`, `warn` or `error`: that of the event below, but at least `warn` when the outcome is `denied` or `abandoned`, and `error` when it is `failed`. |
| `event` | Its name, below. |
| `outcome` | `begin` (about to happen), `ok`, `denied`, `failed`, `abandoned` (nobody saw its end). |
| `begin` | The index of the begin record this is the end of, if it is one. |
| `repeats` | So many refusals of its kind this record stands for, beyond those written whole: at most five of a kind are in ten seconds. |
| `actor`, `session`, `request`, `address` | Token, conversation, request and address, where they are known. |
| `cut` | `true` when the event's own fields were too long for a line and were left out. |
| `prev`, `hash` | `hash` of the record before, and this record's own. |

*Covered by* is the setting of `gateway.audit` that turns an event off; what says *always* is written while auditing is on. Fields with a
question mark may be missing or null.

| event | when | level | covered by | fields |
|---|---|---|---|---|
";

struct Found {
    variant: String,
    name: String,
    docs: String,
    fields: Vec<String>,
}

/// The text from `start` up to `end`, both left out.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap();
    rest.split_once(end).unwrap().0
}

fn catalogue(source: &str) -> Vec<Found> {
    let (mut all, mut docs, mut name, mut renamed) =
        (Vec::<Found>::new(), Vec::new(), String::new(), None);
    for line in between(source, "pub enum Event {", "\n}").lines() {
        let inside = line.strip_prefix("        ");
        let line = line.trim();
        if let Some(said) = line.strip_prefix("///") {
            docs.push(said.trim().to_owned());
        } else if line.starts_with("#[serde(rename = ") {
            let new = line.split('"').nth(1).unwrap().to_owned();
            if inside.is_some() {
                renamed = Some(new);
            } else {
                name = new;
            }
        } else if line.starts_with(|c: char| c.is_ascii_uppercase()) {
            let (variant, rest) = line.split_once(" {").unwrap();
            let mut found = Found {
                variant: variant.to_owned(),
                name: std::mem::take(&mut name),
                docs: std::mem::take(&mut docs).join(" "),
                fields: Vec::new(),
            };
            if let Some(one_line) = rest.strip_suffix("},") {
                found.fields = typed_list(one_line);
            }
            all.push(found);
        } else if inside.is_some() && line.ends_with(',') {
            let field = field(line, renamed.take());
            all.last_mut().unwrap().fields.push(field);
        }
    }
    all
}

/// Fields that stand on one line; commas within types do not occur in the catalogue.
fn typed_list(text: &str) -> Vec<String> {
    let fields = text.split(", ").map(str::trim);
    fields
        .filter(|one| !one.is_empty())
        .map(|one| field(one, None))
        .collect()
}

fn field(text: &str, renamed: Option<String>) -> String {
    let (name, kind) = text.trim_end_matches(',').split_once(": ").unwrap();
    let name = renamed.unwrap_or_else(|| name.to_owned());
    let inner = kind
        .strip_prefix("Option<")
        .and_then(|kind| kind.strip_suffix('>'));
    let mark = if inner.is_some() { "?" } else { "" };
    format!("`{name}`{mark} {}", kind_word(inner.unwrap_or(kind)))
}

fn kind_word(kind: &str) -> &'static str {
    match kind {
        "bool" => "true or false",
        "f32" | "u16" | "u64" | "usize" | "i32" | "i64" => "number",
        "Vec<String>" => "list of text",
        "Usage" => "object: `input_tokens`, `output_tokens`",
        "Level" => "level",
        // All others are written as text.
        "&'static str" | "String" | "ToolName" | "ProviderName" | "TokenId" | "SessionId"
        | "ApprovalId" | "TurnId" | "Effect" | "Channel" | "SandboxMode" => "text",
        other => panic!("say in kind_word what {other} is in JSON"),
    }
}

/// What each variant comes to in a function that is one match.
fn arms(source: &str, function: &str) -> BTreeMap<String, String> {
    let body = between(source, function, "\n    }\n");
    let body = body.split_once("match self {").unwrap().1;
    let (mut all, mut waiting) = (BTreeMap::new(), Vec::<String>::new());
    for piece in body.split("=>").collect::<Vec<_>>() {
        let (result, patterns) = match piece.find("Self::") {
            Some(at) => piece.split_at(at),
            None => (piece, ""),
        };
        for variant in waiting.drain(..) {
            all.insert(variant, result.to_owned());
        }
        waiting.extend(patterns.split("Self::").skip(1).map(|pattern| {
            let end = pattern.find(|c: char| !c.is_alphanumeric()).unwrap();
            pattern.split_at(end).0.to_owned()
        }));
    }
    all
}

fn level_words(result: &str) -> String {
    let levels: Vec<String> = result
        .split("Level::")
        .skip(1)
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_alphabetic())
                .collect::<String>()
                .to_lowercase()
        })
        .collect();
    match levels.as_slice() {
        [only] => only.clone(),
        [then, otherwise] => {
            let when = between(result, "if ", " {").trim_start_matches('*');
            let when = when.trim_end_matches(".is_some()");
            format!("{otherwise}; {then} with `{when}`")
        }
        _ => panic!("say in level_words what this is: {result}"),
    }
}

fn covered(result: &str) -> &'static str {
    match result.split("Class::").nth(1).unwrap() {
        class if class.starts_with("Request") => "`logRequests`",
        class if class.starts_with("Tool") => "`logTools`",
        class if class.starts_with("Security") => "always",
        other => panic!("say in covered what this is: {other}"),
    }
}

fn page(source: &str) -> String {
    let (levels, classes) = (arms(source, "fn level("), arms(source, "fn class("));
    let mut page = HEAD.to_owned();
    for found in catalogue(source) {
        let (level, class) = (
            levels.get(&found.variant).unwrap(),
            classes.get(&found.variant).unwrap(),
        );
        writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            found.name,
            found.docs,
            level_words(level),
            covered(class),
            found.fields.join(", "),
        )
        .unwrap();
    }
    page
}

#[test]
fn the_reference_is_what_the_catalogue_says() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let source = std::fs::read_to_string(root.join("crates/domain/src/audited.rs")).unwrap();
    let (now, path) = (page(&source), root.join("docs/reference/events.md"));
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == now,
        "docs/reference/events.md is not what the catalogue of events says; \
         run: UPDATE_REFERENCE=1 cargo nextest run -p clawdbot-audit --test events"
    );
    let known = [
        "| `security.clock.jumped` | The wall clock jumped by so many seconds; the order of records is their index. | warn | always | `seconds` number |",
        "`error`? text |",
        "| info; warn with `refused` | `logTools` | `tool` text, `origin` text, `address`? text, `refused`? text |",
        "`enabled` true or false, `log_level` level,",
    ];
    for line in known {
        assert!(now.contains(line), "{line}\nis not in\n{now}");
    }
    let rows = now
        .lines()
        .filter(|line| line.starts_with("| `") && line.matches(" | ").count() == 4);
    assert_eq!(
        rows.count(),
        source.matches("\n    #[serde(rename = ").count()
    );
}
