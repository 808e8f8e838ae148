//! The audit log read as a whole, record by record in order of ids, as it stands: for who checks it.

use std::ops::Bound;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::audit_row::AuditRow;
use super::pool::ask;
use super::schema::audit_logs;
use super::types::DbId;
use super::{Store, StoreError, StoreResult, connect};
use crate::domain::{RecordId, Timestamp, WriterId};
use crate::proof::{Finding, Stored};

/// A row as it stands, whatever somebody may have made of it.
#[derive(Queryable, Selectable)]
#[diesel(table_name = audit_logs)]
pub struct ScannedRow {
    writer_id: DbId,
    seq: i64,
    hash: Option<Vec<u8>>,
    #[diesel(embed)]
    row: AuditRow,
}

impl ScannedRow {
    /// The record's id.
    pub fn id(&self) -> RecordId {
        self.row.id()
    }

    /// The record's writer.
    pub fn writer(&self) -> WriterId {
        self.writer_id.into()
    }

    /// What stands there.
    ///
    /// # Errors
    /// `Impossible`.
    pub fn stored(&self) -> Result<Stored<'_>, Finding> {
        let (Ok(seq), Some(fields)) = (self.seq.try_into(), self.row.fields()) else {
            return Err(Finding::Impossible { id: self.id() });
        };
        Ok(Stored { writer: self.writer(), seq, hash: self.hash.as_deref(), fields })
    }
}

/// What is asked of either database.
pub(super) trait ScanStatements: Send {
    fn scan(
        &mut self,
        from: Bound<RecordId>,
        before: Option<RecordId>,
        limit: u32,
    ) -> impl Future<Output = QueryResult<Vec<ScannedRow>>> + Send;
    /// The first of these rows whose text is none: SQLite lets bytes stand there, which no question finds.
    fn misfit(&mut self, first: RecordId, last: RecordId) -> impl Future<Output = QueryResult<Option<DbId>>> + Send;
    fn last_before(
        &mut self,
        writer: WriterId,
        before: RecordId,
    ) -> impl Future<Output = QueryResult<Option<ScannedRow>>> + Send;
}

macro_rules! scan_statements {
    ($($connection:ty => $db:ty, $misfit:expr),*) => {$(
        impl ScanStatements for $connection {
            async fn scan(
                &mut self,
                from: Bound<RecordId>,
                before: Option<RecordId>,
                limit: u32,
            ) -> QueryResult<Vec<ScannedRow>> {
                let mut query = audit_logs::table.select(ScannedRow::as_select()).into_boxed::<$db>();
                match from {
                    Bound::Excluded(after) => query = query.filter(audit_logs::id.gt(DbId::from(after))),
                    Bound::Included(first) => query = query.filter(audit_logs::id.ge(DbId::from(first))),
                    Bound::Unbounded => {}
                }
                if let Some(before) = before {
                    query = query.filter(audit_logs::id.lt(DbId::from(before)));
                }
                query.order(audit_logs::id).limit(limit.into()).load(self).await
            }

            async fn misfit(&mut self, first: RecordId, last: RecordId) -> QueryResult<Option<DbId>> {
                let condition: Option<&str> = $misfit;
                let Some(condition) = condition else { return Ok(None) };
                audit_logs::table
                    .filter(audit_logs::id.between(DbId::from(first), DbId::from(last)))
                    .filter(sql::<Bool>(condition))
                    .select(audit_logs::id)
                    .order(audit_logs::id)
                    .first(self)
                    .await
                    .optional()
            }

            async fn last_before(&mut self, writer: WriterId, before: RecordId) -> QueryResult<Option<ScannedRow>> {
                audit_logs::table
                    .filter(audit_logs::writer_id.eq(DbId::from(writer)))
                    .filter(audit_logs::id.lt(DbId::from(before)))
                    .select(ScannedRow::as_select())
                    .order(audit_logs::id.desc())
                    .first(self)
                    .await
                    .optional()
            }
        }
    )*};
}

/// Types that a value of another one could stand for.
const MISFIT: &str = "(typeof(action) || typeof(outcome) || typeof(metadata) || typeof(source) <> 'texttexttexttext' \
    OR 'blob' IN (typeof(username), typeof(resource_type), typeof(resource_id), typeof(ip_address), \
    typeof(user_agent), typeof(request_method), typeof(request_path), typeof(request_id)))";

scan_statements!(
    connect::AsyncSqlite => diesel::sqlite::Sqlite, Some(MISFIT),
    AsyncPgConnection => diesel::pg::Pg, None
);

/// The next rows in order of ids, so many at most: fewer where one behind them is none.
///
/// # Errors
/// `Unavailable`; `Unreadable`: the next one is none.
pub(super) async fn page(
    connection: &mut impl ScanStatements,
    from: Bound<RecordId>,
    before: Option<RecordId>,
    mut limit: u32,
) -> StoreResult<Vec<ScannedRow>> {
    loop {
        match readable(connection, from, before, limit).await {
            Err(StoreError::Unreadable(_)) if limit > 1 => limit = (limit / 10).max(1),
            done => return done,
        }
    }
}

async fn readable(
    connection: &mut impl ScanStatements,
    from: Bound<RecordId>,
    before: Option<RecordId>,
    limit: u32,
) -> StoreResult<Vec<ScannedRow>> {
    let rows = connection.scan(from, before, limit).await?;
    let mut ids = rows.iter().map(ScannedRow::id);
    let Some(first) = ids.next() else { return Ok(rows) };
    let last = ids.next_back().unwrap_or(first);
    match connection.misfit(first, last).await? {
        None => Ok(rows),
        Some(id) => Err(StoreError::Unreadable(format!("{} has bytes where text belongs", RecordId::from(id)))),
    }
}

impl Store {
    /// The next rows in order of ids, after one of them or from a time on, so many at most: fewer where one behind
    /// them is none.
    ///
    /// # Errors
    /// `Unavailable`; `Unreadable`: the next one is none.
    pub async fn scan_audit_log(
        &self,
        after: Option<RecordId>,
        since: Option<Timestamp>,
        limit: u32,
    ) -> StoreResult<Vec<ScannedRow>> {
        let pools = self.pools.clone();
        let from = match (after, since) {
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(since)) => Bound::Included(RecordId::least_of(since)),
            (None, None) => Bound::Unbounded,
        };
        self.pools.run(async move { ask!(pools, |conn| page(conn, from, None, limit)) }).await
    }

    /// A writer's last row before another record.
    ///
    /// # Errors
    /// `Unavailable`; `Unreadable`.
    pub async fn last_audit_row_before(&self, writer: WriterId, before: RecordId) -> StoreResult<Option<ScannedRow>> {
        let pools = self.pools.clone();
        self.pools.run(async move { ask!(pools, |conn| conn.last_before(writer, before)) }).await
    }
}
