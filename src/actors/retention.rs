//! Retention: takes audit records away that are older than `AUDIT_RETENTION_DAYS`, in the background.
//!
//! Before anything is removed, what is to go is followed record by record: where one does not hold, nothing goes.
//! Then a signed checkpoint says up to where, and where each writer's chain goes on: so the shortened log still
//! proves that it is whole, however far the removal has come. Each instance looks now and then; one at a time is
//! at it. Nothing here waits for a lock while others wait behind it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use actix::ArbiterHandle;
use tokio::sync::watch;
use uuid::Uuid;

use super::vital::Lifecycle;
use super::{RetentionSettings, ServiceError, ServiceResult};
use crate::clock::SharedClock;
use crate::domain::{RecordId, WriterId};
use crate::metrics::AuditMetrics;
use crate::proof::{Check, Checkpoint, CheckpointKind, Finding, Head, Mac, Sealer};
use crate::store::{AuditSweeper, OldPart, ScannedRow, Store, StoreError, StoreResult, Swept};

/// The regular removal of old audit records.
pub struct Retention {
    stop: watch::Sender<bool>,
}

struct Remover {
    store: Store,
    sealer: Sealer,
    installation: Uuid,
    clock: SharedClock,
    settings: RetentionSettings,
    metrics: AuditMetrics,
    stopped: watch::Receiver<bool>,
    /// Partitions that can't be made: it is said once.
    left_out: HashSet<String>,
    /// Why nothing is removed: it is said once.
    refused: Option<Finding>,
}

