//! What lives as long as the gateway, whatever the settings.

use crate::agent::Agent;
use crate::counts::Counts;
use crate::findings::Findings;
use clawdbot_guard::{Known, Seen};
use std::sync::{Arc, PoisonError, RwLock, Weak};

/// What is known across turns and across changes of the settings.
#[derive(Debug)]
pub struct Kept {
    /// Secrets that must not go out.
    pub known: Known,
    /// What has happened so far, in numbers.
    pub counts: Counts,
    pub(crate) findings: Findings,
    /// The agent under the rules in force. Weak, because every agent holds what is kept.
    newest: RwLock<Weak<Agent>>,
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
            newest: RwLock::default(),
            seen: getrandom::fill(&mut key).is_ok().then(|| Seen::new(key)),
        }
    }
}

impl Kept {
    /// The agent under the rules in force; `None` where no gateway has put one in place.
    pub(crate) fn newest(&self) -> Option<Arc<Agent>> {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        newest.upgrade()
    }

    pub(crate) fn set_newest(&self, agent: &Arc<Agent>) {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        *newest = Arc::downgrade(agent);
    }
}
