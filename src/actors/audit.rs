//! The audit log's writer: moves the journal to the database in batches, in
//! order and exactly once.
//!
//! It reads the records back from the segments, at start as in steady state:
//! no message is sent for a record, and memory stays constant however far the
//! database lags behind. A batch that fails for the database waits; one that
//! fails for a record's content is halved until the culprit stands alone, which is set aside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::prelude::*;
use prometheus::Registry;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::checkpoints::Checkpoints;
use super::copier::{Copier, Meter};
use super::vital::{Lifecycle, Vital};
use super::{ServiceError, ServiceResult};
use crate::clock::SharedClock;
use crate::domain::audit::{AuditEntry, AuditRecord};
use crate::domain::{AuditCount, AuditFilter, AuditPage, AuditSlice, Bucket, CountedBy, RecordId, WriterId};
use crate::journal::{Append, Folder, JournalError, JournalSettings, WorkerJournal};
use crate::metrics::AuditMetrics;
use crate::proof::{Sealer, SignedCheckpoint};
use crate::store::{AuditError, Store};

/// How long a record waits at most before its batch begins.
const AGE: Duration = Duration::from_millis(150);

/// How often a signed checkpoint is kept, while there is something new: for so long the end of the log could be cut
/// off unseen.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);

/// How often the metrics of the lag are brought up to date.
const MEASURE_EVERY: Duration = Duration::from_millis(500);

/// The longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// How long the end of the service waits for the database.
const DRAIN_PATIENCE: Duration = Duration::from_secs(4);

/// The niceness of the copying thread: it must not starve the answers.
const NICENESS: i32 = 5;

/// The audit log. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    store: Store,
    folder: Folder,
    metrics: AuditMetrics,
    checkpoints: Checkpoints,
    actor: Addr<AuditWriter>,
    events: Addr<EventRecorder>,
    arbiter: ArbiterHandle,
}

impl Audit {
    /// Opens the journal, and begins to copy what earlier runs left in it.
    ///
    /// # Errors
    /// The journal is another process's or can't be written, or the database is away.
    pub async fn start(
        store: &Store,
        settings: JournalSettings,
        clock: SharedClock,
        (sealer, installation): (Sealer, Uuid),
        registry: &Registry,
        lifecycle: &Lifecycle,
    ) -> ServiceResult<Self> {
        fn failed(error: impl std::fmt::Display) -> ServiceError {
            ServiceError::Unavailable(error.to_string())
        }
        let mut sink = store.audit_sink(sealer.clone());
        let committed = sink.committed().await.map_err(failed)?;
        let known = committed.clone();
        // It may wait for a process that is draining.
        let folder_clock = Arc::clone(&clock);
        let opening = tokio::task::spawn_blocking(move || Folder::open(settings, folder_clock, sealer, &known));
        let folder = opening.await.map_err(failed)?.map_err(failed)?;
        let metrics = AuditMetrics::register(registry).map_err(failed)?;
        let copier = Copier::new(folder.clone(), sink, committed, metrics.clone());
        let checkpoints = Checkpoints::new(store.clone(), folder.clone(), clock, installation);
        let kept = checkpoints.clone();
        let arbiter = Arbiter::new();
        let vital = lifecycle.vital("audit");
        let actor = AuditWriter::start_in_arbiter(&arbiter.handle(), move |_| AuditWriter {
            meter: copier.meter(),
            checkpoints: kept,
            copier: Some(copier),
            waiting: Vec::new(),
            failures: 0,
            next_round: None,
            _vital: vital,
        });
        let (event_folder, vital) = (folder.clone(), lifecycle.vital("events"));
        let events = EventRecorder::start_in_arbiter(&arbiter.handle(), move |_| EventRecorder {
            folder: event_folder,
            journal: None,
            _vital: vital,
        });
        Ok(Self { store: store.clone(), folder, metrics, checkpoints, actor, events, arbiter: arbiter.handle() })
    }

