//! From features to a score: sums along the text, and the best window of them.

use super::features::Sink;
use std::ops::Range;

/// Window sizes, in tokens. The small one finds a line in a page; the large one its surroundings. A
/// text shorter than the small one is one window; every other text has the windows that fit into
/// it, at every token. So whatever is put round a text, its own windows are still there.
pub(super) const SIZES: [usize; 2] = [40, 128];

/// The share of its weight that a core may lose at each end.
const CORE_MAY_LOSE: f32 = 0.12;

/// What softens the norm: a few words in a short text do not weigh as much as the same words would
/// if the norm were theirs alone, and so weigh the same in a longer one.
const SOFT_WORDS: f32 = 40.0;
const SOFT_CONCEPTS: f32 = 8.0;

/// How many features of each kind a window counts as having at least: about what fills the small
/// window. So a short text is judged as it would be with plain words around it, and putting them
/// there gains nothing.
const LEAST_WORDS: f32 = 120.0;
const LEAST_CONCEPTS: f32 = 20.0;

/// Sums of weights along a text.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sums {
    /// Up to and including each token: words' weights, concepts' weights, how many of each.
    at: Vec<[f32; 4]>,
    now: [f32; 4],
}

impl Sums {
    pub(crate) fn word(&mut self, weight: f32) {
        let [words, _, count, _] = &mut self.now;
        *words += weight;
        *count += 1.0;
    }

    pub(crate) fn concept(&mut self, weight: f32) {
        let [_, concepts, _, count] = &mut self.now;
        *concepts += weight;
        *count += 1.0;
    }

    pub(crate) fn token(&mut self) {
        self.at.push(self.now);
    }

    pub(crate) fn tokens(&self) -> usize {
        self.at.len()
    }

    /// Everything before a token.
    fn upto(&self, end: usize) -> [f32; 4] {
        let before = end.checked_sub(1).and_then(|i| self.at.get(i));
        before.copied().unwrap_or_default()
    }

    fn norms(&self, window: &Range<usize>) -> (f32, f32) {
        let ([.., n0, m0], [.., n1, m1]) = (self.upto(window.start), self.upto(window.end));
        norms(n1 - n0, m1 - m0)
    }

    /// What a window of tokens weighs.
    pub(crate) fn window(&self, window: &Range<usize>) -> f32 {
        self.part(window, window)
    }

    /// What one token weighs in a window.
    pub(crate) fn token_in(&self, token: usize, window: &Range<usize>) -> f32 {
        self.part(&(token..token + 1), window)
    }

    fn part(&self, part: &Range<usize>, window: &Range<usize>) -> f32 {
        let ([w0, c0, ..], [w1, c1, ..]) = (self.upto(part.start), self.upto(part.end));
        let (word, concept) = self.norms(window);
        (w1 - w0) * word + (c1 - c0) * concept
    }

    /// The window that weighs most, and how much.
    pub(crate) fn best(&self) -> (f32, Range<usize>) {
        let mut best = (f32::NEG_INFINITY, 0..0);
        for window in windows(self.tokens()) {
            let weight = self.window(&window);
            if weight > best.0 {
                best = (weight, window);
            }
        }
        best
    }

    /// The part of a window without which it would weigh least: what to show, and what to cut.
    pub(crate) fn core(&self, window: &Range<usize>) -> Range<usize> {
        let (word, concept) = self.norms(window);
        let weight = |end: usize| {
            let [words, concepts, ..] = self.upto(end);
            words * word + concepts * concept
        };
        let mut lowest = (weight(window.start), window.start);
        let mut core = (f32::NEG_INFINITY, window.clone());
        for end in window.start + 1..=window.end {
            let here = weight(end);
            if here - lowest.0 > core.0 {
                core = (here - lowest.0, lowest.1..end);
            }
            if here < lowest.0 {
                lowest = (here, end);
            }
        }
        trimmed(core.1, core.0 * CORE_MAY_LOSE, weight)
    }
}

/// Every window of a text of so many tokens.
pub fn windows(tokens: usize) -> impl Iterator<Item = Range<usize>> {
    let whole = (tokens < SIZES[0]).then_some(0..tokens);
    let sized = SIZES
        .into_iter()
        .filter(move |size| *size <= tokens)
        .flat_map(move |size| (0..=tokens - size).map(move |at| at..at + size));
    whole.into_iter().chain(sized)
}

/// A range without ends that weigh no more than `spare` each: who cuts the core out should not
/// take half a page along.
fn trimmed(core: Range<usize>, spare: f32, weight: impl Fn(usize) -> f32) -> Range<usize> {
    let start = (core.start..core.end)
        .take_while(|at| weight(*at) - weight(core.start) <= spare)
        .last()
        .unwrap_or(core.start);
    let end = (start + 1..=core.end)
        .rev()
        .take_while(|at| weight(core.end) - weight(*at) <= spare)
        .last()
        .unwrap_or(core.end);
    start..end
}

/// What one word's and one concept's weight counts in a window with so many of them.
pub fn norms(words: f32, concepts: f32) -> (f32, f32) {
    (
        1.0 / (words.max(LEAST_WORDS) + SOFT_WORDS).sqrt(),
        1.0 / (concepts.max(LEAST_CONCEPTS) + SOFT_CONCEPTS).sqrt(),
    )
}

/// A sink that keeps features as they are, for training.
#[derive(Debug, Default, Clone)]
pub struct Collected {
    /// Buckets of words in a row.
    pub words: Vec<u32>,
    /// Buckets of concepts in a row.
    pub concepts: Vec<u32>,
    /// For each token, how many words and concepts there are up to and including it.
    pub ends: Vec<(u32, u32)>,
    /// Facts about the whole reading.
    pub facts: Vec<u32>,
}

impl Sink for Collected {
    fn word(&mut self, bucket: u32) {
        self.words.push(bucket);
    }
    fn concept(&mut self, bucket: u32) {
        self.concepts.push(bucket);
    }
    fn token(&mut self, _: Range<usize>) {
        self.ends
            .push((self.words.len() as u32, self.concepts.len() as u32));
    }
}
