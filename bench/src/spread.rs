//! A handful of numbers, told by their quantiles.

use serde_json::{Value, json};

/// Measured durations in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Spread(Vec<u64>);

impl Spread {
    pub(crate) fn add(&mut self, nanos: u64) {
        self.0.push(nanos);
    }

    /// Quantiles in microseconds; null when nothing was measured.
    pub(crate) fn json(&mut self) -> Value {
        self.0.sort_unstable();
        let Some(last) = self.0.len().checked_sub(1) else {
            return Value::Null;
        };
        let at = |quantile: f64| {
            #[allow(
                clippy::cast_sign_loss,
                reason = "a quantile of a length is not negative"
            )]
            let index = (quantile * last as f64).round() as usize;
            (self.0[index] as f64 / 100.0).round() / 10.0
        };
        json!({"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0)})
    }
}
