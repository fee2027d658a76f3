//! How good the detector is on labelled text: what `guard eval` prints and `training/` writes down.

use serde::Serialize;
use std::collections::BTreeMap;

/// One labelled text and what the detector made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Whether it is an attack.
    pub attack: bool,
    /// The detector's score, 0 to 1.
    pub score: f32,
    /// Whether the score is a finding at the guard's own threshold.
    pub finding: bool,
    /// The data set it comes from.
    pub source: String,
    /// Its language.
    pub lang: String,
}

/// The measures of one set of texts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metrics {
    /// How many texts, and how many of them are attacks.
    pub texts: usize,
    /// How many of them are attacks.
    pub attacks: usize,
    /// The chance that an attack scores higher than a harmless text; ties count half.
    pub auc: f64,
    /// The score that 1 % of the harmless texts exceed.
    pub score_at_1_percent: f32,
    /// The share of attacks above that score.
    pub tpr_at_1_percent: f64,
    /// The same share, as the mean over sources: a large source counts no more than a small one.
    pub macro_tpr_at_1_percent: f64,
    /// The share of attacks that are findings at the guard's threshold.
    pub found: f64,
    /// The share of harmless texts that are findings.
    pub refused: f64,
    /// The share of `NotInject`'s texts that pass: harmless sentences full of an attack's words, and the
    /// usual measure of over-blocking. Nothing when no source of that name is in the set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_inject: Option<f64>,
    /// By source: texts, and the share above 1 % FPR (attacks) or of findings (harmless texts).
    pub by_source: BTreeMap<String, Part>,
    /// The same by language.
    pub by_language: BTreeMap<String, Part>,
}

/// A part of the texts.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Part {
    /// How many attacks.
    pub attacks: usize,
    /// The share of them above the score at 1 % FPR; nothing without attacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpr_at_1_percent: Option<f64>,
    /// How many harmless texts.
    pub harmless: usize,
    /// The share of them that pass the guard's own threshold; nothing without harmless texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<f64>,
}

/// Measures a set. Without attacks or without harmless texts what needs them is 0.
pub fn measure(rows: &[Scored]) -> Metrics {
    let (attacks, harmless): (Vec<&Scored>, Vec<&Scored>) = rows.iter().partition(|r| r.attack);
    let limit = score_exceeded_by(harmless.iter().map(|r| r.score).collect(), 100);
    let by_source = parts(rows, limit, |r| &r.source);
    let shares: Vec<f64> = by_source
        .values()
        .filter_map(|p| p.tpr_at_1_percent)
        .collect();
    Metrics {
        texts: rows.len(),
        attacks: attacks.len(),
        auc: auc(rows),
        score_at_1_percent: limit,
        tpr_at_1_percent: share(&attacks, |r| r.score > limit),
        macro_tpr_at_1_percent: shares.iter().sum::<f64>() / shares.len().max(1) as f64,
        found: share(&attacks, |r| r.finding),
        refused: share(&harmless, |r| r.finding),
        not_inject: kept_of(&harmless, NOT_INJECT),
        by_language: parts(rows, limit, |r| &r.lang),
        by_source,
    }
}

/// The score that at most one in so many scores exceeds.
pub fn score_exceeded_by(mut scores: Vec<f32>, one_in: usize) -> f32 {
    scores.sort_by(|a, b| b.total_cmp(a));
    let may_exceed = scores.len() / one_in.max(1);
    scores.get(may_exceed).copied().unwrap_or(0.0)
}

/// How the source is called whose over-blocking is told apart, letters and digits only.
const NOT_INJECT: &str = "notinject";

/// The share of a source's harmless texts that pass, however its name is written.
fn kept_of(harmless: &[&Scored], named: &str) -> Option<f64> {
    let is_named = |source: &str| {
        let letters: String = source.chars().filter(char::is_ascii_alphanumeric).collect();
        letters.to_ascii_lowercase().starts_with(named)
    };
    let rows: Vec<&Scored> = harmless
        .iter()
        .copied()
        .filter(|r| is_named(&r.source))
        .collect();
    (!rows.is_empty()).then(|| share(&rows, |r| !r.finding))
}

fn share(rows: &[&Scored], is: impl Fn(&Scored) -> bool) -> f64 {
    let those = rows.iter().filter(|r| is(r)).count();
    those as f64 / rows.len().max(1) as f64
}

