//! A gateway that is closed while an incident is looked into. It is closed by a file, so that it stays so
//! over restarts, also when the command was given while no gateway ran.

use clawdbot_gateway::Live;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a running gateway looks. It is closed within a second, and cuts what is under way.
const LOOK: Duration = Duration::from_millis(150);

/// What the file says.
#[derive(Debug, Serialize, Deserialize)]
pub struct Incident {
    /// RFC 3339.
    pub began: String,
    /// The same in nanoseconds since 1970.
    pub began_nanos: i64,
    /// In the operator's words.
    pub reason: String,
}

/// Closes and opens the gateway as the file comes and goes.
pub async fn watch(file: PathBuf, live: Live) {
    let mut look_again = tokio::time::interval(LOOK);
    loop {
        look_again.tick().await;
        look(&file, &live);
    }
}

/// Looks once.
pub fn look(file: &Path, live: &Live) {
    // What cannot be looked at may be there.
    let closed = std::fs::symlink_metadata(file)
        .map_or_else(|e| e.kind() != std::io::ErrorKind::NotFound, |_| true);
    if live.close(closed) {
        if closed {
            tracing::error!(
                "security: the gateway is closed while an incident is looked into; clawdbot incident resume opens it"
            );
        } else {
            tracing::warn!("security: the gateway is open again");
        }
    }
}
