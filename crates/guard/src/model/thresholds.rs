//! Written by `training/`; do not edit.

use super::Thresholds;

/// Of the user's and the tool's head.
pub(crate) const THRESHOLDS: [Thresholds; 2] = [
    Thresholds {
        block: 0.610,
        strict: 0.584,
        withhold: 0.550,
        suspect: 0.418,
        certain: 0.695,
    },
    Thresholds {
        block: 0.745,
        strict: 0.670,
        withhold: 0.643,
        suspect: 0.488,
        certain: 0.792,
    },
];
