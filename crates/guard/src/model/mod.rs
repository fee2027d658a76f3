//! The learned detector: a linear model over hashed words and concepts, one head for what people
//! say and one for what comes from outside.
//!
//! The recipe, in the order of what helped: concepts in a row, the heaviest window of a text, rows
//! of up to three words and one gap, no character n-grams. Weights, thresholds and metrics are made
//! by `training/` and lie in `model/` beside this crate's sources.

mod features;
mod judge;
mod readings;
mod score;
mod thresholds;

pub use judge::Weighed;
pub(crate) use judge::{Head, Verdict, shipped};
pub(crate) use readings::weigh;
pub(crate) use thresholds::THRESHOLDS;

/// From which scores on there are consequences; chosen on the tuning set at the named share of
/// harmless texts. Outside it about five times as many are met.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Thresholds {
    /// At 0.1 %: refused, or cut out.
    pub(crate) block: f32,
    /// At 0.2 %: refused in strict mode.
    pub(crate) strict: f32,
    /// At 0.4 %: withheld in strict mode.
    pub(crate) withhold: f32,
    /// At 1 %: a person must approve what follows.
    pub(crate) suspect: f32,
    /// Above every harmless text of the tuning set: for what models say.
    pub(crate) certain: f32,
}

/// What `training/` needs to see text as the detector does. Not for anybody else.
pub mod lab {
    pub use super::judge::{Head, Model};
    pub use super::readings::{collect, judge};
    pub use super::score::{Collected, norms, windows};

    /// Buckets of one head, as a power of two.
    pub const BITS: u32 = super::features::BITS;

    /// What a file of weights begins with.
    pub const MAGIC: &[u8; 8] = super::judge::MAGIC;
}
