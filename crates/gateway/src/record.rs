//! A change made over the API: written down, then made, then written down how it ended.

use crate::answer::ApiError;
use crate::caller::Caller;
use clawdbot_agent::TurnError;
use clawdbot_domain::{Event, Outcome};
use http::StatusCode;

/// Writes the intent down, acts on a thread that may wait for the disk, and writes the end down.
/// What cannot be written down does not happen.
///
/// # Errors
/// The log's, before anything was done; or the act's own.
pub(crate) async fn recorded<T: Send + 'static>(
    caller: &Caller,
    events: Vec<Event>,
    act: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let recorder = caller.rooms().agent.recorder().clone();
    let who = caller.who();
    // A task of its own: a client that goes away between the two records does not stop the second.
    let whole = async move {
        for event in &events {
            let begun = recorder.note(who.clone(), Outcome::Begin, event.clone());
            begun.await.map_err(TurnError::from)?;
        }
        let acted = blocking(act).await;
        let outcome = if acted.is_ok() {
            Outcome::Ok
        } else {
            Outcome::Failed
        };
        for event in events {
            recorder.note_later(who.clone(), outcome, event);
        }
        acted
    };
    tokio::spawn(whole).await.unwrap_or_else(|_| Err(broke()))
}

/// Work that waits for the disk, on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(broke()))
}

fn broke() -> ApiError {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "something broke; the log says what",
    )
}
