//! The detector: deterministic, without weights.
//!
//! Prefilter → normalise → words of the lexicon → rules → the best stretch of text. Other readings
//! (decoded, spelled backwards, letters joined) go the same way and count for the place they stand.

mod decode;
mod fast;
mod lexicon;
mod normal;
mod rules;
mod structure;

pub(crate) use fast::is_suspicious;
pub(crate) use normal::{is_invisible, is_smuggling};

use clawdbot_domain::Channel;
use normal::{Disguise, Normal, close_up, normalise};
use std::ops::Range;

/// How deep encodings are followed: base64 in base64, and no further.
const MAX_DEPTH: u8 = 2;

/// Findings this close belong to one attack, and their weights add up. In bytes of the source.
const STRETCH: usize = 1200;

/// What a disguise adds to a finding that only shows once it is off: nobody encodes an instruction
/// by accident.
const DISGUISED: f32 = 0.3;

/// How far a cut is widened to the ends of its sentence or line.
const WIDEN: usize = 240;

/// What else makes a text worth a look, in the prefilter's spelling: anchors in rot13, backwards and
/// in hex, and markers of a conversation.
const CUES: &[&str] = &[
    "vtaber",
    "cerivbhf",
    "vafgehpgvba",
    "cebzcg",
    "erongi",
    "suoiverp",
    "noitcurtsni",
    "tpmorp",
    "6t 6e 6f",
    "to t2 6f",
    " im start",
    " im end",
    " inst ",
    " start header id",
    " eot id",
    " endoftext",
    " sys ",
    " tool result ",
    " untrusted",
];

/// One rule that matched, somewhere in a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Match {
    pub(crate) rule: &'static str,
    pub(crate) weight: f32,
    pub(crate) through: Option<&'static str>,
    pub(crate) at: Range<usize>,
}

/// What was found in a text.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Detection {
    /// The score of the worst stretch, 0 to 1.
    pub(crate) score: f32,
    /// What made it, heaviest first.
    pub(crate) matches: Vec<Match>,
    /// Every stretch with its score, in the order of the text.
    stretches: Vec<(Range<usize>, f32)>,
}

/// Looks at a text that came in by a channel.
pub(crate) fn look(text: &str, channel: Channel) -> Detection {
    if !is_suspicious(text) {
        return Detection::default();
    }
    let from_tool = match channel {
        Channel::Tool | Channel::ToolDescription => true,
        Channel::Operator | Channel::User | Channel::Model => false,
    };
    let mut matches = Vec::new();
    read(text, from_tool, 0, &mut matches);
    Detection::of(matches)
}

/// One reading of a text, and those hidden in it.
fn read(text: &str, from_tool: bool, depth: u8, found: &mut Vec<Match>) {
    let normal = normalise(text);
    words(&normal, from_tool, None, found);
    structure::look(text, from_tool, found);
    hidden(text, normal.disguise, found);
    if let Some(closed) = close_up(&normal) {
        words(&closed, from_tool, Some("spaced letters"), found);
    }
    if depth >= MAX_DEPTH {
        return;
    }
    for inner in decode::runs(text) {
        nested(&inner.text, inner.how, &inner.at, from_tool, depth, found);
    }
    for (how, other) in turned(text, &normal.text, depth) {
        // Most of the text reads the same after turning it. What was found plainly is not found a
        // second time as a disguise.
        let plain = found.len();
        nested(&other, how, &(0..text.len()), from_tool, depth, found);
        let turned = found.split_off(plain);
        let is_new = |m: &Match| found.iter().all(|known| known.rule != m.rule);
        let new: Vec<_> = turned.into_iter().filter(is_new).collect();
        found.extend(new);
    }
}

/// Whole-text readings that something in the text calls for.
fn turned(text: &str, normal: &str, depth: u8) -> Vec<(&'static str, String)> {
    let mut readings = Vec::new();
    if fast::has_escapes(text.as_bytes())
        && let Some(other) = decode::unescaped(text)
    {
        readings.push(("escapes", other));
    }
    // These two undo themselves, so inside another reading they would only lead back.
    if depth == 0 {
        let has = |cues: &[&str]| cues.iter().any(|cue| normal.contains(cue));
        if has(&["vtaber", "cerivbhf", "vafgehpgvba", "cebzcg"]) {
            readings.push(("rot13", decode::rot13(text)));
        }
        if has(&[
            "erongi",
            "suoiverp",
            "noitcurtsni",
            "snoitcurtsni",
            "tpmorp",
        ]) {
            readings.push(("backwards", text.chars().rev().collect()));
        }
        if let Some(other) = decode::spaced_hex(text) {
            readings.push(("hex", other));
        }
    }
    readings
}

fn nested(
    inner: &str,
    how: &'static str,
    at: &Range<usize>,
    from_tool: bool,
    depth: u8,
    found: &mut Vec<Match>,
) {
    let mut inside = Vec::new();
    read(inner, from_tool, depth + 1, &mut inside);
    found.extend(inside.into_iter().map(|m| Match {
        weight: disguised(m.weight),
        through: Some(how),
        at: at.clone(),
        ..m
    }));
}

