//! A floor under the detector: text of our own that nothing was learned from must stay told apart,
//! whatever a new training run does to the weights.

use clawdbot_domain::Channel;
use clawdbot_guard::measure::{Metrics, Scored, measure};
use clawdbot_guard::{Guard, GuardSettings};

const TEXTS: &str = include_str!("floor.txt");
const LEARNED_FROM: [&str; 3] = [
    include_str!("../../../training/own/english.txt"),
    include_str!("../../../training/own/languages.txt"),
    include_str!("../../../training/own/tasks.txt"),
];

fn texts() -> impl Iterator<Item = (char, String)> {
    TEXTS.lines().filter_map(|line| {
        let (sign, text) = line.split_once(' ')?;
        let sign = sign.chars().next().filter(|c| "+>-=".contains(*c))?;
        Some((sign, text.replace("\\n", "\n")))
    })
}

fn measured(strict: bool) -> (Metrics, Vec<String>) {
    let guard = Guard::new(GuardSettings {
        enabled: true,
        strict,
    });
    let mut wrong = Vec::new();
    let mut rows = Vec::new();
    for (sign, text) in texts() {
        let channels: &[Channel] = match sign {
            '+' => &[Channel::User],
            '>' => &[Channel::Tool],
            _ => &[Channel::User, Channel::Tool],
        };
        for channel in channels {
            let score = guard.explain(&text, *channel).score;
            let finding = score >= guard.threshold(*channel);
            let attack = matches!(sign, '+' | '>');
            if finding != attack {
                wrong.push(format!("{sign} {channel:?} {score:.2} {text}"));
            }
            rows.push(Scored {
                attack,
                score,
                finding,
                source: if sign == '=' {
                    "NotInject, our own"
                } else {
                    "own"
                }
                .to_owned(),
                lang: String::new(),
            });
        }
    }
    (measure(&rows), wrong)
}

#[test]
fn attacks_and_harmless_text_of_our_own_are_told_apart() {
    let (metrics, wrong) = measured(true);
    assert!(metrics.texts >= 200, "{}", metrics.texts);
    assert!(metrics.auc >= 0.99, "{} {wrong:#?}", metrics.auc);
    assert!(metrics.found >= 0.90, "{} {wrong:#?}", metrics.found);
    assert!(metrics.refused <= 0.02, "{} {wrong:#?}", metrics.refused);
}

#[test]
fn harmless_text_full_of_an_attacks_words_passes_even_in_strict_mode() {
    for strict in [false, true] {
        let (metrics, wrong) = measured(strict);
        let kept = metrics.not_inject.unwrap();
        assert!(kept >= 0.95, "{kept} {wrong:#?}");
    }
}

#[test]
fn none_of_these_texts_was_learned_from() {
    for (_, text) in texts() {
        for own in LEARNED_FROM {
            assert!(!own.contains(&text), "{text}");
        }
    }
}
