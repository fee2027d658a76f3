//! What waits for the writer. Bounded: who must wait is refused when too many do, who need not is
//! counted when it is lost.

use crate::error::{AuditError, NotRecorded};
use crate::line::Entry;
use crate::settings::AuditSettings;
use clawdbot_domain::{Event, Outcome, Who};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// So many callers wait at once.
const MAX_WAITING: usize = 8 * 1024;
/// So many records that nobody waits for are held.
pub(crate) const MAX_LATER: usize = 64 * 1024;

/// So long a record that nobody waits for may wait for company. The end record of one request then
/// rides on the flush that the begin record of the next one needs anyway.
const LINGER: Duration = Duration::from_millis(10);
/// So long at most the writer waits for company when the flush before carried more than one caller: the
/// others are about to be back, and one flush for all of them costs what a flush for one does. It goes on
/// as soon as as many are there as before. A lone caller waits for nobody.
const GATHER: Duration = Duration::from_micros(150);
/// So many records that nobody waits for do not wait for company.
const CROWD: usize = 512;

/// What to do once the entry is durable, or is known not to be.
#[derive(Debug)]
pub(crate) enum Then {
    Begin(oneshot::Sender<Result<Begun, NotRecorded>>),
    Note(oneshot::Sender<Result<u64, NotRecorded>>),
    NoteBlocking(mpsc::SyncSender<Result<u64, NotRecorded>>),
    /// Nobody waits; kept until it can be written.
    Later,
    /// The settings it tells of come into force.
    Apply(AuditSettings),
    /// The writer's own: there was an outage.
    Outage,
}

impl Then {
    /// True when somebody waits, and can therefore be told that it did not happen.
    pub(crate) fn is_waited_for(&self) -> bool {
        match self {
            Self::Begin(_) | Self::Note(_) | Self::NoteBlocking(_) => true,
            Self::Later | Self::Apply(_) | Self::Outage => false,
        }
    }

    /// True when the caller stopped waiting; then it must not be written any more.
    pub(crate) fn is_given_up(&self) -> bool {
        match self {
            Self::Begin(reply) => reply.is_closed(),
            Self::Note(reply) => reply.is_closed(),
            Self::NoteBlocking(_) | Self::Later | Self::Apply(_) | Self::Outage => false,
        }
    }
}

/// A durable begin record on its way to its caller. If nobody is there to take it, the record is
/// closed as abandoned.
#[derive(Debug)]
pub(crate) struct Begun {
    index: u64,
    about: Option<(Who, Event)>,
    queue: Arc<Queue>,
}

impl Begun {
    pub(crate) fn new(entry: Entry, queue: Arc<Queue>) -> Self {
        Self {
            index: entry.index,
            about: Some((entry.who, entry.event)),
            queue,
        }
    }

    /// The caller has it.
    pub(crate) fn take(mut self) -> (u64, Who, Event) {
        let index = self.index;
        // Some from `new` on; only this and `drop` take it.
        let (who, event) = self.about.take().unwrap_or_else(|| {
            let reason = String::new();
            (Who::default(), Event::GatewayStop { reason })
        });
        (index, who, event)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some((who, event)) = self.about.take() {
            let end = Entry::now(who, Outcome::Abandoned, event, Some(self.index));
            self.queue.push_later(end, Then::Later);
        }
    }
}

/// One thing for the writer to do.
#[derive(Debug)]
pub(crate) enum Job {
    Write(Box<Entry>, Then),
    /// Answered when everything before it was tried.
    Flush(oneshot::Sender<()>),
    /// A record that stands is not as it was written: nothing is taken in any more.
    Damaged(AuditError),
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Life {
    #[default]
    Open,
    /// Nothing is taken in any more that somebody would wait for.
    Closed,
    /// The writer is gone: what is queued now would never be written.
    Dead,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    waiting: usize,
    later: usize,
    /// How many callers the jobs taken last carried.
    carried: usize,
    /// The writer sleeps until so many wait; 0 while it does not.
    expected: usize,
    /// Somebody waits, or a crowd does: the writer is to work at once.
    urgent: bool,
    /// The writer looks again by itself within [`LINGER`], so it need not be woken for a record that
    /// nobody waits for.
    lingering: bool,
    life: Life,
}

/// The queue between callers and the writer.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    lost: AtomicU64,
}

