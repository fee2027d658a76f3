//! Fits one head: logistic loss on each text's heaviest window, Adagrad, a fixed seed.
//!
//! The heaviest window and not the whole text, because that is what is judged later (multiple
//! instance learning): of an attack in a page only the attack is learned, and of a harmless page
//! its most suspicious part.

use crate::random::Random;
use clawdbot_guard::lab::{BITS, Collected, norms, windows};
use std::ops::Range;

/// How training goes. The values were chosen by leaving whole sources out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Knobs {
    pub(crate) epochs: usize,
    pub(crate) rate: f32,
    pub(crate) decay: f32,
    /// The share of features that are not seen in a step.
    pub(crate) dropout: f32,
    /// How far labels are from 0 and 1.
    pub(crate) smoothing: f32,
    /// In how many sources a feature must occur.
    pub(crate) sources: u32,
    pub(crate) seed: u64,
    /// How many fits are averaged.
    pub(crate) rounds: u64,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            epochs: 6,
            rate: 0.1,
            decay: 1e-6,
            dropout: 0.5,
            smoothing: 0.01,
            sources: 8,
            seed: 88_172_645_463_325_252,
            rounds: 5,
        }
    }
}

/// One text to learn from.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) readings: Vec<Collected>,
    pub(crate) attack: bool,
    /// How much it counts, for the user's and the tool's head.
    pub(crate) weight: [f32; 2],
    /// Which source it comes from.
    pub(crate) source: usize,
}

/// What was learned.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) weights: Vec<f32>,
    pub(crate) bias: f32,
}

/// A window of one reading.
type Place = (usize, Range<usize>);

/// Buckets that occur in enough sources.
pub(crate) fn common(examples: &[&Example], least: u32) -> Vec<bool> {
    let mut seen = vec![0u64; 1 << BITS];
    for example in examples {
        let bit = 1u64 << (example.source % 64);
        for reading in &example.readings {
            for bucket in reading
                .words
                .iter()
                .chain(&reading.concepts)
                .chain(&reading.facts)
            {
                seen[*bucket as usize] |= bit;
            }
        }
    }
    seen.iter().map(|mask| mask.count_ones() >= least).collect()
}

/// Both heads at once: they know nothing of each other.
pub(crate) fn both(train: &[&Example], common: &[bool], knobs: Knobs) -> [Head; 2] {
    std::thread::scope(|scope| {
        let user = scope.spawn(|| fit(train, 0, common, knobs));
        let tool = fit(train, 1, common, knobs);
        user.join().map(|user| [user, tool])
    })
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The mean of several fits with lots of their own. A linear model's mean is one too, and what one
/// fit learned by the order of its texts is evened out: a single fit's AUC on unknown sources moves
/// by a hundredth or two with its seed.
fn fit(examples: &[&Example], head: usize, common: &[bool], knobs: Knobs) -> Head {
    let mut mean = Head {
        weights: vec![0.0; 1 << BITS],
        bias: 0.0,
    };
    let share = 1.0 / knobs.rounds as f32;
    for round in 0..knobs.rounds {
        let seed = knobs
            .seed
            .wrapping_add(round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let one = fit_once(examples, head, common, Knobs { seed, ..knobs });
        for (sum, weight) in mean.weights.iter_mut().zip(one.weights) {
            *sum += weight * share;
        }
        mean.bias += one.bias * share;
    }
    mean
}

fn fit_once(examples: &[&Example], head: usize, common: &[bool], knobs: Knobs) -> Head {
    let mut model = Head {
        weights: vec![0.0; 1 << BITS],
        bias: 0.0,
    };
    let mut steps = Steps {
        squares: vec![1e-8; 1 << BITS],
        bias: 1e-8,
    };
    let mut random = Random(knobs.seed);
    let mut order: Vec<usize> = (0..examples.len()).collect();
    for epoch in 0..knobs.epochs {
        random.shuffle(&mut order);
        for index in &order {
            let example = examples[*index];
            let weight = example.weight[head];
            if weight == 0.0 {
                continue;
            }
            let explore = epoch == 0 && !example.attack;
            let place = if explore {
                any_place(example, &mut random)
            } else {
                model.best(example).1
            };
            step(
                &mut model,
                &mut steps,
                example,
                &place,
                weight,
                common,
                knobs,
                &mut random,
            );
        }
    }
    model
}

struct Steps {
    squares: Vec<f32>,
    bias: f32,
}

#[allow(
    clippy::too_many_arguments,
    reason = "one step of one loop, taken out to be read"
)]
fn step(
    model: &mut Head,
    steps: &mut Steps,
    example: &Example,
    place: &Place,
    weight: f32,
    common: &[bool],
    knobs: Knobs,
    random: &mut Random,
) {
    let mut seen = Vec::new();
    let keep = 1.0 / (1.0 - knobs.dropout);
    each(&example.readings[place.0], &place.1, |bucket, value| {
        if common[bucket as usize] && random.unit() >= knobs.dropout {
            seen.push((bucket as usize, value * keep));
        }
    });
    let logit = model.bias + seen.iter().map(|(b, v)| model.weights[*b] * v).sum::<f32>();
    let said = 1.0 / (1.0 + (-logit).exp());
    let wanted =
        f32::from(u8::from(example.attack)) * (1.0 - 2.0 * knobs.smoothing) + knobs.smoothing;
    let error = (said - wanted) * weight;
    for (bucket, value) in seen {
        let slope = error * value + knobs.decay * model.weights[bucket];
        steps.squares[bucket] += slope * slope;
        model.weights[bucket] -= knobs.rate * slope / steps.squares[bucket].sqrt();
    }
    steps.bias += error * error;
    model.bias -= knobs.rate * error / steps.bias.sqrt();
}

