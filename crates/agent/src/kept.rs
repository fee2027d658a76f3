//! What lives as long as the gateway, whatever the settings.

use crate::counts::Counts;
use crate::findings::Findings;
use clawdbot_guard::{Known, Seen};

/// What is known across turns and across changes of the settings.
#[derive(Debug)]
pub struct Kept {
    /// Secrets that must not go out.
    pub known: Known,
    /// What has happened so far, in numbers.
    pub counts: Counts,
    pub(crate) findings: Findings,
    /// Texts that need no second look. None without randomness: then each is looked at every time.
    pub(crate) seen: Option<Seen>,
}

impl Default for Kept {
    fn default() -> Self {
        let mut key = [0; 32];
        Self {
            known: Known::default(),
            counts: Counts::default(),
            findings: Findings::default(),
            seen: getrandom::fill(&mut key).is_ok().then(|| Seen::new(key)),
        }
    }
}
