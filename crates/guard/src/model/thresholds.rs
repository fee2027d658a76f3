//! Written by `training/`; do not edit.

use super::Thresholds;

/// Of the user's and the tool's head.
pub(crate) const THRESHOLDS: [Thresholds; 2] = [
    Thresholds {
        block: 0.856,
        strict: 0.728,
        withhold: 0.511,
        suspect: 0.438,
        certain: 0.888,
    },
    Thresholds {
        block: 0.861,
        strict: 0.732,
        withhold: 0.626,
        suspect: 0.525,
        certain: 0.970,
    },
];
