//! Removes the workspaces of sessions that are over, or were not used for as long as they are kept.

use clawdbot_audit::Recorder;
use clawdbot_domain::{Event, Outcome, SessionId, UnixTime, Who};
use clawdbot_gateway::Live;
use clawdbot_sessions::{SessionError, SessionStore};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How often it looks. A workspace is kept for hours at least, so it goes at most this much late.
const EVERY: Duration = Duration::from_secs(600);

/// Looks now and again for as long as the runtime lives, under whatever settings are in force by then.
pub fn start(live: Live, sessions: Arc<SessionStore>, recorder: Recorder) {
    tokio::spawn(async move {
        loop {
            if let Err(error) = once(&live, &sessions, &recorder).await {
                tracing::warn!(%error, "a workspace could not be removed");
            }
            tokio::time::sleep(EVERY).await;
        }
    });
}

/// Each removal is written down before it happens; what cannot be written down stays.
async fn once(
    live: &Live,
    sessions: &Arc<SessionStore>,
    recorder: &Recorder,
) -> Result<(), String> {
    let workspaces = live.current().agent.toolbox().workspaces().clone();
    let (looking, sessions) = (workspaces.clone(), Arc::clone(sessions));
    // A store that cannot be read says of no session that it is over.
    let is_over = move |id: &SessionId| {
        let found = sessions.session(None, id, UnixTime::now());
        matches!(found, Err(SessionError::NoSuchSession(_)))
    };
    let old = blocking(move || looking.old(SystemTime::now(), is_over)).await?;
    for workspace in old {
        let event = Event::WorkspaceRemoved {
            workspace: workspace.clone(),
        };
        let noted = recorder.note(Who::default(), Outcome::Begin, event).await;
        noted.map_err(|error| error.to_string())?;
        let removing = workspaces.clone();
        blocking(move || removing.remove_old(&workspace)).await?;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())
}
