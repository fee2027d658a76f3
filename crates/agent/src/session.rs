//! The session a turn belongs to. What it takes in is durable before anything can follow from it.

use crate::agent::Agent;
use crate::error::TurnError;
use crate::turn::Said;
use clawdbot_domain::{SessionId, TokenId, TurnId, UnixTime};
use clawdbot_sessions::{Session, SessionError, SessionStore, Speaker, Spoken, TurnState};
use std::future::Future;
use std::sync::Arc;

impl Said {
    fn spoken(&self) -> Spoken<'_> {
        let (speaker, text) = match self {
            Self::System(text) => (Speaker::System, text),
            Self::User(text) => (Speaker::User, text),
            Self::Assistant(text) => (Speaker::Assistant, text),
        };
        Spoken { speaker, text }
    }
}

impl Agent {
    /// The session this conversation goes on in: the one that is named, else the one that said what
    /// stands in it, else a new one.
    ///
    /// # Errors
    /// [`TurnError::Session`] when the named one is not there or is not this token's.
    pub async fn session(
        &self,
        token: &TokenId,
        named: Option<SessionId>,
        said: &Arc<[Said]>,
    ) -> Result<Session, TurnError> {
        let (token, said) = (token.clone(), Arc::clone(said));
        self.in_store(move |store| {
            let spoken = said.iter().map(Said::spoken).collect::<Vec<_>>();
            store.begin(&token, named.as_ref(), &spoken, UnixTime::now())
        })
        .await
    }

    /// Remembers an answer, so that it is known again when the client sends it back.
    pub(crate) async fn answered(
        &self,
        token: &TokenId,
        session: &SessionId,
        said: &Arc<[Said]>,
        answer: &str,
    ) -> Result<(), TurnError> {
        let (token, session) = (token.clone(), session.clone());
        let (said, answer) = (Arc::clone(said), answer.to_owned());
        self.in_store(move |store| {
            let spoken = said.iter().map(Said::spoken).collect::<Vec<_>>();
            store.answered(&token, &session, &spoken, &answer)
        })
        .await
    }

    /// Work that waits for the disk, on a thread that may.
    pub(crate) async fn in_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&SessionStore) -> Result<T, SessionError> + Send + 'static,
    ) -> Result<T, TurnError> {
        let store = Arc::clone(&self.sessions);
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(done) => Ok(done?),
            // The runtime is going down, or the work panicked and said so itself.
            Err(_) => Err(TurnError::Question("the gateway is stopping")),
        }
    }
}

/// A turn that goes on: however it ends, that is kept.
pub(crate) struct GoingOn {
    store: Arc<SessionStore>,
    id: TurnId,
    ended: bool,
}

impl GoingOn {
    /// It was answered, or waits again.
    pub(crate) async fn ended_well(mut self, waits: bool) {
        self.ended = true;
        if !waits {
            self.keep(TurnState::Done).await;
        }
    }

    fn keep(&self, state: TurnState) -> impl Future<Output = ()> + use<> {
        let (store, id) = (Arc::clone(&self.store), self.id.clone());
        let kept = tokio::task::spawn_blocking(move || store.ended(&id, state));
        // A state that could not be kept reads `running`, and `lost` after a restart.
        async move { drop(kept.await) }
    }
}

impl Drop for GoingOn {
    fn drop(&mut self) {
        // An error, a client that went away, or a cancellation; which of them is in the log.
        if !self.ended && tokio::runtime::Handle::try_current().is_ok() {
            drop(self.keep(TurnState::Failed));
        }
    }
}

impl Agent {
    /// Watches over a turn that goes on.
    pub(crate) fn going_on(&self, id: &TurnId) -> GoingOn {
        GoingOn {
            store: Arc::clone(&self.sessions),
            id: id.clone(),
            ended: false,
        }
    }
}
