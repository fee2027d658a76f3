//! Every reading of a text as features.

use super::features::{self, named};
use super::judge::{Head, Model, Verdict, Weighed, shipped};
use super::score::Collected;
use crate::detect::{self, Hear, Reading};

/// The facts of a reading.
pub(crate) fn facts(reading: &Reading<'_>) -> impl Iterator<Item = u32> {
    let how = reading.through.map(named);
    let deep = (reading.depth > 1).then(|| named("nested"));
    how.into_iter().chain(deep)
}

#[derive(Default)]
struct Collector(Vec<Collected>);

impl Hear for Collector {
    fn reading(&mut self, reading: &Reading<'_>) -> Option<Verdict> {
        let mut collected = Collected {
            facts: facts(reading).collect(),
            ..Collected::default()
        };
        features::read(reading, &mut collected);
        if !collected.ends.is_empty() {
            self.0.push(collected);
        }
        None
    }
}

/// Every reading of a text, for training.
pub fn collect(text: &str) -> Vec<Collected> {
    let mut all = Collector::default();
    detect::readings(text, &mut all);
    all.0
}

struct Judging<'m>(&'m Model<'m>, Head, f32);

impl Hear for Judging<'_> {
    fn reading(&mut self, reading: &Reading<'_>) -> Option<Verdict> {
        self.2 = self.2.max(self.0.judge(reading, self.1).score);
        None
    }
}

/// What other weights than the shipped ones make of a text, rules aside.
pub fn judge(model: &Model<'_>, head: Head, text: &str) -> f32 {
    let mut judging = Judging(model, head, 0.0);
    detect::readings(text, &mut judging);
    judging.2
}

struct Weighing(Head, f32, Vec<Weighed>);

impl Hear for Weighing {
    fn reading(&mut self, reading: &Reading<'_>) -> Option<Verdict> {
        let (score, tokens) = shipped()?.weigh(reading, self.0);
        if score > self.1 {
            (self.1, self.2) = (score, tokens);
        }
        None
    }
}

/// The tokens of the heaviest window of the worst reading, in their order, and what each weighed.
pub(crate) fn weigh(head: Head, text: &str) -> Vec<Weighed> {
    let mut weighing = Weighing(head, 0.0, Vec::new());
    detect::readings(text, &mut weighing);
    weighing.2
}
