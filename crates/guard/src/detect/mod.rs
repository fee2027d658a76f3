//! The detector: every reading of a text is judged by rules and by what was learned.
//!
//! Normalise → words of the lexicon → rules and model → the best stretch of text. Other readings
//! (decoded, spelled backwards, letters joined) go the same way and count for the place they stand.
//! A long text is read in pieces that overlap, so that memory is bounded whatever its length.

pub(crate) mod decode;
mod fast;
mod lexicon;
mod normal;
mod rules;
mod structure;

pub(crate) use fast::{is_suspicious, is_wordy};
pub(crate) use lexicon::Hit;
pub(crate) use normal::{Normal, is_invisible, is_smuggling};
pub(crate) use rules::RuleMatch;

use crate::model::{Head, THRESHOLDS, Verdict, shipped};
use clawdbot_domain::Channel;
use normal::{Disguise, close_up, normalise};
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

/// The name of what the model found, beside the rules' names.
pub(crate) const LEARNED: &str = "learned";

/// From which score on rules are a finding by themselves, in a person's and in a tool's text. Below
/// it they count as features of the model only.
const RULES_SUFFICE: [f32; 2] = [0.6, 0.5];

/// How much of a text is read at once, and how much of it again with the next piece. An attack that
/// is judged together (a window, a stretch) fits into the overlap.
const PIECE: usize = 64 * 1024;
const OVERLAP: usize = 4 * 1024;

/// Looks at a text that came in by a channel.
pub(crate) fn look(text: &str, channel: Channel) -> Detection {
    let head = head(channel);
    let mut matches = Vec::new();
    for piece in pieces(text) {
        let part = text.get(piece.clone()).unwrap_or_default();
        let mut found = Vec::new();
        let from_tool = head == Head::Tool;
        read(part, from_tool, 0, None, &mut found, &mut Learned(head));
        matches.extend(found.into_iter().map(|m| Match {
            at: m.at.start + piece.start..m.at.end + piece.start,
            ..m
        }));
    }
    Detection::of(matches, head)
}

/// Who speaks in a channel.
pub(crate) const fn head(channel: Channel) -> Head {
    match channel {
        Channel::Tool | Channel::ToolDescription => Head::Tool,
        Channel::Operator | Channel::User | Channel::Model => Head::User,
    }
}

/// Pieces of a text that overlap, cut between characters.
fn pieces(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let start = next?;
        let end = boundary(text, start + PIECE);
        next = (end < text.len()).then(|| boundary(text, end - OVERLAP));
        Some(start..end)
    })
}

/// The last place between characters up to a place.
fn boundary(text: &str, at: usize) -> usize {
    let is_boundary = |at: &usize| text.is_char_boundary(*at);
    (0..=at.min(text.len()))
        .rev()
        .find(is_boundary)
        .unwrap_or(0)
}

/// The model at work.
struct Learned(Head);

impl Hear for Learned {
    fn reading(&mut self, reading: &Reading<'_>) -> Option<Verdict> {
        shipped().map(|model| model.judge(reading, self.0))
    }
}

/// One way to read a text, with what stands in it.
pub(crate) struct Reading<'t> {
    /// The text that was normalised: the source, or what was decoded from it.
    pub(crate) source: &'t str,
    pub(crate) normal: &'t Normal,
    pub(crate) hits: &'t [Hit],
    pub(crate) rules: &'t [RuleMatch],
    /// Which disguise came off.
    pub(crate) through: Option<&'static str>,
    /// How many decodings deep it stands.
    pub(crate) depth: u8,
}