    /// The journal of the present worker thread.
    ///
    /// # Errors
    /// The journal can't be written.
    pub fn attach_worker(&self) -> Result<WorkerJournal, JournalError> {
        self.folder.attach()
    }

    /// Appends a record that is no request's; from any thread. Done when it is in the journal.
    ///
    /// # Errors
    /// The journal can't be written.
    pub async fn log(&self, entry: AuditEntry<'static>) -> ServiceResult<()> {
        let logged = self.events.send(LogEvent(entry)).await?;
        logged.map_err(|error| ServiceError::Unavailable(error.to_string()))
    }

    /// The audit log's metrics.
    pub fn metrics(&self) -> &AuditMetrics {
        &self.metrics
    }

    /// Whether records can be appended, as far as is known.
    pub fn is_writable(&self) -> bool {
        self.folder.is_writable()
    }

    /// Waits until everything that this instance answered before the call is in the database.
    ///
    /// # Errors
    /// The database does not take it in time.
    pub async fn flush(&self) -> ServiceResult<()> {
        self.flush_within(self.store.patience()).await
    }

    async fn flush_within(&self, patience: Duration) -> ServiceResult<()> {
        let targets: Vec<(WriterId, u64)> =
            self.folder.live().iter().map(|progress| (progress.writer, progress.written())).collect();
        let (reply, done) = oneshot::channel();
        let is_abandoned = Arc::new(AtomicBool::new(false));
        self.actor.send(Flush { targets, reply, is_abandoned: Arc::clone(&is_abandoned) }).await?;
        match tokio::time::timeout(patience, done).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ServiceError::Unavailable("the audit writer gave no answer".into())),
            Err(_) => {
                is_abandoned.store(true, Ordering::Relaxed);
                Err(ServiceError::Unavailable("the database does not take the audit records in time".into()))
            }
        }
    }

    /// A page of records, newest first, with everything that this instance answered before.
    ///
    /// # Errors
    /// The database is away or far behind.
    pub async fn list(&self, filter: AuditFilter, page: AuditPage) -> ServiceResult<AuditSlice<AuditRecord>> {
        self.flush().await?;
        self.list_further(filter, page).await
    }

    /// A page after the first one of the same question.
    ///
    /// # Errors
    /// The database is away.
    pub async fn list_further(&self, filter: AuditFilter, page: AuditPage) -> ServiceResult<AuditSlice<AuditRecord>> {
        Ok(self.store.list_audit_records(filter, page).await?)
    }

    /// One record.
    ///
    /// # Errors
    /// The database is away or far behind.
    pub async fn find(&self, id: RecordId) -> ServiceResult<Option<AuditRecord>> {
        self.flush().await?;
        Ok(self.store.find_audit_record(id).await?)
    }

    /// How many records there are, by time and by kind, oldest first.
    ///
    /// # Errors
    /// The database is away or far behind.
    pub async fn count(&self, filter: AuditFilter, bucket: Bucket, by: CountedBy) -> ServiceResult<Vec<AuditCount>> {
        self.flush().await?;
        Ok(self.store.count_audit_records(filter, bucket, by).await?)
    }

    /// How far the log has come, signed: with everything that this instance answered before.
    ///
    /// # Errors
    /// The database is away or far behind.
    pub async fn checkpoint(&self) -> ServiceResult<SignedCheckpoint> {
        self.flush().await?;
        Ok(self.checkpoints.make().await?)
    }

    /// Copies what there is, for a few seconds at most; the rest stays in the journal for the next start.
    pub async fn shutdown(&self) {
        if let Err(error) = self.flush_within(DRAIN_PATIENCE).await {
            log::warn!("audit records stay in the journal for the next start: {error}");
        }
        self.checkpoints.keep().await;
        self.arbiter.stop();
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Flush {
    targets: Vec<(WriterId, u64)>,
    reply: oneshot::Sender<()>,
    is_abandoned: Arc<AtomicBool>,
}

struct AuditWriter {
    /// Away while it copies.
    copier: Option<Copier>,
    meter: Arc<Meter>,
    checkpoints: Checkpoints,
    waiting: Vec<Flush>,
    failures: u32,
    /// Only ever one: rounds that a question begins must not add to them.
    next_round: Option<SpawnHandle>,
    _vital: Vital,
}

impl Actor for AuditWriter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // On Linux the niceness is the thread's own.
        if let Err(error) = rustix::process::nice(NICENESS) {
            log::warn!("audit records are copied at normal priority: {error}");
        }
        ctx.run_interval(MEASURE_EVERY, |actor, _| actor.meter.measure());
        ctx.run_interval(CHECKPOINT_EVERY, |actor, ctx| {
            let checkpoints = actor.checkpoints.clone();
            ctx.spawn(async move { checkpoints.keep().await }.into_actor(actor));
        });
        self.copy(ctx);
    }
}

