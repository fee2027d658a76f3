//! Written by `training/`; do not edit.

use super::Thresholds;

/// Of the user's and the tool's head.
pub(crate) const THRESHOLDS: [Thresholds; 2] = [
    Thresholds {
        block: 0.709,
        strict: 0.627,
        withhold: 0.555,
        suspect: 0.381,
        certain: 0.800,
    },
    Thresholds {
        block: 0.783,
        strict: 0.663,
        withhold: 0.597,
        suspect: 0.431,
        certain: 0.834,
    },
];
