//! What lives as long as the gateway, whatever the settings.

use crate::counts::Counts;
use crate::findings::Findings;
use clawdbot_guard::Known;

/// What is known across turns and across changes of the settings.
#[derive(Debug, Default)]
pub struct Kept {
    /// Secrets that must not go out.
    pub known: Known,
    /// What has happened so far, in numbers.
    pub counts: Counts,
    pub(crate) findings: Findings,
}
