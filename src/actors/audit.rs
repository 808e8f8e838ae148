//! The audit log's writer: moves the journal to the database in batches, in
//! order and exactly once.
//!
//! It reads the records back from the segments, at start as in steady state:
//! no message is sent for a record, and memory stays constant however far the
//! database lags behind. A batch that fails for the database waits; one that
//! fails for a record's content is halved until the culprit stands alone, which is set aside.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix::prelude::*;
use prometheus::Registry;
use tokio::sync::oneshot;

use super::vital::{Lifecycle, Vital};
use super::{ServiceError, ServiceResult};
use crate::clock::SharedClock;
use crate::domain::audit::{AuditFilter, AuditRecord, Outcome};
use crate::domain::{Page, RecordId, Slice, WriterId};
use crate::journal::{Batch, Folder, JournalError, JournalSettings, Reader, WorkerJournal};
use crate::metrics::AuditMetrics;
use crate::store::{AuditError, AuditSink, Numbered, Store};

/// The greatest batch, in records.
const BATCH: usize = 2000;

/// How long a record waits at most before its batch begins.
const AGE: Duration = Duration::from_millis(150);

/// How often other processes' segments are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);

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
    actor: Addr<AuditWriter>,
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
        registry: &Registry,
        lifecycle: &Lifecycle,
    ) -> ServiceResult<Self> {
        let mut sink = store.audit_sink();
        let committed = sink.committed().await.map_err(|error| ServiceError::Unavailable(error.to_string()))?;
        let known = committed.clone();
        // It may wait for a process that is draining.
        let folder = tokio::task::spawn_blocking(move || Folder::open(settings, clock, &known))
            .await
            .map_err(|error| ServiceError::Unavailable(error.to_string()))?
            .map_err(|error| ServiceError::Unavailable(error.to_string()))?;
        let metrics = AuditMetrics::register(registry).map_err(|error| ServiceError::Unavailable(error.to_string()))?;
        let copier = Copier {
            folder: folder.clone(),
            sink,
            committed,
            readers: BTreeMap::new(),
            kept: HashMap::new(),
            pending: None,
            looked: None,
            behind_since: None,
            metrics: metrics.clone(),
        };
        let arbiter = Arbiter::new();
        let vital = lifecycle.vital("audit");
        let actor = AuditWriter::start_in_arbiter(&arbiter.handle(), move |_| AuditWriter {
            copier: Some(copier),
            waiting: Vec::new(),
            failures: 0,
            _vital: vital,
        });
        Ok(Self { store: store.clone(), folder, metrics, actor, arbiter: arbiter.handle() })
    }

    /// The journal of the present worker thread.
    ///
    /// # Errors
    /// The journal can't be written.
    pub fn attach_worker(&self) -> Result<WorkerJournal, JournalError> {
        self.folder.attach()
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
    pub async fn list(&self, filter: AuditFilter, page: Page) -> ServiceResult<Slice<AuditRecord>> {
        self.flush().await?;
        Ok(self.store.list_audit_records(filter, page).await?)
    }

    /// Copies what there is, for a few seconds at most; the rest stays in the journal for the next start.
    pub async fn shutdown(&self) {
        if let Err(error) = self.flush_within(DRAIN_PATIENCE).await {
            log::warn!("audit records stay in the journal for the next start: {error}");
        }
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

#[derive(Message)]
#[rtype(result = "()")]
struct Copy;

struct AuditWriter {
    /// Away while it copies.
    copier: Option<Copier>,
    waiting: Vec<Flush>,
    failures: u32,
    _vital: Vital,
}

impl Actor for AuditWriter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // On Linux the niceness is the thread's own.
        if let Err(error) = rustix::process::nice(NICENESS) {
            log::warn!("audit records are copied at normal priority: {error}");
        }
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

impl Handler<Copy> for AuditWriter {
    type Result = ();

    fn handle(&mut self, _: Copy, ctx: &mut Self::Context) {
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

    fn copied(&mut self, mut copier: Copier, done: Result<bool, AuditError>, ctx: &mut Context<Self>) {
        self.answer(&copier);
        copier.measure();
        let pause = match done {
            Ok(has_more) => {
                if self.failures > 0 {
                    log::info!("audit records reach the database again");
                }
                self.failures = 0;
                if has_more { Duration::ZERO } else { AGE }
            }
            Err(error) => {
                copier.metrics.retries.inc();
                if self.failures == 0 {
                    log::error!("{error}; the journal keeps the records");
                }
                self.failures = self.failures.saturating_add(1);
                (Duration::from_millis(100) * 2u32.saturating_pow(self.failures.min(6))).min(MAX_PAUSE)
            }
        };
        self.copier = Some(copier);
        if pause.is_zero() || (!self.waiting.is_empty() && self.failures == 0) {
            self.copy(ctx);
        } else {
            // A flush may begin a round before this; then this one finds little to do.
            ctx.run_later(pause, |actor, ctx| actor.copy(ctx));
        }
    }

    /// Tells those who wait for what is in the database by now.
    fn answer(&mut self, copier: &Copier) {
        let waiting = std::mem::take(&mut self.waiting);
        for flush in waiting {
            if flush.targets.iter().all(|(writer, seq)| copier.committed_of(*writer) >= *seq) {
                // Who no longer waits needs no answer.
                let _ = flush.reply.send(());
            } else if !flush.is_abandoned.load(Ordering::Relaxed) {
                self.waiting.push(flush);
            }
        }
    }
}

/// Copies segments to the database.
struct Copier {
    folder: Folder,
    sink: AuditSink,
    committed: HashMap<WriterId, u64>,
    readers: BTreeMap<WriterId, Reader>,
    /// Segments that are in the database and stay for shippers, oldest first.
    kept: HashMap<WriterId, Vec<std::path::PathBuf>>,
    /// Read, and not in the database yet.
    pending: Option<(WriterId, Batch)>,
    looked: Option<Instant>,
    /// Since when the database has not had everything.
    behind_since: Option<Instant>,
    metrics: AuditMetrics,
}

impl Copier {
    fn committed_of(&self, writer: WriterId) -> u64 {
        self.readers.get(&writer).map(Reader::committed).or_else(|| self.committed.get(&writer).copied()).unwrap_or(0)
    }

    /// One batch of each writer; true if there may be more at once.
    async fn round(&mut self) -> Result<bool, AuditError> {
        self.commit_pending().await?;
        self.look()?;
        let live: HashMap<WriterId, u64> =
            self.folder.live().iter().map(|progress| (progress.writer, progress.written())).collect();
        let writers: Vec<WriterId> = self.readers.keys().copied().collect();
        let mut has_more = false;
        for writer in writers {
            let limit = live.get(&writer).copied();
            let Some(reader) = self.readers.get_mut(&writer) else { continue };
            if limit.is_some_and(|limit| limit <= reader.committed()) {
                continue;
            }
            let batch = reader
                .read(BATCH, limit.unwrap_or(u64::MAX), limit.is_some())
                .map_err(|error| AuditError::Unavailable(error.to_string()))?;
            if batch.is_empty() {
                continue;
            }
            has_more |= batch.lines.len() == BATCH;
            self.pending = Some((writer, batch));
            self.commit_pending().await?;
        }
        self.readers.retain(|writer, reader| live.contains_key(writer) || !reader.is_exhausted());
        Ok(has_more)
    }

    /// Looks for segments: of this process when they may be new, of others now and then.
    fn look(&mut self) -> Result<(), AuditError> {
        let is_due = self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
        let is_new = self.folder.live().iter().any(|progress| !self.readers.contains_key(&progress.writer));
        if !is_due && !is_new && !self.folder.take_new_segments() {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        let committed = &self.committed;
        self.folder
            .look(&mut self.readers, |writer| committed.get(&writer).copied().unwrap_or(0))
            .map_err(|error| AuditError::Unavailable(error.to_string()))
    }

    async fn commit_pending(&mut self) -> Result<(), AuditError> {
        let Some((writer, batch)) = self.pending.take() else { return Ok(()) };
        let started = Instant::now();
        for line in &batch.unreadable {
            log::error!("a line of the audit journal can't be read: it is kept in set-aside.ndjson");
            self.metrics.set_aside.inc();
            if let Err(error) = self.folder.set_aside(line) {
                self.pending = Some((writer, batch));
                return Err(AuditError::Unavailable(error.to_string()));
            }
        }
        let records: Vec<Numbered> = batch.lines.iter().map(|line| (line.seq, line.record.clone())).collect();
        let batch = Batch { unreadable: Vec::new(), ..batch };
        if let Err(error) = self.insert(writer, records).await {
            self.pending = Some((writer, batch));
            return Err(error);
        }
        let count = batch.lines.len();
        if let Some(last) = batch.lines.last() {
            self.committed.insert(writer, last.seq);
            if let Some(reader) = self.readers.get_mut(&writer) {
                reader.commit(last.seq);
            }
        }
        if count > 0 {
            self.metrics.written.inc_by(count as u64);
            self.metrics.batch_records.observe(count as f64);
            self.metrics.flush_seconds.observe(started.elapsed().as_secs_f64());
        }
        self.release(writer, batch.finished);
        Ok(())
    }

    /// Inserts a batch; halves it where a record is refused for its content,
    /// until the culprit stands alone and a stub takes its place.
    async fn insert(&mut self, writer: WriterId, records: Vec<Numbered>) -> Result<(), AuditError> {
        let mut parts = vec![records];
        while let Some(part) = parts.pop() {
            match self.sink.insert(writer, &part).await {
                Ok(()) => {}
                Err(AuditError::Refused(why)) if part.len() > 1 => {
                    log::debug!("a batch of {} is refused: {why}", part.len());
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.push(second.to_vec());
                    parts.push(first.to_vec());
                }
                Err(AuditError::Refused(why)) => {
                    let Some((seq, culprit)) = part.into_iter().next() else { continue };
                    parts.push(vec![(seq, self.stub_of(culprit, &why)?)]);
                }
                Err(away) => return Err(away),
            }
        }
        Ok(())
    }

    /// What stands in a refused record's place: the same id and time, none of the text. Where
    /// even that is refused, for the id is in the table already, another id.
    fn stub_of(&self, culprit: AuditRecord, why: &str) -> Result<AuditRecord, AuditError> {
        match culprit.metadata.get("set_aside") {
            None => {
                log::error!("audit record {} is refused and kept in set-aside.ndjson: {why}", culprit.id);
                self.metrics.set_aside.inc();
                let line = serde_json::to_vec(&culprit).map_err(|error| AuditError::Unavailable(error.to_string()))?;
                self.folder.set_aside(&line).map_err(|error| AuditError::Unavailable(error.to_string()))?;
                Ok(AuditRecord::stub(&culprit, culprit.id))
            }
            Some(_) if culprit.outcome == Outcome::Error && culprit.request_id.is_none() => {
                let stub = AuditRecord::stub(&culprit, RecordId::generate());
                Ok(AuditRecord { request_id: Some(culprit.id.to_string().into()), ..stub })
            }
            Some(_) => Err(AuditError::Unavailable(format!("a stub of record {} is refused: {why}", culprit.id))),
        }
    }

    /// Segments that are in the database go, but for as many as shippers are given.
    fn release(&mut self, writer: WriterId, finished: Vec<std::path::PathBuf>) {
        let keep = self.folder.settings().keep_segments as usize;
        let kept = self.kept.entry(writer).or_default();
        kept.extend(finished);
        while kept.len() > keep {
            self.folder.delete(&kept.remove(0));
        }
    }

    fn measure(&mut self) {
        let behind = |progress: &Arc<crate::journal::Progress>| {
            progress.written().saturating_sub(self.committed_of(progress.writer))
        };
        let lag: u64 = self.folder.live().iter().map(behind).sum();
        self.behind_since = if lag == 0 { None } else { self.behind_since.or_else(|| Some(Instant::now())) };
        self.metrics.lag_records.set(i64::try_from(lag).unwrap_or(i64::MAX));
        self.metrics.lag_seconds.set(self.behind_since.map_or(0.0, |since| since.elapsed().as_secs_f64()));
        self.metrics.journal_bytes.set(i64::try_from(self.folder.bytes()).unwrap_or(i64::MAX));
    }
}
