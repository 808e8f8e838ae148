//! Copies the journal's segments to the database, batch by batch; driven by the audit's actor.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::audit::{AuditRecord, STAND_IN};
use crate::domain::{RecordId, WriterId};
use crate::journal::{Batch, Folder, Progress, Reader};
use crate::metrics::AuditMetrics;
use crate::proof::Sealed;
use crate::store::{AuditError, AuditSink};

/// How often other processes' segments are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Copies segments to the database.
pub(super) struct Copier {
    folder: Folder,
    sink: AuditSink,
    meter: Arc<Meter>,
    readers: BTreeMap<WriterId, Reader>,
    pending: Option<Pending>,
    looked: Option<Instant>,
    /// Up to which number a writer's refused records are in `set-aside.ndjson`.
    set_aside: HashMap<WriterId, u64>,
    metrics: AuditMetrics,
}

/// Read, and not in the database yet.
struct Pending {
    writer: WriterId,
    records: Vec<Sealed>,
    unreadable: Vec<Vec<u8>>,
    finished: Vec<PathBuf>,
}

impl Pending {
    fn of(writer: WriterId, batch: Batch) -> Self {
        Self { writer, records: batch.lines, unreadable: batch.unreadable, finished: batch.finished }
    }
}

impl Copier {
    pub(super) fn new(
        folder: Folder,
        sink: AuditSink,
        committed: HashMap<WriterId, u64>,
        metrics: AuditMetrics,
    ) -> Self {
        let meter = Meter {
            folder: folder.clone(),
            metrics: metrics.clone(),
            committed: Mutex::new(committed),
            caught_up: Mutex::new(Instant::now()),
        };
        Self {
            folder,
            sink,
            meter: Arc::new(meter),
            readers: BTreeMap::new(),
            pending: None,
            looked: None,
            set_aside: HashMap::new(),
            metrics,
        }
    }

    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// One batch of each writer; true if there may be more at once.
    pub(super) async fn round(&mut self) -> Result<bool, AuditError> {
        let begun = Instant::now();
        self.commit_pending().await?;
        self.look()?;
        // After the look: a segment that it found may be live by now, and none is live that it missed.
        let live: HashMap<WriterId, Arc<Progress>> =
            self.folder.live().into_iter().map(|progress| (progress.writer, progress)).collect();
        let (mut has_more, mut fenced) = (false, None);
        let most = self.sink.batch();
        let writers: Vec<WriterId> = self.readers.keys().copied().collect();
        for writer in writers {
            let Some(reader) = self.readers.get_mut(&writer) else { continue };
            let progress = live.get(&writer);
            // In this order: a worker that becomes this writer in between has written nothing up to the limit.
            let limit = progress.map_or(u64::MAX, |progress| progress.written());
            let is_live = progress.is_some_and(|progress| progress.is_attached());
            if is_live && limit <= reader.committed() && !reader.has_closed_segment() {
                continue;
            }
            let batch =
                reader.read(most, limit, is_live).map_err(|error| AuditError::Unavailable(error.to_string()))?;
            if batch.is_empty() {
                continue;
            }
            has_more |= batch.lines.len() >= most;
            self.pending = Some(Pending::of(writer, batch));
            match self.commit_pending().await {
                // The other writers go on.
                Err(error @ AuditError::Fenced(_)) => fenced = Some(error),
                done => done?,
            }
        }
        self.readers.retain(|writer, reader| live.contains_key(writer) || !reader.is_exhausted());
        if let Some(error) = fenced {
            return Err(error);
        }
        if !has_more {
            *self.meter.caught_up() = begun;
        }
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
        self.folder
            .look(&mut self.readers, |writer| self.meter.committed_of(writer))
            .map_err(|error| AuditError::Unavailable(error.to_string()))
    }

    async fn commit_pending(&mut self) -> Result<(), AuditError> {
        let Some(mut pending) = self.pending.take() else { return Ok(()) };
        let done = self.commit(&mut pending).await;
        match &done {
            Ok(()) => {
                for segment in pending.finished {
                    self.folder.retire(segment);
                }
            }
            Err(AuditError::Fenced(_)) => {
                // Its segments stay as they are, and are read again from their beginning.
                let committed = self.meter.committed_of(pending.writer);
                let reader = Reader::new(pending.writer, committed, self.folder.sealer().clone());
                self.readers.insert(pending.writer, reader);
                self.looked = None;
            }
            Err(_) => self.pending = Some(pending),
        }
        done
    }

