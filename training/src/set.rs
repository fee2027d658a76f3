//! The rows to learn from, and how much each counts.

use crate::fit::Example;
use crate::generate;
use crate::rows::{Row, load};
use clawdbot_guard::lab;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Of everything that is drawn by lot.
pub(crate) const SEED: u64 = 7;

/// How many attacks are put into documents.
const EMBEDDED: usize = 2000;

/// A source of so many rows counts fully; larger ones less a row, smaller ones more.
const USUAL_ROWS: f32 = 1500.0;
const MOST_WEIGHT: f32 = 3.0;

/// A row of our own: attacks, harmless texts. Many rows come from few templates.
const OWN_WEIGHT: [f32; 2] = [1.0, 1.25];

/// What tools should not say is often what people may: the user's head hardly learns it.
const INDIRECT_FOR_USER: f32 = 0.1;
const INDIRECT_FOR_TOOL: f32 = 1.5;

/// Sources whose labels were found to be wrong often, and what their attacks count.
const DOUBTFUL: &[(&str, f32)] = &[("cyberseceval_pi", 0.1), ("llmail", 0.3)];

/// Sources that are measured on and never learned from: neuralchemy's licence could not be confirmed,
/// and kanidm's is copyleft by file, which nobody has ruled on for weights.
pub(crate) const ONLY_MEASURED: &[&str] = &[
    "neuralchemy",
    "kanidm_docs",
    "agentdojo",
    "bastion",
    "gandalf",
    "deepset",
    "crates_held",
];

/// Rows and the examples made of them.
pub(crate) struct Set {
    pub(crate) rows: Vec<Row>,
    pub(crate) examples: Vec<Example>,
}

/// Everything there is.
pub(crate) fn load_all(data: &Path) -> Result<Set, String> {
    let mut rows = load(&data.join("train.jsonl.gz"))?;
    rows.extend(load_rows(data)?);
    rows.extend(generate::rows(SEED));
    let documents: Vec<_> = rows.iter().filter(|r| may_learn(r)).cloned().collect();
    rows.extend(generate::embedded(&documents, EMBEDDED, SEED + 2));
    let examples = examples(&rows);
    Ok(Set { rows, examples })
}

/// What `fetch/rows.py` made of packages; without it there is the rest.
pub(crate) fn load_rows(data: &Path) -> Result<Vec<Row>, String> {
    let path = data.join("rows.jsonl.gz");
    if path.is_file() {
        load(&path)
    } else {
        Ok(Vec::new())
    }
}

pub(crate) fn may_learn(row: &Row) -> bool {
    !ONLY_MEASURED.contains(&row.source.as_str())
}

fn examples(rows: &[Row]) -> Vec<Example> {
    let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
    let mut counts: HashMap<(&str, u8), f32> = HashMap::new();
    for row in rows {
        let next = ids.len();
        ids.entry(&row.source).or_insert(next);
        *counts.entry((&row.source, row.label)).or_default() += 1.0;
    }
    rows.iter()
        .map(|row| Example {
            readings: lab::collect(&row.text),
            attack: row.label == 1,
            weight: weight(row, counts[&(row.source.as_str(), row.label)]),
            source: ids[row.source.as_str()],
        })
        .collect()
}

fn weight(row: &Row, rows_like_it: f32) -> [f32; 2] {
    let weight = if row.source.starts_with("own-") {
        OWN_WEIGHT[usize::from(row.label == 0)]
    } else {
        (USUAL_ROWS / rows_like_it).sqrt().min(MOST_WEIGHT)
    };
    let doubt = DOUBTFUL
        .iter()
        .find(|(source, _)| row.label == 1 && *source == row.source);
    let weight = weight * doubt.map_or(1.0, |(_, share)| *share);
    match row.kind.as_str() {
        "indirect" | "tool_description" => [weight * INDIRECT_FOR_USER, weight * INDIRECT_FOR_TOOL],
        _ => [weight, weight],
    }
}

/// A row by itself, to be judged and not learned from.
pub(crate) fn example_of(row: &Row) -> Example {
    Example {
        readings: lab::collect(&row.text),
        attack: row.label == 1,
        weight: [0.0, 0.0],
        source: 0,
    }
}
