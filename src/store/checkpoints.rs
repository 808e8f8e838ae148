//! Signed checkpoints of the audit log, beside it.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::audit::ask;
use super::pool::DbPool;
use super::schema::audit_checkpoints;
use super::types::DbId;
use super::{Store, StoreError, StoreResult, connect};
use crate::proof::{CheckpointKind, SignedCheckpoint};

trait CheckpointStatements: Send {
    fn insert(&mut self, kind: CheckpointKind, body: &str) -> impl Future<Output = QueryResult<()>> + Send;
    fn newest(&mut self, kind: CheckpointKind, limit: u32) -> impl Future<Output = QueryResult<Vec<String>>> + Send;
    fn prune(&mut self, kind: CheckpointKind, keep: u32) -> impl Future<Output = QueryResult<()>> + Send;
}

macro_rules! checkpoint_statements {
    ($($connection:ty),*) => {$(
        impl CheckpointStatements for $connection {
            async fn insert(&mut self, kind: CheckpointKind, body: &str) -> QueryResult<()> {
                let row = (
                    audit_checkpoints::id.eq(DbId(Uuid::now_v7())),
                    audit_checkpoints::kind.eq(kind.as_str()),
                    audit_checkpoints::body.eq(body.to_owned()),
                );
                diesel::insert_into(audit_checkpoints::table).values(row).execute(self).await.map(drop)
            }

            async fn newest(&mut self, kind: CheckpointKind, limit: u32) -> QueryResult<Vec<String>> {
                audit_checkpoints::table
                    .filter(audit_checkpoints::kind.eq(kind.as_str()))
                    .order(audit_checkpoints::id.desc())
                    .limit(limit.into())
                    .select(audit_checkpoints::body)
                    .load(self)
                    .await
            }

            async fn prune(&mut self, kind: CheckpointKind, keep: u32) -> QueryResult<()> {
                let of_kind = audit_checkpoints::table.filter(audit_checkpoints::kind.eq(kind.as_str()));
                let first: Option<DbId> = of_kind
                    .order(audit_checkpoints::id.desc())
                    .offset(keep.into())
                    .select(audit_checkpoints::id)
                    .first(self)
                    .await
                    .optional()?;
                let Some(first) = first else { return Ok(()) };
                diesel::delete(of_kind.filter(audit_checkpoints::id.le(first))).execute(self).await.map(drop)
            }
        }
    )*};
}

checkpoint_statements!(connect::AsyncSqlite, AsyncPgConnection);

fn read(body: &str) -> StoreResult<SignedCheckpoint> {
    serde_json::from_str(body).map_err(|error| StoreError::Unreadable(format!("an audit checkpoint: {error}")))
}

impl Store {
    /// Keeps a checkpoint.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn insert_checkpoint(&self, signed: &SignedCheckpoint) -> StoreResult<()> {
        let kind = signed.checkpoint.kind;
        let body = serde_json::to_string(signed).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let pools = self.pools.clone();
        self.pools.run(async move { ask!(pools, |conn| conn.insert(kind, &body)) }).await
    }

    /// The newest checkpoints of a kind, newest first.
    ///
    /// # Errors
    /// `Unavailable`; `Unreadable`: what stands there is none.
    pub async fn checkpoints(&self, kind: CheckpointKind, limit: u32) -> StoreResult<Vec<SignedCheckpoint>> {
        let pools = self.pools.clone();
        let bodies = self.pools.run(async move { ask!(pools, |conn| conn.newest(kind, limit)) }).await?;
        bodies.iter().map(|body| read(body)).collect()
    }

    /// Removes all but the newest of a kind.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn prune_checkpoints(&self, kind: CheckpointKind, keep: u32) -> StoreResult<()> {
        let pools = self.pools.clone();
        self.pools.run(async move { ask!(pools, |conn| conn.prune(kind, keep)) }).await
    }
}