    async fn commit(&mut self, pending: &mut Pending) -> Result<(), AuditError> {
        let started = Instant::now();
        if !pending.unreadable.is_empty() {
            let fresh = self.keep_aside(&pending.unreadable)?;
            if fresh > 0 {
                log::error!("{fresh} lines of the audit journal can't be read: they are kept in set-aside.ndjson");
            }
            pending.unreadable.clear();
        }
        self.insert(pending.writer, &pending.records).await?;
        let Some(last) = pending.records.last().map(|last| last.seq) else { return Ok(()) };
        self.meter.committed().insert(pending.writer, last);
        if let Some(reader) = self.readers.get_mut(&pending.writer) {
            reader.commit(last);
        }
        let count = pending.records.len();
        self.metrics.written.inc_by(count as u64);
        self.metrics.batch_records.observe(count as f64);
        self.metrics.flush_seconds.observe(started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Keeps lines for people to look at; gives how many were not there yet.
    fn keep_aside(&self, lines: &[Vec<u8>]) -> Result<usize, AuditError> {
        let fresh = self.folder.set_aside(lines).map_err(|error| AuditError::Unavailable(error.to_string()))?;
        self.metrics.set_aside.inc_by(fresh as u64);
        Ok(fresh)
    }

    /// Inserts a batch; halves it where a record is refused for its content,
    /// until the culprit stands alone and a stub takes its place.
    async fn insert(&mut self, writer: WriterId, records: &[Sealed]) -> Result<(), AuditError> {
        let mut parts = vec![records];
        while let Some(part) = parts.pop() {
            match self.sink.insert(writer, part).await {
                Err(AuditError::Refused(why)) => match part {
                    [culprit] => self.insert_stub(writer, culprit, &why).await?,
                    _ => {
                        log::debug!("a batch of {} is refused: {why}", part.len());
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                },
                done => done?,
            }
        }
        Ok(())
    }

    /// Puts a stub in a refused record's place: the same id and time, none of the text. Where
    /// even that is refused, for the id is in the table already, another id.
    async fn insert_stub(&mut self, writer: WriterId, culprit: &Sealed, why: &str) -> Result<(), AuditError> {
        let Sealed { seq, record: culprit, .. } = culprit;
        let stub = |id| self.folder.sealer().sealed(writer, *seq, AuditRecord::stub(culprit, id));
        // A stub that is refused for its id says nothing that was not said before.
        if &*culprit.action != STAND_IN && self.set_aside.get(&writer).is_none_or(|last| last < seq) {
            log::error!("audit record {} is refused and kept in set-aside.ndjson: {why}", culprit.id);
            let line = serde_json::to_vec(culprit).map_err(|error| AuditError::Unavailable(error.to_string()))?;
            self.keep_aside(&[line])?;
            self.set_aside.insert(writer, *seq);
        }
        match self.sink.insert(writer, &[stub(culprit.id)]).await {
            Err(AuditError::Refused(_)) => {}
            done => return done,
        }
        match self.sink.insert(writer, &[stub(RecordId::generate())]).await {
            Err(AuditError::Refused(why)) => {
                Err(AuditError::Unavailable(format!("a stub of record {} is refused: {why}", culprit.id)))
            }
            done => done,
        }
    }
}

/// What the metrics say of the lag, also while a batch is under way.
pub(super) struct Meter {
    folder: Folder,
    metrics: AuditMetrics,
    committed: Mutex<HashMap<WriterId, u64>>,
    /// Everything that was written before this is in the database.
    caught_up: Mutex<Instant>,
}

impl Meter {
    fn committed(&self) -> MutexGuard<'_, HashMap<WriterId, u64>> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn caught_up(&self) -> MutexGuard<'_, Instant> {
        self.caught_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last number of a writer that is in the database.
    pub(super) fn committed_of(&self, writer: WriterId) -> u64 {
        self.committed().get(&writer).copied().unwrap_or(0)
    }

    pub(super) fn note_failure(&self) {
        self.metrics.retries.inc();
    }

    pub(super) fn measure(&self) {
        let live = self.folder.live();
        let lag: u64 = live.iter().map(|of| of.written().saturating_sub(self.committed_of(of.writer))).sum();
        let seconds = if lag == 0 { 0.0 } else { self.caught_up().elapsed().as_secs_f64() };
        self.metrics.lag_records.set(i64::try_from(lag).unwrap_or(i64::MAX));
        self.metrics.lag_seconds.set(seconds);
        self.metrics.journal_bytes.set(i64::try_from(self.folder.bytes()).unwrap_or(i64::MAX));
    }
}