impl Handler<Flush> for AuditWriter {
    type Result = ();

    fn handle(&mut self, flush: Flush, ctx: &mut Self::Context) {
        self.waiting.push(flush);
        self.copy(ctx);
    }
}

impl AuditWriter {
    /// Begins a round, unless one is under way.
    fn copy(&mut self, ctx: &mut Context<Self>) {
        let Some(mut copier) = self.copier.take() else { return };
        let round = async move {
            let done = copier.round().await;
            (copier, done)
        };
        ctx.spawn(round.into_actor(self).map(|(copier, done), actor, ctx| actor.copied(copier, done, ctx)));
    }

    fn copied(&mut self, copier: Copier, done: Result<bool, AuditError>, ctx: &mut Context<Self>) {
        self.answer();
        let pause = match done {
            Ok(has_more) => {
                if self.failures > 0 {
                    log::info!("audit records reach the database again");
                }
                self.failures = 0;
                if has_more { Duration::ZERO } else { AGE }
            }
            Err(error) => {
                self.meter.note_failure();
                if self.failures == 0 {
                    log::error!("{error}; the journal keeps the records");
                }
                self.failures = self.failures.saturating_add(1);
                (Duration::from_millis(100) * 2u32.saturating_pow(self.failures.min(6))).min(MAX_PAUSE)
            }
        };
        self.copier = Some(copier);
        if let Some(planned) = self.next_round.take() {
            ctx.cancel_future(planned);
        }
        if pause.is_zero() || (!self.waiting.is_empty() && self.failures == 0) {
            self.copy(ctx);
        } else {
            self.next_round = Some(ctx.run_later(pause, |actor, ctx| {
                actor.next_round = None;
                actor.copy(ctx);
            }));
        }
    }

    /// Tells those who wait for what is in the database by now.
    fn answer(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for flush in waiting {
            if flush.targets.iter().all(|(writer, seq)| self.meter.committed_of(*writer) >= *seq) {
                // Who no longer waits needs no answer.
                let _ = flush.reply.send(());
            } else if !flush.is_abandoned.load(Ordering::Relaxed) {
                self.waiting.push(flush);
            }
        }
    }
}

/// Appends what is no request's to a journal of its own thread.
struct EventRecorder {
    folder: Folder,
    /// Begun by the first event: most installations have none.
    journal: Option<WorkerJournal>,
    _vital: Vital,
}

#[derive(Message)]
#[rtype(result = "Result<(), JournalError>")]
struct LogEvent(AuditEntry<'static>);

impl Actor for EventRecorder {
    type Context = Context<Self>;
}

impl EventRecorder {
    fn append(&mut self, entry: &AuditEntry<'_>) -> Result<Append, JournalError> {
        let journal = match self.journal.take() {
            Some(journal) => journal,
            None => self.folder.attach()?,
        };
        Ok(self.journal.insert(journal).append(entry, None))
    }
}

impl Handler<LogEvent> for EventRecorder {
    type Result = ResponseFuture<Result<(), JournalError>>;

    fn handle(&mut self, LogEvent(entry): LogEvent, _: &mut Self::Context) -> Self::Result {
        let appended = self.append(&entry);
        Box::pin(async move { appended?.await.map(drop) })
    }
}
