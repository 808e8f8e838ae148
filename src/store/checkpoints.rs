//! Signed checkpoints of the audit log, where the log is, and the ends of its chains.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::audit_row::ChainEnd;
use super::pool::ask;
use super::schema::{audit_checkpoints, audit_writers};
use super::types::DbId;
use super::{Store, StoreError, StoreResult};
use crate::domain::WriterId;
use crate::proof::{CheckpointKind, SignedCheckpoint};

/// A checkpoint as the database keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCheckpoint {
    /// A UUIDv7: the later one is the greater.
    pub id: Uuid,
    /// What is said; `None` where it can't be read: then somebody has changed it.
    pub signed: Option<SignedCheckpoint>,
}

type CheckpointRow = (DbId, String);
type EndRow = (DbId, i64, Option<Vec<u8>>);

impl From<CheckpointRow> for KeptCheckpoint {
    fn from((DbId(id), body): CheckpointRow) -> Self {
        Self { id, signed: serde_json::from_str(&body).ok() }
    }
}

fn name_of(kind: CheckpointKind) -> &'static str {
    match kind {
        CheckpointKind::Heads => "heads",
        CheckpointKind::Retention => "retention",
    }
}

trait CheckpointStatements: Send {
    fn insert_checkpoint(
        &mut self,
        id: DbId,
        kind: &'static str,
        body: String,
    ) -> impl Future<Output = QueryResult<()>> + Send;
    fn newest_checkpoint(
        &mut self,
        kind: &'static str,
    ) -> impl Future<Output = QueryResult<Option<CheckpointRow>>> + Send;
    fn checkpoints_after(
        &mut self,
        kind: &'static str,
        after: DbId,
        limit: u32,
    ) -> impl Future<Output = QueryResult<Vec<CheckpointRow>>> + Send;
    fn delete_older(&mut self, kind: &'static str, count: u32) -> impl Future<Output = QueryResult<usize>> + Send;
    fn chain_ends(&mut self) -> impl Future<Output = QueryResult<Vec<EndRow>>> + Send;
}

macro_rules! checkpoint_statements {
    ($($connection:ty),*) => {$(
        impl CheckpointStatements for $connection {
            async fn insert_checkpoint(&mut self, id: DbId, kind: &'static str, body: String) -> QueryResult<()> {
                let row = (
                    audit_checkpoints::id.eq(id),
                    audit_checkpoints::kind.eq(kind),
                    audit_checkpoints::body.eq(body),
                );
                diesel::insert_into(audit_checkpoints::table).values(row).execute(self).await.map(drop)
            }

            async fn newest_checkpoint(&mut self, kind: &'static str) -> QueryResult<Option<CheckpointRow>> {
                audit_checkpoints::table
                    .filter(audit_checkpoints::kind.eq(kind))
                    .order(audit_checkpoints::id.desc())
                    .select((audit_checkpoints::id, audit_checkpoints::body))
                    .first(self)
                    .await
                    .optional()
            }

            async fn checkpoints_after(
                &mut self,
                kind: &'static str,
                after: DbId,
                limit: u32,
            ) -> QueryResult<Vec<CheckpointRow>> {
                audit_checkpoints::table
                    .filter(audit_checkpoints::kind.eq(kind))
                    .filter(audit_checkpoints::id.gt(after))
                    .order(audit_checkpoints::id)
                    .limit(i64::from(limit))
                    .select((audit_checkpoints::id, audit_checkpoints::body))
                    .load(self)
                    .await
            }

            async fn delete_older(&mut self, kind: &'static str, count: u32) -> QueryResult<usize> {
                let newest_to_go: Option<DbId> = audit_checkpoints::table
                    .filter(audit_checkpoints::kind.eq(kind))
                    .order(audit_checkpoints::id.desc())
                    .offset(i64::from(count))
                    .select(audit_checkpoints::id)
                    .first(self)
                    .await
                    .optional()?;
                let Some(newest_to_go) = newest_to_go else { return Ok(0) };
                let old = audit_checkpoints::table
                    .filter(audit_checkpoints::kind.eq(kind))
                    .filter(audit_checkpoints::id.le(newest_to_go));
                diesel::delete(old).execute(self).await
            }

            async fn chain_ends(&mut self) -> QueryResult<Vec<EndRow>> {
                audit_writers::table
                    .order(audit_writers::writer_id)
                    .select((audit_writers::writer_id, audit_writers::last_seq, audit_writers::last_hash))
                    .load(self)
                    .await
            }
        }
    )*};
}

checkpoint_statements!(super::connect::AsyncSqlite, diesel_async::AsyncPgConnection);

impl Store {
    /// Keeps a checkpoint; gives the id under which it is kept.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn insert_checkpoint(&self, signed: &SignedCheckpoint) -> StoreResult<Uuid> {
        let (id, kind) = (Uuid::now_v7(), name_of(signed.checkpoint.kind));
        let body = serde_json::to_string(signed).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let pools = self.pools.clone();
        self.pools.run(async move { ask!(pools, |conn| conn.insert_checkpoint(DbId(id), kind, body)) }).await?;
        Ok(id)
    }

