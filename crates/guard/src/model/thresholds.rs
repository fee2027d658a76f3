//! Written by `training/`; do not edit.

use super::Thresholds;

/// Of the user's and the tool's head.
pub(crate) const THRESHOLDS: [Thresholds; 2] = [
    Thresholds {
        block: 0.880,
        strict: 0.730,
        withhold: 0.519,
        suspect: 0.406,
        certain: 0.894,
    },
    Thresholds {
        block: 0.902,
        strict: 0.742,
        withhold: 0.674,
        suspect: 0.518,
        certain: 0.986,
    },
];
