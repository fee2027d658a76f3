//! The face of the log: begin, note, end.

use crate::error::{AuditError, NotRecorded};
use crate::health::Health;
use crate::line::Entry;
use crate::log::{Limits, Log};
use crate::queue::{Begun, Queue, Then};
use crate::recorded::{EndSink, OpenRecord, Recorded};
use crate::redact::Redactor;
use crate::repeats::Repeats;
use crate::seal::Places;
use crate::segment::{self, Segment};
use crate::settings::AuditSettings;
use crate::writer::Writer;
use clawdbot_domain::{Audited, Event, Outcome, Secret, Who};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A record that is not durable by then is given up, and what it announces does not happen.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// Writes the audit log of one folder. Cheap to clone; when the last clone and the last open record
/// are gone, what is queued is written and the writer ends.
#[derive(Debug, Clone)]
pub struct Recorder {
    inner: Arc<Inner>,
}

/// What callers and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) queue: Arc<Queue>,
    pub(crate) health: Health,
    folder: PathBuf,
    settings: RwLock<AuditSettings>,
    redactor: RwLock<Arc<Redactor>>,
    pub(crate) repeats: Repeats,
    /// Number of records.
    count: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// Opens the log of a folder, which is made (0700) if it is missing. Checks the newest segment; a
    /// line that a crash cut short is set aside, and that is recorded.
    ///
    /// # Errors
    /// [`AuditError::Corrupt`] when a record was changed, dropped or moved: nothing is touched then.
    /// [`AuditError::Io`] when the folder or its files cannot be made, read or written.
    pub fn open(folder: &Path, settings: AuditSettings) -> Result<Self, AuditError> {
        Self::open_at(folder, &Places::within(folder), settings)
    }

    /// [`open`](Self::open) with the signing key and the register outside the folder.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`AuditError::Key`] and [`AuditError::Unsigned`] when the keys are not
    /// those of this log, [`AuditError::RolledBack`] when the register knows of a longer one.
    pub fn open_at(
        folder: &Path,
        places: &Places,
        settings: AuditSettings,
    ) -> Result<Self, AuditError> {
        let settings = bounded(settings);
        let redactor = Redactor::new();
        let mut log = Log::open(folder, places)?;
        if log.has_own_records() {
            log.append(&mut [], Limits::of(&settings), &redactor)?;
        }
        // Nothing else is signed here: a checkpoint at each opening costs every short command its flushes, and
        // what an opening finds unsigned the writer signs within the second, or when it ends.
        if log.register_is_behind() {
            log.publish(true)?;
        }
        let shared = Arc::new(Shared {
            queue: Arc::new(Queue::default()),
            health: Health::new(),
            folder: folder.to_owned(),
            settings: RwLock::new(settings),
            redactor: RwLock::new(Arc::new(redactor)),
            repeats: Repeats::default(),
            count: AtomicU64::new(0),
        });
        shared.set_newest(log.newest());
        let writer = Writer::new(log, Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run())
            .map_err(AuditError::io("start the writer for", folder))?;
        let writer = Mutex::new(Some(thread));
        let inner = Arc::new(Inner { shared, writer });
        Ok(Self { inner })
    }

    /// Reads the newest segment from its start, in a thread of its own: opening believes what a checkpoint
    /// vouches for, lest a start take longer the longer the log is. If a record is not as it was written,
    /// the log is not writable until it is opened again, and says why. Call it where a log stays open.
    ///
    /// # Errors
    /// [`AuditError::Io`] when the thread cannot be started or the folder cannot be read.
    pub fn check_what_stands(&self) -> Result<(), AuditError> {
        let folder = &self.inner.shared.folder;
        let known = self.inner.shared.count.load(Ordering::Acquire);
        let segments = Segment::list(folder)?;
        let Some(newest) = segments.into_iter().rfind(|one| one.first < known) else {
            return Ok(());
        };
        let shared = Arc::downgrade(&self.inner.shared);
        let check = move || {
            let read = segment::leaves(&newest, newest.first..known, |_| ());
            // Anything else, such as a segment that was pruned meanwhile, whoever appends will meet.
            if let (Err(error @ AuditError::Corrupt { .. }), Some(shared)) =
                (read, shared.upgrade())
            {
                shared.queue.push_damage(error);
            }
        };
        let thread = std::thread::Builder::new().name("audit-check".into());
        let spawned = thread.spawn(check);
        spawned.map_err(AuditError::io("start the check of", folder))?;
        Ok(())
    }

    /// Writes down that `what` is about to happen, and waits until that is durable. Call it within a
    /// tokio runtime. If the returned future is dropped, the record is not written or is closed as
    /// abandoned.
    ///
    /// # Errors
    /// [`NotRecorded`] when it is not durable within [`DEADLINE`]: then it must not happen, and
    /// nothing of it is in the log, or the record is closed as abandoned.
    pub async fn begin<T: Audited>(&self, what: T) -> Result<Recorded<T>, NotRecorded> {
        let (event, who) = (what.event(), what.who());
        if !self.settings().takes(Outcome::Begin, &event) {
            return Ok(Recorded::new(what, self.open_record(None, who, event)));
        }
        let (reply, begun) = oneshot::channel();
        let entry = Entry::now(who, Outcome::Begin, event, None);
        self.queue().push_waited(entry, Then::Begin(reply))?;
        let (index, who, event) = in_time(begun).await.map(Begun::take)?;
        Ok(Recorded::new(
            what,
            self.open_record(Some(index), who, event),
        ))
    }

    /// Writes a single record, and waits until it is durable: a denial, a finding, a security event.
    /// `None` when the settings leave it out, or when it is one refusal of a flood, which is counted and
    /// written as one record with its number within ten seconds. Call it within a tokio runtime.
    ///
    /// # Errors
    /// [`NotRecorded`] when it is not durable within [`DEADLINE`].
    pub async fn note(
        &self,
        who: Who,
        outcome: Outcome,
        event: Event,
    ) -> Result<Option<u64>, NotRecorded> {
        if self.inner.leaves_out(&who, outcome, &event) {
            return Ok(None);
        }
        let (reply, index) = oneshot::channel();
        let entry = Entry::now(who, outcome, event, None);
        self.queue().push_waited(entry, Then::Note(reply))?;
        in_time(index).await.map(Some)
    }

    /// [`note`](Self::note) for those who have no runtime. It blocks the thread.
    ///
    /// # Errors
    /// [`NotRecorded`] when it is not durable within [`DEADLINE`].
    pub fn note_blocking(
        &self,
        who: Who,
        outcome: Outcome,
        event: Event,
    ) -> Result<Option<u64>, NotRecorded> {
        if self.inner.leaves_out(&who, outcome, &event) {
            return Ok(None);
        }
        let (reply, index) = mpsc::sync_channel(1);
        let entry = Entry::now(who, outcome, event, None);
        self.queue().push_waited(entry, Then::NoteBlocking(reply))?;
        match index.recv_timeout(DEADLINE) {
            Ok(result) => result.map(Some),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(NotRecorded::TimedOut),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(NotRecorded::Closed),
        }
    }

    /// Queues a record that nobody waits for. It is kept while the log cannot be written. False when it is
    /// one refusal of a flood and was only counted: then it is not worth a line anywhere else either.
    pub fn note_later(&self, who: Who, outcome: Outcome, event: Event) -> bool {
        if self.inner.shared.counts(&who, outcome, &event) {
            return false;
        }
        self.inner.later(Entry::now(who, outcome, event, None));
        true
    }

    /// The settings in force.
    pub fn settings(&self) -> AuditSettings {
        self.inner.shared.settings()
    }

    /// Changes the settings. They come into force once the record that tells of them is durable
    /// ([`flush`](Self::flush) waits for that): until then, and while the log cannot be written, the
    /// old ones hold.
    pub fn reconfigure(&self, settings: AuditSettings) {
        let (old, settings) = (self.settings(), bounded(settings));
        if old.enabled || settings.enabled {
            let told = Entry::own(settings.event());
            self.queue().push_later(told, Then::Apply(settings));
        } else {
            // Off before and after: nothing is written.
            self.inner.shared.apply(settings);
        }
    }

    /// Masks this secret in every record from now on, wherever it turns up. Secrets of fewer than
    /// eight bytes are not taken: they would mask ordinary words.
    pub fn redact(&self, secret: &Secret) {
        let mut redactor = self
            .inner
            .shared
            .redactor
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *redactor = Arc::new(redactor.and(secret));
    }

    /// What knows every secret that must not be written, so that other outputs mask them too.
    pub fn redactor(&self) -> Arc<Redactor> {
        self.inner.shared.redactor()
    }

    /// Waits until all that was queued before was written or, in an outage, was tried.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        self.queue().push_flush(done);
        let _ = flushed.await;
    }

    /// Writes what is queued, signs all there is, and takes nothing in any more. Without it the last
    /// records of a process that ends are vouched for by no checkpoint. It waits no longer than
    /// [`DEADLINE`]: a disk that hangs must not keep a process from ending.
    pub async fn close(&self) {
        self.queue().close();
        let (done, closed) = oneshot::channel();
        let inner = Arc::clone(&self.inner);
        // A thread of its own: one of the runtime would be waited for when that ends.
        let joining = std::thread::Builder::new().spawn(move || {
            inner.join();
            let _ = done.send(());
        });
        if joining.is_ok() {
            let _ = tokio::time::timeout(DEADLINE, closed).await;
        }
    }

    /// False while the log cannot be written or hangs. The writer finds out by itself when it can be
    /// written again.
    pub fn writable(&self) -> bool {
        self.inner.shared.health.is_up(DEADLINE)
    }

    /// Index of the newest durable record this process knows of.
    pub fn newest(&self) -> Option<u64> {
        self.inner
            .shared
            .count
            .load(Ordering::Acquire)
            .checked_sub(1)
    }

    fn queue(&self) -> &Queue {
        &self.inner.shared.queue
    }

    fn open_record(&self, begin: Option<u64>, who: Who, abandoned: Event) -> OpenRecord {
        let sink: Arc<dyn EndSink> = Arc::<Inner>::clone(&self.inner);
        OpenRecord::new(begin, who, sink, abandoned)
    }
}