/// By ranks (Mann and Whitney), ties at their mean rank.
fn auc(rows: &[Scored]) -> f64 {
    let mut sorted: Vec<&Scored> = rows.iter().collect();
    sorted.sort_by(|a, b| a.score.total_cmp(&b.score));
    let (mut below, mut sum) = (0.0, 0.0);
    let (mut attacks, mut harmless) = (0.0, 0.0);
    for tied in sorted.chunk_by(|a, b| a.score.total_cmp(&b.score).is_eq()) {
        let (mine, theirs): (Vec<&Scored>, Vec<&Scored>) = tied.iter().partition(|r| r.attack);
        let (mine, theirs) = (mine.len() as f64, theirs.len() as f64);
        sum += mine * (below + theirs / 2.0);
        below += theirs;
        attacks += mine;
        harmless += theirs;
    }
    if attacks * harmless > 0.0 {
        sum / (attacks * harmless)
    } else {
        0.0
    }
}

fn parts(rows: &[Scored], limit: f32, key: impl Fn(&Scored) -> &String) -> BTreeMap<String, Part> {
    let mut by: BTreeMap<String, Vec<&Scored>> = BTreeMap::new();
    for row in rows {
        by.entry(key(row).clone()).or_default().push(row);
    }
    let part = |rows: Vec<&Scored>| {
        let (attacks, harmless): (Vec<&Scored>, Vec<&Scored>) =
            rows.into_iter().partition(|r| r.attack);
        let some = |rows: &[&Scored], share: f64| (!rows.is_empty()).then_some(share);
        Part {
            attacks: attacks.len(),
            tpr_at_1_percent: some(&attacks, share(&attacks, |r| r.score > limit)),
            harmless: harmless.len(),
            kept: some(&harmless, share(&harmless, |r| !r.finding)),
        }
    };
    by.into_iter()
        .map(|(name, rows)| (name, part(rows)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(attack: bool, score: f32, source: &str) -> Scored {
        Scored {
            attack,
            score,
            finding: score > 0.5,
            source: source.to_owned(),
            lang: "en".to_owned(),
        }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn auc_is_the_chance_of_the_right_order_and_ties_count_half() {
        let rows = [
            row(true, 0.9, "a"),
            row(true, 0.4, "a"),
            row(false, 0.4, "a"),
            row(false, 0.1, "a"),
        ];
        assert!(near(measure(&rows).auc, 3.5 / 4.0));
        let even = [row(true, 0.5, "a"), row(false, 0.5, "a")];
        assert!(near(measure(&even).auc, 0.5));
    }

    #[test]
    fn one_percent_of_two_hundred_harmless_texts_is_two() {
        let mut rows: Vec<_> = (0..200)
            .map(|n| row(false, n as f32 / 1000.0, "b"))
            .collect();
        rows.extend([
            row(true, 0.1975, "x"),
            row(true, 0.1, "x"),
            row(true, 0.9, "y"),
        ]);
        let metrics = measure(&rows);
        assert!((metrics.score_at_1_percent - 0.197).abs() < 1e-6);
        assert!(near(metrics.tpr_at_1_percent, 2.0 / 3.0));
        assert!(near(metrics.macro_tpr_at_1_percent, 0.75));
        assert_eq!(metrics.by_source["b"].kept, Some(1.0));
        assert_eq!(metrics.by_source["b"].tpr_at_1_percent, None);
    }

    #[test]
    fn what_is_kept_of_notinject_is_told_when_it_is_in_the_set() {
        let mut rows = vec![row(false, 0.9, "else"), row(true, 0.9, "NotInject")];
        assert_eq!(measure(&rows).not_inject, None);
        rows.extend([
            row(false, 0.1, "NotInject_one"),
            row(false, 0.2, "not-inject"),
            row(false, 0.9, "NotInject two"),
            row(false, 0.4, "notinject"),
        ]);
        assert_eq!(measure(&rows).not_inject, Some(0.75));
    }

    #[test]
    fn nothing_is_measured_of_nothing() {
        let metrics = measure(&[]);
        assert_eq!((metrics.texts, metrics.attacks), (0, 0));
        assert!(near(metrics.auc, 0.0));
    }
}
