//! Packs two heads into bytes, chooses thresholds and writes everything beside the guard.

use crate::calibrate::calibrate;
use crate::fit::{Example, Head, Knobs, both, common};
use crate::rows::{Row, head_of, load};
use crate::set::{load_all, may_learn};
use clawdbot_domain::sha256_hex;
use clawdbot_guard::lab::{self, MAGIC, Model};
use clawdbot_guard::measure::{Metrics, Scored, measure, score_exceeded_by};
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;

/// The names of the thresholds, and one in how many of the tuning set's harmless texts exceeds each.
const SHARES: [(&str, usize); 5] = [
    ("block", 1000),
    ("strict", 500),
    ("withhold", 250),
    ("suspect", 100),
    ("certain", usize::MAX),
];

pub(crate) fn fit_and_write(data: &Path, guard: &Path) -> Result<(), String> {
    let set = load_all(data)?;
    let train: Vec<&Example> = set
        .rows
        .iter()
        .zip(&set.examples)
        .filter(|(row, example)| may_learn(row) && !example.readings.is_empty())
        .map(|(_, example)| example)
        .collect();
    let knobs = Knobs::default();
    let common = common(&train, knobs.sources);
    let dev = load(&data.join("dev.jsonl.gz"))?;
    let heads = both(&train, &common, knobs);
    let known = dev.iter().filter(|r| r.label == 0 && may_learn(r));
    let heads = calibrate(&heads, known).apply(heads);
    let bytes = pack(&heads);
    let model = Model::parse(&bytes).ok_or("the packed weights cannot be read back")?;
    let thresholds = [lab::Head::User, lab::Head::Tool].map(|head| thresholds(&model, head, &dev));
    let metrics = measure(&judge_all(&model, &dev, thresholds));
    let strangers: Vec<Row> = [set.rows, dev.clone()].concat();
    let strangers: Vec<Row> = strangers.into_iter().filter(|r| !may_learn(r)).collect();
    let unseen = measure(&judge_all(&model, &strangers, thresholds));
    write(guard, &bytes, thresholds, [&metrics, &unseen])?;
    println!(
        "AUC {:.3}, TPR at 1 % FPR {:.3}, macro {:.3} on {} texts of the tuning set, which shares its \
         sources with training",
        metrics.auc, metrics.tpr_at_1_percent, metrics.macro_tpr_at_1_percent, metrics.texts
    );
    println!(
        "AUC {:.3}, TPR at 1 % FPR {:.3}, found {:.3}, refused {:.4} on {} texts of sources that nothing was \
         learned from",
        unseen.auc, unseen.tpr_at_1_percent, unseen.found, unseen.refused, unseen.texts
    );
    Ok(())
}

/// One byte a weight; a head's largest weight is 127.
fn pack(heads: &[Head; 2]) -> Vec<u8> {
    let scales = [0, 1].map(|h: usize| {
        let most = heads[h]
            .weights
            .iter()
            .fold(0.0f32, |most, w| most.max(w.abs()));
        most.max(f32::MIN_POSITIVE) / 127.0
    });
    let mut bytes = MAGIC.to_vec();
    let numbers = [heads[0].bias, heads[1].bias, scales[0], scales[1]];
    bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    for (user, tool) in heads[0].weights.iter().zip(&heads[1].weights) {
        bytes.push(((user / scales[0]).round() as i8).cast_unsigned());
        bytes.push(((tool / scales[1]).round() as i8).cast_unsigned());
    }
    bytes
}

fn thresholds(model: &Model<'_>, head: lab::Head, dev: &[Row]) -> [f32; 5] {
    let harmless = dev.iter().filter(|r| r.label == 0 && may_learn(r));
    let scores: Vec<f32> = harmless.map(|r| lab::judge(model, head, &r.text)).collect();
    // Rounded up, so that the score itself does not reach it.
    SHARES.map(|(_, one_in)| {
        (score_exceeded_by(scores.clone(), one_in) * 1000.0).floor() / 1000.0 + 0.001
    })
}

fn judge_all(model: &Model<'_>, rows: &[Row], thresholds: [[f32; 5]; 2]) -> Vec<Scored> {
    rows.iter()
        .map(|row| {
            let head = head_of(row);
            let score = lab::judge(model, head, &row.text);
            Scored {
                attack: row.label == 1,
                score,
                finding: score >= thresholds[head as usize][0],
                source: row.source.clone(),
                lang: row.lang.clone(),
            }
        })
        .collect()
}

fn write(
    guard: &Path,
    bytes: &[u8],
    thresholds: [[f32; 5]; 2],
    [tuning, unseen]: [&Metrics; 2],
) -> Result<(), String> {
    let put = |path: &str, content: &[u8]| {
        let path = guard.join(path);
        std::fs::write(&path, content).map_err(|e| format!("cannot write {}: {e}", path.display()))
    };
    put("model/weights.bin", bytes)?;
    put("src/model/thresholds.rs", source(thresholds).as_bytes())?;
    let named = thresholds.map(|values| {
        let pairs = SHARES
            .iter()
            .zip(values)
            .map(|((name, _), value)| ((*name).to_owned(), json!(value)));
        serde_json::Value::Object(pairs.collect())
    });
    let all = json!({
        "weights_sha256": sha256_hex(bytes),
        "thresholds": { "user": named[0], "tool": named[1] },
        "tuning_set": tuning,
        "never_learned_from": unseen,
    });
    let text = serde_json::to_string_pretty(&all).map_err(|e| e.to_string())?;
    put("model/metrics.json", format!("{text}\n").as_bytes())
}

fn source(thresholds: [[f32; 5]; 2]) -> String {
    let mut text = String::from(
        "//! Written by `training/`; do not edit.\n\nuse super::Thresholds;\n\n\
         /// Of the user's and the tool's head.\npub(crate) const THRESHOLDS: [Thresholds; 2] = [\n",
    );
    for values in thresholds {
        text.push_str("    Thresholds {\n");
        for ((name, _), value) in SHARES.iter().zip(values) {
            let _ = writeln!(text, "        {name}: {value:.3},");
        }
        text.push_str("    },\n");
    }
    text.push_str("];\n");
    text
}