impl Shared {
    /// True when it is one of many refusals and was counted instead.
    fn counts(&self, who: &Who, outcome: Outcome, event: &Event) -> bool {
        self.repeats.counts(who, outcome, event, Instant::now())
    }

    pub(crate) fn settings(&self) -> AuditSettings {
        *self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn apply(&self, settings: AuditSettings) {
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = settings;
    }

    pub(crate) fn redactor(&self) -> Arc<Redactor> {
        Arc::clone(&self.redactor.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_newest(&self, newest: Option<u64>) {
        let count = newest.map_or(0, |index| index + 1);
        self.count.store(count, Ordering::Release);
    }
}

impl Inner {
    fn leaves_out(&self, who: &Who, outcome: Outcome, event: &Event) -> bool {
        !self.shared.settings().takes(outcome, event) || self.shared.counts(who, outcome, event)
    }

    fn later(&self, entry: Entry) {
        if self.shared.settings().takes(entry.outcome, &entry.event) {
            self.shared.queue.push_later(entry, Then::Later);
        }
    }
}

impl EndSink for Inner {
    fn end(&self, begin: Option<u64>, who: Who, outcome: Outcome, event: Event) {
        self.later(Entry::now(who, outcome, event, begin));
    }
}

impl Inner {
    /// Waits for the writer's end.
    fn join(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = { writer }.take();
        if let Some(writer) = writer {
            // A writer that panicked said so itself.
            let _ = writer.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.queue.close();
        self.join();
    }
}

/// Waits for an answer, no longer than the deadline.
async fn in_time<T>(answer: oneshot::Receiver<Result<T, NotRecorded>>) -> Result<T, NotRecorded> {
    match tokio::time::timeout(DEADLINE, answer).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(NotRecorded::Closed),
        Err(_) => Err(NotRecorded::TimedOut),
    }
}

fn bounded(settings: AuditSettings) -> AuditSettings {
    AuditSettings {
        max_segment_bytes: settings
            .max_segment_bytes
            .max(AuditSettings::MIN_SEGMENT_BYTES),
        max_segments: settings.max_segments.max(1),
        ..settings
    }
}
