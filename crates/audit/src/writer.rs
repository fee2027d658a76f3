//! The one thread that owns the files: drains the queue, writes a batch, flushes once, wakes all.

use crate::clock::Clock;
use crate::error::{AuditError, NotRecorded};
use crate::line::Entry;
use crate::log::{Limits, Log};
use crate::queue::{Begun, Job, MAX_LATER, Queue, Then};
use crate::recorder::Shared;
use crate::tell::tell;
use clawdbot_domain::Event;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// So many records go into one write.
const MAX_BATCH: usize = 1024;
/// How often a log that cannot be written is tried while nobody asks.
const RETRY: Duration = Duration::from_millis(500);

/// Why the log cannot be written, since when it cannot.
struct Outage {
    cause: String,
    refused: u64,
}

/// The writer's own state.
pub(crate) struct Writer {
    log: Log,
    shared: Arc<Shared>,
    /// Records nobody waits for that could not be written yet.
    backlog: VecDeque<(Entry, Then)>,
    outage: Option<Outage>,
    /// The last checkpoint could not be published: nothing more is taken in before one can.
    unsigned: bool,
    /// Until the next start.
    damaged: Option<Arc<AuditError>>,
    clock: Clock,
}

/// Records with what follows for each, and the flushes to answer after them.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    thens: Vec<Then>,
    flushes: Vec<oneshot::Sender<()>>,
}

/// Whatever ends the writer, even a bug, ends the taking in of records: what cannot be written must
/// not be waited for.
struct CloseOnExit(Arc<Shared>);

impl Drop for CloseOnExit {
    fn drop(&mut self) {
        self.0.queue.bury();
        self.0.health.set_down();
    }
}

impl Writer {
    pub(crate) fn new(log: Log, shared: Arc<Shared>) -> Self {
        Self {
            log,
            shared,
            backlog: VecDeque::new(),
            outage: None,
            unsigned: false,
            damaged: None,
            clock: Clock::new(),
        }
    }