impl Queue {
    /// Queues what somebody waits for.
    pub(crate) fn push_waited(&self, entry: Entry, then: Then) -> Result<(), NotRecorded> {
        let mut state = self.state();
        if state.life != Life::Open {
            return Err(NotRecorded::Closed);
        }
        if state.waiting >= MAX_WAITING {
            return Err(NotRecorded::Overloaded);
        }
        state.waiting += 1;
        state.jobs.push_back(Job::Write(Box::new(entry), then));
        self.hurry(state);
        Ok(())
    }

    /// Queues what nobody waits for; counts it as lost when there is no room.
    pub(crate) fn push_later(&self, entry: Entry, then: Then) {
        let mut state = self.state();
        if state.life == Life::Dead || state.later >= MAX_LATER {
            self.lose();
            return;
        }
        state.later += 1;
        state.jobs.push_back(Job::Write(Box::new(entry), then));
        if state.later >= CROWD {
            self.hurry(state);
        } else if !state.lingering {
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Queues a flush; dropped unanswered when the queue is closed.
    pub(crate) fn push_flush(&self, done: oneshot::Sender<()>) {
        let mut state = self.state();
        if state.life == Life::Open {
            state.jobs.push_back(Job::Flush(done));
            self.hurry(state);
        }
    }

    /// Tells the writer that the log is damaged.
    pub(crate) fn push_damage(&self, error: AuditError) {
        let mut state = self.state();
        if state.life == Life::Open {
            state.jobs.push_back(Job::Damaged(error));
            self.hurry(state);
        }
    }

    /// Lets the writer work at once; it is woken once, however many hurry it.
    fn hurry(&self, mut state: MutexGuard<'_, State>) {
        let woken = std::mem::replace(&mut state.urgent, true);
        let complete = state.expected > 0 && state.waiting >= state.expected;
        if complete {
            state.expected = 0;
        }
        drop(state);
        if !woken || complete {
            self.wake.notify_one();
        }
    }

    /// Counts a record that could not be kept.
    pub(crate) fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were lost since the last call.
    pub(crate) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    /// Takes up to `most` jobs. Waits until somebody waits for one, or until those that nobody waits
    /// for have lingered; yields none after `patience`, and `None` when the queue is closed and empty.
    pub(crate) fn take(&self, most: usize, patience: Option<Duration>) -> Option<Vec<Job>> {
        let mut state = self.state();
        // The writer has just worked: what belongs to that work is about to follow.
        state.lingering = true;
        while !state.urgent {
            if state.life != Life::Open {
                if state.jobs.is_empty() {
                    return None;
                }
                break;
            }
            let limit = if state.lingering {
                Some(LINGER)
            } else {
                patience
            };
            let over;
            (state, over) = self.wait(state, limit);
            match (over, state.lingering) {
                (true, true) if state.jobs.is_empty() => state.lingering = false,
                (true, _) => break,
                (false, _) => state.lingering = true,
            }
        }
        state.lingering = false;
        if state.carried > 1 {
            state = self.gather(state);
        }
        let many = most.min(state.jobs.len());
        let jobs: Vec<Job> = state.jobs.drain(..many).collect();
        state.urgent = !state.jobs.is_empty();
        state.carried = 0;
        for job in &jobs {
            match job {
                Job::Write(_, then) if then.is_waited_for() => {
                    state.waiting -= 1;
                    state.carried += 1;
                }
                Job::Write(..) => state.later -= 1,
                Job::Flush(_) | Job::Damaged(_) => {}
            }
        }
        Some(jobs)
    }

    /// Waits until as many wait as the jobs taken last carried.
    fn gather<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let until = Instant::now() + GATHER;
        state.expected = state.carried;
        while state.life == Life::Open && state.waiting < state.carried {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (state, _) = self.wait(state, Some(left));
        }
        state.expected = 0;
        state
    }

    /// Waits to be woken, at most so long; true when nobody woke it.
    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        limit: Option<Duration>,
    ) -> (MutexGuard<'a, State>, bool) {
        let Some(limit) = limit else {
            let woken = self.wake.wait(state);
            return (woken.unwrap_or_else(PoisonError::into_inner), false);
        };
        let waited = self.wake.wait_timeout(state, limit);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        (state, timeout.timed_out())
    }

    /// The writer is gone. Who still waits is told by the drop of what he queued.
    pub(crate) fn bury(&self) {
        let mut state = self.state();
        state.life = Life::Dead;
        let jobs = std::mem::take(&mut state.jobs);
        // Dropping a job may queue another one.
        drop(state);
        drop(jobs);
    }

    /// No caller is taken in any more; what is queued is still written.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        if state.life == Life::Open {
            state.life = Life::Closed;
        }
        drop(state);
        self.wake.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
