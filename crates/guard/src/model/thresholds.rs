//! Written by `training/`; do not edit.

use super::Thresholds;

/// Of the user's and the tool's head.
pub(crate) const THRESHOLDS: [Thresholds; 2] = [
    Thresholds {
        block: 0.659,
        strict: 0.607,
        withhold: 0.524,
        suspect: 0.360,
        certain: 0.691,
    },
    Thresholds {
        block: 0.699,
        strict: 0.664,
        withhold: 0.583,
        suspect: 0.461,
        certain: 0.733,
    },
];
