//! Which concepts, standing together, are an attack, and how sure that is.

use super::lexicon::{
    ADDRESS, AI, ALL, ASK, COMPLY, Concepts, END, Hit, IGNORE, LIMITS, MODE, MUST, NEW, NO_LIMITS,
    NOT, ONLY_SAY, PREVIOUS, PRIVATE_FILE, REVEAL, ROLE, RULES, SAFETY, SECRECY, SECRET, SEND,
    SQUEEZED, SYSTEM, TAKEN_OVER, TOOL, YOUR,
};

/// Concepts that follow one another within some words.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    /// Any one concept of each set, in this order.
    pub(crate) order: &'static [Concepts],
    /// Within how many words.
    pub(crate) within: u32,
    /// What it adds in a person's text.
    pub(crate) user: f32,
    /// What it adds in text from a tool, where nobody has a reason to speak to the assistant.
    pub(crate) tool: f32,
}

const fn rule(
    name: &'static str,
    order: &'static [Concepts],
    within: u32,
    user: f32,
    tool: f32,
) -> Rule {
    Rule {
        name,
        order,
        within,
        user,
        tool,
    }
}

/// All rules. Weights were chosen on a labelled set, so that benign text with the same words stays
/// below the thresholds.
pub(crate) const RULES_OF_WORDS: &[Rule] = &[
    rule("override", &[IGNORE, PREVIOUS, RULES], 9, 0.9, 0.95),
    rule("override", &[IGNORE, RULES, PREVIOUS], 9, 0.9, 0.95),
    // Japanese, Korean, Turkish, Hindi: the verb comes last.
    rule("override", &[PREVIOUS, RULES, IGNORE], 6, 0.7, 0.7),
    rule("override-all", &[IGNORE, ALL, RULES], 6, 0.5, 0.55),
    rule("override-yours", &[IGNORE, SYSTEM], 6, 0.65, 0.75),
    rule("override-safety", &[IGNORE, SAFETY], 8, 0.7, 0.7),
    rule("forget", &[IGNORE, ALL, PREVIOUS], 5, 0.45, 0.5),
    rule("new-instructions", &[NEW], 1, 0.4, 0.4),
    rule("only-say", &[IGNORE, ONLY_SAY], 20, 0.3, 0.35),
    rule("reveal-prompt", &[REVEAL, SYSTEM], 8, 0.65, 0.7),
    rule("reveal-prompt", &[SYSTEM, REVEAL], 5, 0.3, 0.3),
    rule("asks-prompt", &[ASK, YOUR, SYSTEM], 8, 0.6, 0.6),
    rule("names-prompt", &[SYSTEM], 1, 0.15, 0.15),
    rule("reveal-rules", &[REVEAL, YOUR, RULES], 7, 0.5, 0.6),
    rule("reveal-secret", &[REVEAL, SECRET], 6, 0.3, 0.2),
    rule("mode", &[MODE], 1, 0.4, 0.4),
    rule("mode-on", &[ROLE, MODE], 12, 0.5, 0.5),
    rule("no-limits", &[NO_LIMITS], 1, 0.25, 0.25),
    rule("role-no-limits", &[ROLE, NO_LIMITS], 25, 0.5, 0.5),
    rule("ai-no-limits", &[AI, NO_LIMITS], 12, 0.3, 0.3),
    rule("two-no-limits", &[NO_LIMITS, NO_LIMITS], 60, 0.25, 0.25),
    rule("not-limited", &[NOT, LIMITS], 5, 0.2, 0.2),
    rule("role-not-limited", &[ROLE, NOT, LIMITS], 30, 0.4, 0.4),
    rule("ai-not-limited", &[AI, NOT, LIMITS], 25, 0.25, 0.25),
    rule("complies", &[COMPLY, NOT, LIMITS], 10, 0.15, 0.15),
    rule("ignore-limits", &[IGNORE, LIMITS], 6, 0.4, 0.4),
    rule("safety", &[SAFETY], 1, 0.15, 0.15),
    rule("secrecy", &[SECRECY], 1, 0.35, 0.4),
    rule("send-in-secret", &[SEND, SECRECY], 40, 0.5, 0.7),
    rule("to-the-assistant", &[ADDRESS], 1, 0.35, 0.6),
    rule("tool-order", &[TOOL, MUST], 12, 0.2, 0.3),
    rule("tool-reads-secrets", &[TOOL, PRIVATE_FILE], 30, 0.3, 0.7),
    rule("private-file", &[PRIVATE_FILE, SEND], 30, 0.2, 0.4),
    rule("private-file", &[SEND, PRIVATE_FILE], 30, 0.2, 0.4),
    rule("forged-end", &[END], 1, 0.35, 0.55),
    rule("taken-over", &[TAKEN_OVER], 1, 0.5, 0.6),
    rule("squeezed", &[SQUEEZED], 1, 0.75, 0.75),
];

/// One rule that matched, by the index of its words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RuleMatch {
    pub(crate) rule: &'static Rule,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

/// Every rule at every place. A window holds few hits, so the whole is linear in their number.
pub(crate) fn matches(hits: &[Hit]) -> Vec<RuleMatch> {
    let mut found = Vec::new();
    for (at, start) in hits.iter().enumerate() {
        let rest = hits.get(at..).unwrap_or_default();
        for rule in RULES_OF_WORDS {
            let begins = rule.order.first().is_some_and(|c| start.concepts & c != 0);
            if begins && let Some(last) = follow(rest, rule) {
                found.push(RuleMatch {
                    rule,
                    first: start.first,
                    last,
                });
            }
        }
    }
    found
}

/// The last word of the rule's concepts in order, from the first hit on.
fn follow(hits: &[Hit], rule: &Rule) -> Option<usize> {
    let start = hits.first()?.number;
    let mut wanted = rule.order.iter().peekable();
    let mut last = 0;
    for hit in hits {
        if hit.number.saturating_sub(start) > rule.within {
            return None;
        }
        // One word may stand for two different concepts in a row: "your instructions" is both.
        let mut spent = 0;
        while let Some(concept) = wanted.next_if(|c| hit.concepts & **c != 0 && spent != **c) {
            spent = *concept;
            last = hit.last;
        }
        if wanted.peek().is_none() {
            return Some(last);
        }
    }
    None
}
