//! Makes the two heads' scores mean the same: how rare a harmless text is that scores so high.
//!
//! A head's logit has no scale that another head shares. Two points of each head's distribution
//! over harmless texts are laid on two fixed scores, so that one threshold, and one ranking, does
//! for both.

use crate::fit::Head;
use crate::rows::Row;
use crate::set::example_of;
use clawdbot_guard::lab;
use clawdbot_guard::measure::score_exceeded_by;

/// One in so many harmless texts of the tuning set exceeds the logit that a point is laid on. The
/// upper is the rate that thresholds are chosen near; the lower is frequent enough to be sure of.
const POINTS: [(usize, f32); 2] = [(500, 1.0), (20, -1.5)];

/// `score = sigmoid(slope × logit + shift)`, a head each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scales([(f32, f32); 2]);

impl Scales {
    pub(crate) fn score(&self, head: lab::Head, logit: f32) -> f32 {
        let (slope, shift) = self.0[head as usize];
        1.0 / (1.0 + (-(slope * logit + shift)).exp())
    }

    /// The same heads with the scale worked in.
    pub(crate) fn apply(&self, heads: [Head; 2]) -> [Head; 2] {
        let mut index = 0;
        heads.map(|mut head| {
            let (slope, shift) = self.0[index];
            index += 1;
            for weight in &mut head.weights {
                *weight *= slope;
            }
            head.bias = head.bias * slope + shift;
            head
        })
    }
}

/// Lays both heads' points over the same harmless texts.
pub(crate) fn calibrate<'r>(heads: &[Head; 2], harmless: impl Iterator<Item = &'r Row>) -> Scales {
    let examples: Vec<_> = harmless
        .map(example_of)
        .filter(|e| !e.readings.is_empty())
        .collect();
    Scales([0, 1].map(|head: usize| {
        let logits: Vec<f32> = examples.iter().map(|e| heads[head].best(e).0).collect();
        let at = |(one_in, _)| score_exceeded_by(logits.clone(), one_in);
        let [high, low] = POINTS.map(at);
        let slope = (POINTS[0].1 - POINTS[1].1) / (high - low).max(0.1);
        (slope, POINTS[0].1 - slope * high)
    }))
}