/// Hears of every reading of a text, and may have a say.
pub(crate) trait Hear {
    fn reading(&mut self, reading: &Reading<'_>) -> Option<Verdict>;
}

/// Every reading of a text, for whoever judges more than the rules do.
pub(crate) fn readings(text: &str, hear: &mut impl Hear) {
    for piece in pieces(text) {
        let part = text.get(piece).unwrap_or_default();
        read(part, false, 0, None, &mut Vec::new(), hear);
    }
}

/// One reading of a text, and those hidden in it.
fn read(
    text: &str,
    from_tool: bool,
    depth: u8,
    how: Option<&'static str>,
    found: &mut Vec<Match>,
    hear: &mut impl Hear,
) {
    let normal = normalise(text);
    let disguise = how.or_else(|| normal.disguise.name(normal.words.len()));
    words(text, &normal, from_tool, disguise, depth, found, hear);
    structure::look(text, from_tool, found);
    hidden(text, normal.disguise, found);
    if let Some(closed) = close_up(&normal) {
        let how = Some("spaced letters");
        words(text, &closed, from_tool, how, depth, found, hear);
    }
    if depth >= MAX_DEPTH {
        return;
    }
    for inner in decode::runs(text) {
        nested(
            &inner.text,
            inner.how,
            &inner.at,
            from_tool,
            depth,
            found,
            hear,
        );
    }
    for (how, other) in turned(text, &normal.text, depth) {
        // Most of the text reads the same after turning it. What was found plainly is not found a
        // second time as a disguise.
        let plain = found.len();
        nested(&other, how, &(0..text.len()), from_tool, depth, found, hear);
        let turned = found.split_off(plain);
        let is_new = |m: &Match| {
            let beats = |known: &Match| m.rule == LEARNED && m.weight > known.weight;
            found
                .iter()
                .all(|known| known.rule != m.rule || beats(known))
        };
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
    hear: &mut impl Hear,
) {
    let mut inside = Vec::new();
    read(inner, from_tool, depth + 1, Some(how), &mut inside, hear);
    found.extend(inside.into_iter().map(|m| Match {
        weight: if m.rule == LEARNED {
            m.weight
        } else {
            disguised(m.weight)
        },
        through: Some(how),
        at: at.clone(),
        ..m
    }));
}

fn words(
    source: &str,
    normal: &Normal,
    from_tool: bool,
    through: Option<&'static str>,
    depth: u8,
    found: &mut Vec<Match>,
    hear: &mut impl Hear,
) {
    let hits = lexicon::hits(normal);
    let rules = rules::matches(&hits);
    let verdict = hear.reading(&Reading {
        source,
        normal,
        hits: &hits,
        rules: &rules,
        through,
        depth,
    });
    if let Some(verdict) = verdict {
        found.push(Match {
            rule: LEARNED,
            weight: verdict.score,
            through,
            at: verdict.at,
        });
    }
    for matched in rules {
        let place = |index: usize| normal.words.get(index).map(|w| w.source.clone());
        let (Some(first), Some(last)) = (place(matched.first), place(matched.last)) else {
            continue;
        };
        let rule = matched.rule;
        let weight = if from_tool { rule.tool } else { rule.user };
        let disguise = through;
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
    fn of(mut matches: Vec<Match>, head: Head) -> Self {
        matches.sort_by_key(|m| (m.at.start, m.at.end));
        let (learned, rules): (Vec<_>, Vec<_>) =
            matches.into_iter().partition(|m| m.rule == LEARNED);
        let mut stretches: Vec<_> = learned.iter().map(|m| (m.at.clone(), m.weight)).collect();
        let mut best: (f32, Range<usize>) = (0.0, 0..0);
        for (at, first) in rules.iter().enumerate() {
            let rest = rules.get(at..).unwrap_or_default();
            let near = rest
                .iter()
                .take_while(|m| m.at.start <= first.at.start + STRETCH);
            let (score, end) = together(near);
            let span = first.at.start..end;
            if score > best.0 {
                best = (score, span.clone());
            }
            stretches.push((span, suffices(score, head)));
        }
        let mut made_it: Vec<_> = rules
            .into_iter()
            .filter(|m| best.1.start <= m.at.start && m.at.end <= best.1.end)
            .collect();
        made_it.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        made_it.dedup_by(|a, b| a.rule == b.rule && a.at == b.at);
        stretches.sort_by_key(|(span, _)| (span.start, span.end));
        let score = stretches.iter().fold(0.0, |most: f32, (_, s)| most.max(*s));
        let sure = learned
            .into_iter()
            .max_by(|a, b| a.weight.total_cmp(&b.weight));
        made_it.extend(sure);
        Self {
            score,
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

/// What rules alone are worth on the model's scale: where they suffice, a finding.
fn suffices(rules: f32, head: Head) -> f32 {
    let (from, block) = match (head, THRESHOLDS) {
        (Head::User, [user, _]) => (RULES_SUFFICE[0], user.block),
        (Head::Tool, [_, tool]) => (RULES_SUFFICE[1], tool.block),
    };
    if rules < from {
        return 0.0;
    }
    block + (1.0 - block) * (rules - from) / (1.0 - from)
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