/// Every feature of a window with its value.
fn each(reading: &Collected, window: &Range<usize>, mut hear: impl FnMut(u32, f32)) {
    let end = |at: usize| at.checked_sub(1).map_or((0, 0), |i| reading.ends[i]);
    let (from, to) = (end(window.start), end(window.end));
    let words = &reading.words[from.0 as usize..to.0 as usize];
    let concepts = &reading.concepts[from.1 as usize..to.1 as usize];
    let (word, concept) = norms(words.len() as f32, concepts.len() as f32);
    for bucket in words {
        hear(*bucket, word);
    }
    for bucket in concepts {
        hear(*bucket, concept);
    }
    for bucket in &reading.facts {
        hear(*bucket, 1.0);
    }
}

impl Head {
    /// The heaviest window of all readings, and its logit.
    pub(crate) fn best(&self, example: &Example) -> (f32, Place) {
        let mut best = (f32::NEG_INFINITY, (0, 0..0));
        for (index, reading) in example.readings.iter().enumerate() {
            let (logit, window) = self.best_window(reading);
            if logit > best.0 {
                best = (logit, (index, window));
            }
        }
        best
    }

    fn best_window(&self, reading: &Collected) -> (f32, Range<usize>) {
        let weigh = |buckets: &[u32]| -> Vec<f32> {
            let mut sum = 0.0;
            std::iter::once(0.0)
                .chain(buckets.iter().map(|b| {
                    sum += self.weights[*b as usize];
                    sum
                }))
                .collect()
        };
        let (words, concepts) = (weigh(&reading.words), weigh(&reading.concepts));
        let facts: f32 = reading
            .facts
            .iter()
            .map(|b| self.weights[*b as usize])
            .sum();
        let tokens = reading.ends.len();
        let logit = |window: &Range<usize>| {
            let end = |at: usize| at.checked_sub(1).map_or((0, 0), |i| reading.ends[i]);
            let ((w0, c0), (w1, c1)) = (end(window.start), end(window.end));
            let (word, concept) = norms((w1 - w0) as f32, (c1 - c0) as f32);
            (words[w1 as usize] - words[w0 as usize]) * word
                + (concepts[c1 as usize] - concepts[c0 as usize]) * concept
                + facts
                + self.bias
        };
        let mut best = (f32::NEG_INFINITY, 0..0);
        for window in windows(tokens) {
            let weight = logit(&window);
            if weight > best.0 {
                best = (weight, window);
            }
        }
        best
    }
}

fn any_place(example: &Example, random: &mut Random) -> Place {
    let reading = random.below(example.readings.len());
    let all: Vec<_> = windows(example.readings[reading].ends.len()).collect();
    (reading, all[random.below(all.len())].clone())
}
