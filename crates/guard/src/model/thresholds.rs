//! Written by `training/`; do not edit.

use super::Thresholds;

/// Of the user's and the tool's head.
pub(crate) const THRESHOLDS: [Thresholds; 2] = [
    Thresholds {
        block: 0.819,
        strict: 0.726,
        withhold: 0.640,
        suspect: 0.472,
        certain: 0.851,
    },
    Thresholds {
        block: 0.749,
        strict: 0.729,
        withhold: 0.696,
        suspect: 0.468,
        certain: 0.860,
    },
];