/// Why old records are not removed.
#[derive(Debug, thiserror::Error)]
enum NotRemoved {
    /// One of them does not hold.
    #[error(transparent)]
    Refused(#[from] Finding),
    /// Something is away: the next run tries again.
    #[error(transparent)]
    Failed(#[from] ServiceError),
}

impl From<StoreError> for NotRemoved {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// What the newest checkpoint of removals says.
#[derive(Debug, Default, PartialEq)]
struct Stated {
    removed_before: Option<RecordId>,
    heads: BTreeMap<WriterId, Head>,
}

impl Stated {
    /// Takes on how far the chains were followed; whether that says anything new.
    fn take(&mut self, before: RecordId, reached: impl IntoIterator<Item = (WriterId, u64, Mac)>) -> bool {
        let mut is_new = self.removed_before.is_none_or(|stated| stated < before);
        // Never backwards: what was removed once stays so.
        self.removed_before = self.removed_before.max(Some(before));
        for (writer_id, seq, hash) in reached {
            let head = Head { writer_id, seq, hash, written: seq };
            if self.heads.get(&writer_id).is_none_or(|stated| stated.seq < seq) {
                self.heads.insert(writer_id, head);
                is_new = true;
            }
        }
        is_new
    }

    fn ends(&self) -> HashMap<WriterId, u64> {
        self.heads.values().map(|head| (head.writer_id, head.seq)).collect()
    }
}

/// What was found of all that is to go.
struct Followed {
    check: Check,
    rows: usize,
}

/// What a run came to.
#[derive(Debug, Default)]
struct Run {
    removed: u64,
    parts: usize,
}

impl Retention {
    /// Makes the partitions that the log's writer needs from now on, before it writes: best effort, for without
    /// them the records find another place.
    pub async fn prepare(store: &Store, clock: &SharedClock, settings: &RetentionSettings) {
        if store.has_log_apart() {
            return;
        }
        let mut sweeper = store.audit_sweeper();
        let done = async {
            let now = clock.now();
            if sweeper.begin(now).await?.is_some() {
                sweeper.make_partitions(now, settings.days).await?;
            }
            StoreResult::Ok(())
        };
        if let Err(error) = done.await {
            log::warn!("partitions of the audit log are made later: {error}");
        }
    }

    /// Begins on the given arbiter; where records are kept for ever and the log has no partitions, there is
    /// nothing to do.
    #[expect(clippy::too_many_arguments, reason = "what it works with, each once")]
    pub fn start(
        store: Store,
        sealer: Sealer,
        installation: Uuid,
        clock: SharedClock,
        settings: RetentionSettings,
        metrics: AuditMetrics,
        arbiter: &ArbiterHandle,
        lifecycle: &Lifecycle,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        if settings.days > 0 || !store.has_log_apart() {
            let (left_out, refused) = (HashSet::new(), None);
            let remover = Remover { store, sealer, installation, clock, settings, metrics, stopped, left_out, refused };
            let vital = lifecycle.vital("retention");
            arbiter.spawn(async move {
                let _vital = vital;
                remover.run().await;
            });
        }
        Self { stop }
    }

    /// Removes no more.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

impl Remover {
    async fn run(mut self) {
        let mut pause = self.settings.first_run_after;
        while !self.is_stopped_within(pause).await {
            let mut sweeper = self.store.audit_sweeper();
            match self.look(&mut sweeper).await {
                Ok(()) => {}
                Err(NotRemoved::Refused(finding)) => self.refuse(finding),
                Err(NotRemoved::Failed(error)) => {
                    log::warn!("old audit records were not removed, the next run tries again: {error}");
                }
            }
            pause = self.settings.every;
        }
    }

    /// Whether the service stops before the time is up.
    async fn is_stopped_within(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.stopped.wait_for(|is_stopped| *is_stopped)).await.is_ok()
    }

    fn refuse(&mut self, finding: Finding) {
        self.metrics.retention_refused.set(1);
        if self.refused.as_ref() != Some(&finding) {
            log::error!(
                "old audit records are not removed, for one does not hold: {finding}; see `portcullis audit verify`"
            );
        }
        self.refused = Some(finding);
    }

    async fn look(&mut self, sweeper: &mut AuditSweeper) -> Result<(), NotRemoved> {
        let ours = self.clock.now();
        let Some(theirs) = sweeper.begin(ours).await? else { return Ok(()) };
        // A clock that is ahead must not remove what is young.
        let now = ours.min(theirs);
        for table in sweeper.make_partitions(now, self.settings.days).await? {
            if self.left_out.insert(table.clone()) {
                log::warn!(
                    "the partition {table} of the audit log is not made: audit_logs_default has records of its \
                     time, as of a clock that is ahead"
                );
            }
        }
        if self.settings.days == 0 {
            return Ok(());
        }
        let days = Duration::from_secs(u64::from(self.settings.days) * 24 * 60 * 60);
        let before = sweeper.cutoff(now.minus(days)).await?;
        let mut run = Run::default();
        let done = self.remove(sweeper, before, &mut run).await;
        if run.removed > 0 {
            log::info!(
                "{} audit records from before {} were removed, with {} whole partitions",
                run.removed,
                before.time(),
                run.parts
            );
        }
        done
    }

    async fn remove(&mut self, sweeper: &mut AuditSweeper, before: RecordId, run: &mut Run) -> Result<(), NotRemoved> {
        let mut stated = self.stated().await?;
        let (left, old): (Vec<_>, Vec<_>) = sweeper.old_parts(before).await?.into_iter().partition(OldPart::is_left);
        for part in left {
            self.drop_part(sweeper, part, &stated, run).await?;
        }
        let Some(followed) = self.follow(sweeper, &stated, before).await? else { return Ok(()) };
        self.refused = None;
        self.metrics.retention_refused.set(0);
        if followed.rows == 0 && old.is_empty() {
            return Ok(());
        }
        self.state(&mut stated, before, &followed.check).await?;
        for part in old {
            let Some(part) = self.detach(sweeper, part).await? else { return Ok(()) };
            self.drop_part(sweeper, part, &stated, run).await?;
        }
        self.sweep(sweeper, before, &stated, run).await
    }

    /// Follows the chains through all that is to go, from where they were stated to go on, on the sweeper's own
    /// connection; `None`, where the service stops before that.
    async fn follow(
        &mut self,
        sweeper: &mut AuditSweeper,
        stated: &Stated,
        before: RecordId,
    ) -> Result<Option<Followed>, NotRemoved> {
        let mut check = Check::new(self.sealer.clone(), self.chain_ends().await?);
        check.begin_after(stated.removed_before, stated.heads.values())?;
        let (mut after, mut rows) = (None, 0);
        loop {
            let began = Instant::now();
            let page = match sweeper.scan(after, before, self.settings.batch).await {
                Err(StoreError::Unreadable(why)) => return Err(Finding::Unreadable { after, why }.into()),
                page => page?,
            };
            let Some(last) = page.last().map(ScannedRow::id) else { break };
            for row in &page {
                check.take(&row.stored()?)?;
            }
            (after, rows) = (Some(last), rows + page.len());
            if self.is_stopped_within(self.settings.pause.max(began.elapsed() * 2)).await {
                return Ok(None);
            }
        }
        check.settle(&self.chain_ends().await?)?;
        Ok(Some(Followed { check, rows }))
    }

    async fn chain_ends(&self) -> StoreResult<HashMap<WriterId, (u64, Mac)>> {
        let ends = self.store.chain_ends().await?;
        Ok(ends.into_iter().map(|(writer, end)| (writer, (end.seq, end.hash))).collect())
    }

    /// Drops a detached partition. What was not followed goes back into the log: the next run looks at it.
    async fn drop_part(
        &self,
        sweeper: &mut AuditSweeper,
        part: OldPart,
        stated: &Stated,
        run: &mut Run,
    ) -> StoreResult<()> {
        let removed = sweeper.drop_part(&part, stated.ends()).await?;
        run.parts += 1;
        self.count(run, removed);
        Ok(())
    }

    /// Removes in small deletes what was stated.
    async fn sweep(
        &mut self,
        sweeper: &mut AuditSweeper,
        before: RecordId,
        stated: &Stated,
        run: &mut Run,
    ) -> Result<(), NotRemoved> {
        let (ends, mut swept) = (stated.ends(), Swept::default());
        loop {
            let (began, removed) = (Instant::now(), swept.removed);
            let has_more = sweeper.sweep(&mut swept, before, ends.clone(), self.settings.batch).await?;
            self.count(run, swept.removed - removed);
            // As long as it took, and longer: whoever else writes has his turn.
            if !has_more || self.is_stopped_within(self.settings.pause.max(began.elapsed() * 2)).await {
                return Ok(());
            }
        }
    }

    fn count(&self, run: &mut Run, removed: u64) {
        run.removed += removed;
        self.metrics.removed.inc_by(removed);
    }

    /// Detaches a partition, as soon as nobody reads it; `None`, where the service stops before that.
    async fn detach(&mut self, sweeper: &mut AuditSweeper, part: OldPart) -> ServiceResult<Option<OldPart>> {
        for _ in 1..self.settings.lock_attempts {
            match sweeper.detach(&part).await {
                Ok(part) => return Ok(Some(part)),
                Err(error) => log::debug!("the partition {} is not detached yet: {error}", part.name()),
            }
            if self.is_stopped_within(self.settings.lock_pause).await {
                return Ok(None);
            }
        }
        Ok(Some(sweeper.detach(&part).await?))
    }

    /// What was said of earlier removals.
    async fn stated(&self) -> ServiceResult<Stated> {
        let Some(kept) = self.store.newest_checkpoint(CheckpointKind::Retention).await? else {
            return Ok(Stated::default());
        };
        let signed = kept.signed.filter(|signed| {
            self.sealer.has_signed(signed)
                && signed.checkpoint.kind == CheckpointKind::Retention
                && signed.checkpoint.installation_id == self.installation
        });
        let Some(signed) = signed else {
            let what = format!("the checkpoint {} of earlier removals is not as it was signed", kept.id);
            return Err(ServiceError::Unavailable(what));
        };
        let heads = signed.checkpoint.writers.into_iter().map(|head| (head.writer_id, head)).collect();
        Ok(Stated { removed_before: signed.checkpoint.removed_before, heads })
    }

    /// Says, signed, what is about to be removed.
    async fn state(&self, stated: &mut Stated, before: RecordId, check: &Check) -> ServiceResult<()> {
        if !stated.take(before, check.reached()) {
            return Ok(());
        }
        let signed = self.sealer.sign_checkpoint(Checkpoint {
            kind: CheckpointKind::Retention,
            installation_id: self.installation,
            timestamp: self.clock.now(),
            removed_before: stated.removed_before,
            writers: stated.heads.values().copied().collect(),
        });
        self.store.insert_checkpoint(&signed).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    fn reached(ends: &[(WriterId, u64)]) -> Vec<(WriterId, u64, Mac)> {
        ends.iter().map(|(writer, seq)| (*writer, *seq, Mac([u8::try_from(*seq).unwrap(); 32]))).collect()
    }

    #[test]
    fn heads_are_never_lost_and_never_go_back() {
        let (one, other) = (WriterId::generate(), WriterId::generate());
        let day = |day: i64| RecordId::least_of(Timestamp::from_millis(day * 86_400_000));
        let mut stated = Stated::default();
        assert!(stated.take(day(10), reached(&[(one, 5), (other, 3)])));
        // Nothing new, as after a removal that was interrupted.
        assert!(!stated.take(day(10), reached(&[(one, 5)])));
        // The first has no record between.
        assert!(stated.take(day(11), reached(&[(other, 4)])));
        assert_eq!(stated.ends(), HashMap::from([(one, 5), (other, 4)]));
        // Records are kept for longer from now on, and some came in late.
        assert!(stated.take(day(2), reached(&[(one, 6), (other, 1)])));
        assert_eq!(stated.removed_before, Some(day(11)));
        assert_eq!(stated.ends(), HashMap::from([(one, 6), (other, 4)]));
    }
}