fn words(normal: &Normal, from_tool: bool, through: Option<&'static str>, found: &mut Vec<Match>) {
    let hits = lexicon::hits(normal);
    for matched in rules::matches(&hits) {
        let place = |index: usize| normal.words.get(index).map(|w| w.source.clone());
        let (Some(first), Some(last)) = (place(matched.first), place(matched.last)) else {
            continue;
        };
        let rule = matched.rule;
        let weight = if from_tool { rule.tool } else { rule.user };
        let disguise = through.or_else(|| normal.disguise.name(normal.words.len()));
        found.push(Match {
            rule: rule.name,
            weight: if disguise.is_some() {
                disguised(weight)
            } else {
                weight
            },
            through: disguise,
            at: first.start..last.end.max(first.end),
        });
    }
}

/// Hidden text is a finding whatever it says.
fn hidden(text: &str, disguise: Disguise, found: &mut Vec<Match>) {
    if disguise.tags < 4 && disguise.selectors < 4 {
        return;
    }
    let is_hidden = |c: char| matches!(c, '\u{e0000}'..='\u{e0fff}' | '\u{fe00}'..='\u{fe0f}');
    let mut places = text.char_indices().filter(|(_, c)| is_hidden(*c));
    let first = places.next().map_or(0, |(at, _)| at);
    let last = places
        .next_back()
        .map_or(text.len(), |(at, c)| at + c.len_utf8());
    found.push(Match {
        rule: "hidden-text",
        weight: 0.95,
        through: None,
        at: first..last,
    });
}

fn disguised(weight: f32) -> f32 {
    (weight + DISGUISED * weight.min(1.0 - weight).max(0.1)).min(0.99)
}

impl Disguise {
    /// The disguise that was taken off, when it is too frequent to be chance.
    fn name(self, words: usize) -> Option<&'static str> {
        if self.tags > 3 {
            Some("tag characters")
        } else if self.hidden > 2 {
            Some("invisible characters")
        } else if self.mixed > 1 {
            Some("look-alike letters")
        } else if self.styled > 7 {
            Some("styled letters")
        } else if self.leet > 2 && self.leet as usize * 6 > words {
            Some("digits for letters")
        } else {
            None
        }
    }
}

impl Detection {
    fn of(mut matches: Vec<Match>) -> Self {
        matches.sort_by_key(|m| (m.at.start, m.at.end));
        let mut stretches = Vec::new();
        let mut best: (f32, Range<usize>) = (0.0, 0..0);
        for (at, first) in matches.iter().enumerate() {
            let rest = matches.get(at..).unwrap_or_default();
            let near = rest
                .iter()
                .take_while(|m| m.at.start <= first.at.start + STRETCH);
            let (score, end) = together(near);
            let span = first.at.start..end;
            if score > best.0 {
                best = (score, span.clone());
            }
            stretches.push((span, score));
        }
        let mut made_it: Vec<_> = matches
            .into_iter()
            .filter(|m| best.1.start <= m.at.start && m.at.end <= best.1.end)
            .collect();
        made_it.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        made_it.dedup_by(|a, b| a.rule == b.rule && a.at == b.at);
        Self {
            score: best.0,
            matches: made_it,
            stretches,
        }
    }

    /// The text with every stretch that reaches the threshold replaced.
    pub(crate) fn redact(&self, text: &str, notice: &str, threshold: f32) -> String {
        let mut out = String::with_capacity(text.len());
        let mut from = 0;
        for (span, score) in &self.stretches {
            if *score < threshold {
                continue;
            }
            let cut = widened(text, span);
            if cut.start > from || from == 0 {
                out.push_str(text.get(from..cut.start.max(from)).unwrap_or_default());
                out.push_str(notice);
            }
            from = from.max(cut.end);
        }
        out.push_str(text.get(from..).unwrap_or_default());
        out
    }
}

/// The chance that at least one of the rules is right, each rule counted once.
fn together<'m>(near: impl Iterator<Item = &'m Match>) -> (f32, usize) {
    /// More different rules than there are do not occur; a text full of matches is judged by these.
    const MOST: usize = 64;
    let mut heaviest: Vec<(&'static str, f32)> = Vec::new();
    let mut end = 0;
    for m in near.take(MOST) {
        end = end.max(m.at.end);
        match heaviest.iter_mut().find(|(rule, _)| *rule == m.rule) {
            Some((_, weight)) => *weight = weight.max(m.weight),
            None => heaviest.push((m.rule, m.weight)),
        }
    }
    let none = heaviest
        .iter()
        .fold(1.0, |none, (_, weight)| none * (1.0 - weight));
    (1.0 - none, end)
}

/// Widens a span to its sentence or line, within bounds.
fn widened(text: &str, span: &Range<usize>) -> Range<usize> {
    let is_end = |c: char| matches!(c, '\n' | '.' | '!' | '?' | '。');
    let before = text.get(..span.start).unwrap_or_default();
    let start = before
        .char_indices()
        .rev()
        .take_while(|(at, c)| !is_end(*c) && span.start - at <= WIDEN)
        .last()
        .map_or(span.start, |(at, _)| at);
    let after = text.get(span.end..).unwrap_or_default();
    let end = after
        .char_indices()
        .take_while(|(at, c)| !is_end(*c) && *at <= WIDEN)
        .last()
        .map_or(span.end, |(at, c)| span.end + at + c.len_utf8());
    start..end
}

#[cfg(test)]
mod tests;
