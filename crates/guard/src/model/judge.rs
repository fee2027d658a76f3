//! Weights, and what they make of a reading.

use super::features::{self, BITS, Sink};
use super::readings::facts;
use super::score::Sums;
use crate::detect::Reading;
use serde::Serialize;
use std::ops::Range;
use std::sync::LazyLock;

/// What a file of weights begins with: this format, and the features it was made for.
pub(crate) const MAGIC: &[u8; 8] = b"cbguard1";

/// Bytes before the weights: the magic, then bias and scale of each head.
const HEAD_BYTES: usize = 8 + 4 * 4;

/// The heads' weights, one byte each, a bucket's two side by side.
const WEIGHT_BYTES: usize = 2 << BITS;

/// Who is speaking: what is judged as an attack differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// A person: asking for things is what they are here for.
    User = 0,
    /// A tool, page or file: it has no business to ask for anything.
    Tool = 1,
}

/// A linear model.
#[derive(Debug, Clone, Copy)]
pub struct Model<'w> {
    bias: [f32; 2],
    scale: [f32; 2],
    weights: &'w [u8],
}

/// What the model makes of one reading.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    /// How sure it is, 0 to 1.
    pub(crate) score: f32,
    /// The part that weighed, in bytes of the reading's source.
    pub(crate) at: Range<usize>,
}

static SHIPPED: LazyLock<Option<Model<'static>>> =
    LazyLock::new(|| Model::parse(include_bytes!("../../model/weights.bin")));

/// The weights in this binary. A test holds that they can be read.
pub(crate) fn shipped() -> Option<Model<'static>> {
    *SHIPPED
}

impl<'w> Model<'w> {
    /// Reads a file of weights; nothing when it is not one for these features.
    pub fn parse(bytes: &'w [u8]) -> Option<Self> {
        let head = bytes.get(..HEAD_BYTES)?.strip_prefix(MAGIC)?;
        let weights = bytes.get(HEAD_BYTES..)?;
        let number = |at: usize| {
            let four = head.get(at * 4..at * 4 + 4)?.try_into().ok()?;
            Some(f32::from_le_bytes(four)).filter(|n| n.is_finite())
        };
        (weights.len() == WEIGHT_BYTES).then_some(Self {
            bias: [number(0)?, number(1)?],
            scale: [number(2)?, number(3)?],
            weights,
        })
    }

    /// What one bucket weighs.
    fn weight(&self, bucket: u32, head: Head) -> f32 {
        let at = bucket as usize * 2 + head as usize;
        f32::from(self.weights.get(at).copied().unwrap_or(0).cast_signed())
    }

    /// Judges a reading.
    pub(crate) fn judge(&self, reading: &Reading<'_>, head: Head) -> Verdict {
        let read = self.read(reading, head);
        let (weight, window) = read.sums.best();
        let core = read.sums.core(&window);
        let at = read.place(core.start).start..read.place(core.end.saturating_sub(1)).end;
        Verdict {
            score: self.chance(weight, reading, head),
            at: at.start..at.end.max(at.start),
        }
    }

    /// What each token of the heaviest window adds to the logit, with the rows that end at it.
    pub(crate) fn weigh(&self, reading: &Reading<'_>, head: Head) -> (f32, Vec<Weighed>) {
        let read = self.read(reading, head);
        let (weight, window) = read.sums.best();
        let (_, scale) = self.numbers(head);
        let token = |at: usize| {
            let place = read.place(at);
            Weighed {
                word: reading
                    .source
                    .get(place.clone())
                    .unwrap_or_default()
                    .to_owned(),
                weight: read.sums.token_in(at, &window) * scale,
                at: place,
            }
        };
        let score = self.chance(weight, reading, head);
        (score, window.clone().map(token).collect())
    }

    fn read(&self, reading: &Reading<'_>, head: Head) -> Summing<'_> {
        let mut summing = Summing {
            model: self,
            head,
            sums: Sums::default(),
            places: Vec::new(),
        };
        features::read(reading, &mut summing);
        summing
    }

    fn chance(&self, weight: f32, reading: &Reading<'_>, head: Head) -> f32 {
        let facts: f32 = facts(reading).map(|b| self.weight(b, head)).sum();
        let (bias, scale) = self.numbers(head);
        let logit = bias + (weight + facts) * scale;
        1.0 / (1.0 + (-logit).exp())
    }

    fn numbers(&self, head: Head) -> (f32, f32) {
        let ([user, tool], [user_scale, tool_scale]) = (self.bias, self.scale);
        match head {
            Head::User => (user, user_scale),
            Head::Tool => (tool, tool_scale),
        }
    }
}

/// What one token weighed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Weighed {
    /// As it stands in the text, or in what was decoded from it.
    pub word: String,
    /// What it and the rows of words that end at it add to the logit of an attack.
    pub weight: f32,
    /// Where it stands, in bytes of that reading.
    #[serde(skip)]
    pub at: Range<usize>,
}

struct Summing<'m> {
    model: &'m Model<'m>,
    head: Head,
    sums: Sums,
    places: Vec<Range<usize>>,
}

impl Summing<'_> {
    fn place(&self, token: usize) -> Range<usize> {
        self.places.get(token).cloned().unwrap_or(0..0)
    }
}

impl Sink for Summing<'_> {
    fn word(&mut self, bucket: u32) {
        self.sums.word(self.model.weight(bucket, self.head));
    }
    fn concept(&mut self, bucket: u32) {
        self.sums.concept(self.model.weight(bucket, self.head));
    }
    fn token(&mut self, source: Range<usize>) {
        self.sums.token();
        self.places.push(source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_weights_can_be_read_and_nothing_else_is_taken_for_weights() {
        assert!(shipped().is_some());
        let good = include_bytes!("../../model/weights.bin");
        assert!(good.len() <= 2_000_000);
        assert!(Model::parse(&good[1..]).is_none());
        assert!(Model::parse(&good[..good.len() - 1]).is_none());
        assert!(Model::parse(b"cbguard1").is_none());
        let mut endless = good.to_vec();
        endless[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(Model::parse(&endless).is_none());
    }
}
