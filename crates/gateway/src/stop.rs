//! `POST /gateway/stop`: for whoever cannot signal the process, as from another container.

use crate::body::{ADMIN_BODY, body_of, json_of, not_json};
use crate::caller::Caller;
use crate::routes::Handled;
use axum::body::Body;
use http::{Request, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a gateway is asked to go. It only ever goes further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Stop {
    /// Go on serving.
    #[default]
    Serve,
    /// Take nothing new, and let what runs come to its end.
    Drain,
    /// End what runs, with all it started.
    Now,
}

/// Asks to stop.
#[derive(Debug, Clone)]
pub struct Stopper(tokio::sync::watch::Sender<Stop>);

impl Default for Stopper {
    fn default() -> Self {
        Self(tokio::sync::watch::Sender::new(Stop::Serve))
    }
}

impl Stopper {
    /// Asks for this, unless more was asked for.
    pub fn stop(&self, how: Stop) {
        self.0.send_modify(|asked| *asked = how.max(*asked));
    }

    /// What was asked for.
    pub fn asked(&self) -> Stop {
        *self.0.borrow()
    }

    /// Resolves when at least this was asked for.
    pub(crate) async fn at_least(&self, how: Stop) {
        let mut asked = self.0.subscribe();
        // It cannot fail: a sender is here.
        let _ = asked.wait_for(|asked| *asked >= how).await;
    }
}

/// How to stop.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StopGateway {
    /// End what runs, instead of waiting for it. It must be said: an empty body stops nothing.
    now: bool,
}

/// It will stop.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Stopping {
    /// Always true.
    stopping: bool,
}

/// `POST /gateway/stop`.
pub(crate) async fn stop(caller: Caller, request: Request<Body>) -> Handled {
    let body = body_of(request, ADMIN_BODY).await?;
    let asked: StopGateway = serde_json::from_slice(&body).map_err(not_json)?;
    tracing::warn!(token = %caller.principal().token, asked.now, "security: asked to stop over the API");
    let how = if asked.now { Stop::Now } else { Stop::Drain };
    caller.context().server.stopper.stop(how);
    Ok(json_of(StatusCode::ACCEPTED, &Stopping { stopping: true }))
}