    /// The newest checkpoint of a kind.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn newest_checkpoint(&self, kind: CheckpointKind) -> StoreResult<Option<KeptCheckpoint>> {
        let pools = self.pools.clone();
        let row = self.pools.run(async move { ask!(pools, |conn| conn.newest_checkpoint(name_of(kind))) }).await?;
        Ok(row.map(Into::into))
    }

    /// The checkpoints of a kind after this one, oldest first, so many at most: `Uuid::nil()` to begin.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn list_checkpoints(
        &self,
        kind: CheckpointKind,
        after: Uuid,
        limit: u32,
    ) -> StoreResult<Vec<KeptCheckpoint>> {
        let pools = self.pools.clone();
        let work = async move { ask!(pools, |conn| conn.checkpoints_after(name_of(kind), DbId(after), limit)) };
        Ok(self.pools.run(work).await?.into_iter().map(Into::into).collect())
    }

    /// Deletes all checkpoints of heads but the newest so many; gives how many went. Those of retention stay:
    /// they say what was removed, and when.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn keep_newest_heads(&self, count: u32) -> StoreResult<usize> {
        let pools = self.pools.clone();
        let kind = name_of(CheckpointKind::Heads);
        self.pools.run(async move { ask!(pools, |conn| conn.delete_older(kind, count)) }).await
    }

    /// Where the chain of each writer ends in the database, in order of their ids.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn chain_ends(&self) -> StoreResult<Vec<(WriterId, ChainEnd)>> {
        let pools = self.pools.clone();
        let rows = self.pools.run(async move { ask!(pools, |conn| conn.chain_ends()) }).await?;
        Ok(rows.into_iter().map(|(writer, seq, hash)| (writer.into(), ChainEnd::of(seq, hash))).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{RoleName, Timestamp};
    use crate::proof::{AuditKey, Checkpoint};
    use crate::store::{Database, StoreSettings};

    #[test]
    fn checkpoints_come_back_by_kind_in_order_and_old_heads_go() {
        let home = tempfile::tempdir().unwrap();
        let settings = StoreSettings {
            database: Database::Sqlite(home.path().join("portcullis.db")),
            timeout: Duration::from_secs(5),
            pool_size: 1,
            default_role: RoleName::admin(),
        };
        let sealer = AuditKey::generate().unwrap().sealer().unwrap();
        let checkpoint = |kind, millis| {
            sealer.sign_checkpoint(Checkpoint {
                kind,
                installation_id: Uuid::nil(),
                timestamp: Timestamp::from_millis(millis),
                removed_before: None,
                writers: Vec::new(),
            })
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Store::open(settings).await.unwrap();
            assert_eq!(store.newest_checkpoint(CheckpointKind::Heads).await.unwrap(), None);
            assert_eq!(store.keep_newest_heads(0).await.unwrap(), 0);
            let mut ids = Vec::new();
            for millis in 1..=5 {
                ids.push(store.insert_checkpoint(&checkpoint(CheckpointKind::Heads, millis)).await.unwrap());
            }
            let removal = checkpoint(CheckpointKind::Retention, 9);
            store.insert_checkpoint(&removal).await.unwrap();
            let newest = store.newest_checkpoint(CheckpointKind::Heads).await.unwrap().unwrap();
            let fifth = Some(checkpoint(CheckpointKind::Heads, 5));
            assert_eq!(newest, KeptCheckpoint { id: ids[4], signed: fifth });
            let page = store.list_checkpoints(CheckpointKind::Heads, ids[1], 2).await.unwrap();
            assert_eq!(page.iter().map(|kept| kept.id).collect::<Vec<_>>(), ids[2..4]);
            assert_eq!(store.keep_newest_heads(2).await.unwrap(), 3);
            let left = store.list_checkpoints(CheckpointKind::Heads, Uuid::nil(), 100).await.unwrap();
            assert_eq!(left.iter().map(|kept| kept.id).collect::<Vec<_>>(), ids[3..]);
            let newest = store.newest_checkpoint(CheckpointKind::Retention).await.unwrap().unwrap();
            assert_eq!(newest.signed, Some(removal));
            assert_eq!(store.chain_ends().await.unwrap(), Vec::new());
        });
    }
}
