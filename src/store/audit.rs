//! Questions about the audit log.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::audit_row::AuditRow;
use super::pool::DbPool;
use super::schema::audit_logs;
use super::types::DbId;
use super::{Store, StoreError, StoreResult, connect};
use crate::domain::audit::{AuditFilter, AuditRecord};
use crate::domain::{Page, Slice, Timestamp};

/// The least UUIDv7 of a millisecond: ids from it on are of that time or later.
fn least_id(time: Timestamp) -> DbId {
    let millis = u128::try_from(time.as_millis().clamp(0, (1 << 48) - 1)).unwrap_or(0);
    DbId(Uuid::from_u128(millis << 80))
}

trait AuditStatements: Send {
    fn list(&mut self, filter: AuditFilter, page: Page) -> impl Future<Output = QueryResult<Vec<AuditRow>>> + Send;
}

macro_rules! audit_statements {
    ($($connection:ty => $db:ty),*) => {$(
        impl AuditStatements for $connection {
            async fn list(&mut self, filter: AuditFilter, page: Page) -> QueryResult<Vec<AuditRow>> {
                let mut query = audit_logs::table.select(AuditRow::as_select()).into_boxed::<$db>();
                if let Some(user) = filter.user_id {
                    query = query.filter(audit_logs::user_id.eq(DbId::from(user)));
                }
                if let Some(action) = filter.action {
                    query = query.filter(audit_logs::action.eq(action));
                }
                if let Some(kind) = filter.resource_type {
                    query = query.filter(audit_logs::resource_type.eq(kind));
                }
                if let Some(id) = filter.resource_id {
                    query = query.filter(audit_logs::resource_id.eq(id));
                }
                if let Some(since) = filter.since {
                    query = query.filter(audit_logs::id.ge(least_id(since)));
                }
                if let Some(until) = filter.until {
                    query = query.filter(audit_logs::id.lt(least_id(until)));
                }
                query
                    .order(audit_logs::id.desc())
                    .limit(i64::from(page.limit) + 1)
                    .offset(i64::try_from(page.offset).unwrap_or(i64::MAX))
                    .load(self)
                    .await
            }
        }
    )*};
}

audit_statements!(connect::AsyncSqlite => diesel::sqlite::Sqlite, AsyncPgConnection => diesel::pg::Pg);

impl Store {
    /// A page of audit records, newest first.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn list_audit_records(&self, filter: AuditFilter, page: Page) -> StoreResult<Slice<AuditRecord>> {
        let pools = self.pools.clone();
        let rows = self
            .pools
            .run(async move {
                match &pools.pool {
                    DbPool::Sqlite { audit, .. } => {
                        let mut connection = audit.get().await?;
                        connection.list(filter, page).await.map_err(StoreError::from)
                    }
                    DbPool::Postgres(pool) => {
                        let mut connection = pool.get().await?;
                        connection.list(filter, page).await.map_err(StoreError::from)
                    }
                }
            })
            .await?;
        Ok(Slice::from_one_more(rows.into_iter().map(Into::into).collect(), page.limit))
    }
}