    /// Works until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let _close = CloseOnExit(Arc::clone(&self.shared));
        while let Some(jobs) = self.shared.queue.take(MAX_BATCH, self.patience()) {
            self.work(jobs);
            if self.log.due_in() == Some(Duration::ZERO) {
                self.publish(false);
            }
        }
        self.count_repeats(true);
        if !self.backlog.is_empty() {
            self.work(Vec::new());
        }
        self.publish(true);
        if !self.backlog.is_empty() {
            let records = self.backlog.len();
            tracing::error!(
                records,
                "error: end records were lost with the audit log unwritable"
            );
        }
    }

    /// How long to wait for work before there is something to do without it.
    fn patience(&self) -> Option<Duration> {
        let due = match self.outage {
            Some(_) => Some(RETRY),
            None => self.log.due_in(),
        };
        let repeats = self.shared.repeats.due_in(Instant::now());
        due.into_iter().chain(repeats).min()
    }

    /// Puts what was counted in line with what waits to be written.
    fn count_repeats(&mut self, all: bool) {
        let settings = self.shared.settings();
        for entry in self.shared.repeats.take(Instant::now(), all) {
            tracing::warn!(
                address = ?entry.who.address, repeats = entry.repeats,
                "security: further refusals, counted in one audit record"
            );
            if !settings.takes(entry.outcome, &entry.event) {
                continue;
            }
            if self.backlog.len() >= MAX_LATER {
                self.shared.queue.lose();
            } else {
                self.backlog.push_back((entry, Then::Later));
            }
        }
    }

    /// Signs what there is. A register or a disk that does not take it is an outage.
    fn publish(&mut self, last: bool) {
        self.unsigned = match self.log.publish(last) {
            Ok(()) => false,
            Err(error) => {
                self.begin_outage(&error);
                true
            }
        };
    }

    fn work(&mut self, jobs: Vec<Job>) {
        // Whoever flushes wants to read what happened, and a gateway that stops flushes last.
        let flush = jobs.iter().any(|job| matches!(job, Job::Flush(_)));
        self.count_repeats(flush);
        let mut batch = self.batch(jobs);
        self.shared.health.set_busy();
        let (written, failure) = self.write(&mut batch.entries);
        self.shared.health.set_idle();
        if failure.is_none() && written > 0 {
            self.end_outage();
        }
        self.answer(batch, written, failure.as_ref());
    }

    /// Makes the batch: first what waited longest.
    fn batch(&mut self, jobs: Vec<Job>) -> Batch {
        let mut batch = Batch::default();
        if let Some(outage) = &self.outage {
            batch.push(
                Entry::own(Event::AuditOutage {
                    cause: outage.cause.clone(),
                    refused: outage.refused,
                }),
                Then::Outage,
            );
        }
        if let Some(seconds) = self.clock.jumped() {
            batch.push(Entry::own(Event::ClockJumped { seconds }), Then::Later);
        }
        let lost = self.shared.queue.take_lost();
        if lost > 0 {
            batch.push(Entry::own(Event::AuditLost { records: lost }), Then::Later);
        }
        for (entry, then) in self.backlog.drain(..) {
            batch.push(entry, then);
        }
        for job in jobs {
            match job {
                Job::Flush(done) => batch.flushes.push(done),
                Job::Damaged(error) => self.damage(error),
                Job::Write(_, then) if then.is_given_up() => {}
                Job::Write(entry, then) => batch.push(*entry, then),
            }
        }
        batch
    }

    /// Writes as much as can be written.
    fn write(&mut self, entries: &mut [Entry]) -> (usize, Option<Arc<AuditError>>) {
        let limits = Limits::of(&self.shared.settings());
        let redactor = self.shared.redactor();
        let mut written = 0;
        if let Some(error) = &self.damaged {
            return (0, Some(Arc::clone(error)));
        }
        if self.unsigned {
            if let Err(error) = self.log.publish(false) {
                return (0, Some(Arc::new(error)));
            }
            self.unsigned = false;
        }
        while let Some(rest) = entries.get_mut(written..).filter(|rest| !rest.is_empty()) {
            match self.log.append(rest, limits, &redactor) {
                Ok(taken) => written += taken,
                Err(error) => return (written, Some(Arc::new(error))),
            }
            self.shared.set_newest(self.log.newest());
        }
        (written, None)
    }

    fn answer(&mut self, batch: Batch, written: usize, failure: Option<&Arc<AuditError>>) {
        if let Some(error) = failure {
            self.begin_outage(error);
        }
        let pairs = batch.entries.into_iter().zip(batch.thens);
        for (at, (entry, then)) in pairs.enumerate() {
            match failure {
                Some(error) if at >= written => self.refuse(entry, then, error),
                _ => self.confirm(entry, then),
            }
        }
        for done in batch.flushes {
            let _ = done.send(());
        }
    }

    /// It is durable. A caller that went away meanwhile is no error here.
    fn confirm(&self, entry: Entry, then: Then) {
        tell(&entry);
        match then {
            Then::Begin(reply) => {
                let queue: &Arc<Queue> = &self.shared.queue;
                let _ = reply.send(Ok(Begun::new(entry, Arc::clone(queue))));
            }
            Then::Note(reply) => drop(reply.send(Ok(entry.index))),
            Then::NoteBlocking(reply) => drop(reply.try_send(Ok(entry.index))),
            Then::Apply(settings) => self.shared.apply(settings),
            Then::Later | Then::Outage => {}
        }
    }

    /// It is not, and nothing of it is on disk.
    fn refuse(&mut self, entry: Entry, then: Then, error: &Arc<AuditError>) {
        let failed = || NotRecorded::Failed(Arc::clone(error));
        if then.is_waited_for()
            && let Some(outage) = &mut self.outage
        {
            outage.refused += 1;
        }
        match then {
            Then::Begin(reply) => drop(reply.send(Err(failed()))),
            Then::Note(reply) => drop(reply.send(Err(failed()))),
            Then::NoteBlocking(reply) => drop(reply.try_send(Err(failed()))),
            Then::Later if self.backlog.len() >= MAX_LATER => self.shared.queue.lose(),
            Then::Later | Then::Apply(_) => self.backlog.push_back((entry, then)),
            Then::Outage => {}
        }
    }

    fn damage(&mut self, error: AuditError) {
        self.begin_outage(&error);
        self.damaged = Some(Arc::new(error));
    }

    fn begin_outage(&mut self, error: &AuditError) {
        let cause = error.to_string();
        if self.outage.is_none() {
            tracing::error!(
                %cause,
                "security: the audit log cannot be written; nothing that must be recorded is done"
            );
        }
        let refused = self.outage.take().map_or(0, |outage| outage.refused);
        self.outage = Some(Outage { cause, refused });
        self.shared.health.set_down();
    }

    fn end_outage(&mut self) {
        if let Some(outage) = self.outage.take() {
            let refused = outage.refused;
            tracing::warn!(refused, "security: the audit log can be written again");
        }
        self.shared.health.set_up();
    }
}

impl Batch {
    fn push(&mut self, entry: Entry, then: Then) {
        self.entries.push(entry);
        self.thens.push(then);
    }
}
