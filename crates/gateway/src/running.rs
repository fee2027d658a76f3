//! The turns, relays and calls that run now: each can be seen, and ended by hand.

use crate::caller::Context;
use clawdbot_domain::{Event, Outcome, SessionId, TokenId, TurnId, UnixTime, Who};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::watch;

/// Everything that runs, by the name it began under. It is bounded by the cap on turns.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<BTreeMap<TurnId, Work>>);

struct Work {
    token: TokenId,
    path: String,
    started: UnixTime,
    cancel: Arc<watch::Sender<bool>>,
    context: Weak<Context>,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work")
            .field("token", &self.token)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Something that runs, as people look at it.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The name it goes by.
    pub(crate) id: TurnId,
    pub(crate) token: TokenId,
    pub(crate) session: Option<SessionId>,
    pub(crate) path: String,
    pub(crate) started: UnixTime,
}

/// A place among what runs; given back when it is dropped.
pub(crate) struct Entered {
    context: Arc<Context>,
    cancelled: watch::Receiver<bool>,
}

impl Entered {
    /// Resolves when somebody ends it.
    pub(crate) fn cancelled(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut cancelled = self.cancelled.clone();
        async move {
            if cancelled.wait_for(|cancelled| *cancelled).await.is_err() {
                // Whoever could end it is gone, so nobody will.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.context
            .server
            .running
            .lock()
            .remove(&self.context.turn);
    }
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TurnId, Work>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more runs.
    pub(crate) fn enter(context: &Arc<Context>, token: &TokenId, path: &str) -> Entered {
        let (cancel, cancelled) = watch::channel(false);
        let work = Work {
            token: token.clone(),
            path: path.chars().take(80).collect(),
            started: UnixTime::now(),
            cancel: Arc::new(cancel),
            context: Arc::downgrade(context),
        };
        let running = &context.server.running;
        running.lock().insert(context.turn.clone(), work);
        Entered {
            context: Arc::clone(context),
            cancelled,
        }
    }

    /// What runs, the oldest first.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let all = self.lock();
        let mut seen = all
            .iter()
            .map(|(id, work)| {
                let context = work.context.upgrade();
                let goes_on = context.as_ref().and_then(|c| c.goes_on.get().cloned());
                Seen {
                    id: goes_on.unwrap_or_else(|| id.clone()),
                    token: work.token.clone(),
                    session: context.and_then(|c| c.session.get().cloned()),
                    path: work.path.clone(),
                    started: work.started,
                }
            })
            .collect::<Vec<_>>();
        seen.sort_by_key(|seen| seen.started);
        seen
    }

    /// Ends what goes by this name, or everything; the names of what was ended. Done first and written
    /// down then: a log that cannot be written must not keep anything running.
    pub(crate) fn cancel(&self, which: Option<&TurnId>, reason: &str) -> Vec<TurnId> {
        let mut ended = Vec::new();
        for (id, work) in self.lock().iter() {
            let context = work.context.upgrade();
            let goes_on = context.as_ref().and_then(|c| c.goes_on.get().cloned());
            let named = which.is_none_or(|which| which == id || goes_on.as_ref() == Some(which));
            if named && !work.cancel.send_replace(true) {
                ended.push((goes_on.unwrap_or_else(|| id.clone()), context));
            }
        }
        let told = ended.into_iter().map(|(turn, context)| {
            if let Some(context) = context {
                let event = Event::TurnCancelled {
                    turn: turn.clone(),
                    reason: reason.to_owned(),
                };
                let who: Who = context.who();
                let recorder = context.rooms.agent.recorder();
                recorder.note_later(who, Outcome::Ok, event);
            }
            turn
        });
        told.collect()
    }
}
