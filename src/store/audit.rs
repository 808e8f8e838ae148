//! The audit log's table: batches in, exactly once, and questions.
//!
//! The one place where the two databases differ: SQLite keeps the log in a
//! file of its own and takes rows one by one in one transaction, PostgreSQL
//! takes a whole batch as arrays in one statement.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::connect;
use super::migrate::audit_path;
use super::pool::{DbPool, Pools};
use super::schema::{audit_logs, audit_writers};
use super::settings::Database;
use super::types::{DbId, DbTime};
use super::{Store, StoreError, StoreResult, audit_postgres, audit_sqlite};
use crate::domain::audit::{AuditFilter, AuditRecord, Outcome, Source};
use crate::domain::{Page, Slice, Timestamp, WriterId};

/// Why a batch is not in the database.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The database is away or can't write: try again, in order.
    #[error("the audit log can't be written: {0}")]
    Unavailable(String),
    /// The database has records under this writer's numbers that are not its own: another process
    /// has its journal too, as where `DATA_DIR` was copied.
    #[error("another process writes as audit writer {0}: is DATA_DIR a copy of another instance's?")]
    Fenced(WriterId),
    /// A record of it is refused for what it says.
    #[error("the audit log refuses a record: {0}")]
    Refused(String),
}

/// A record with its number in its writer's sequence.
pub type Numbered = (u64, AuditRecord);

/// Writes batches on a connection of its own, outside the pool.
pub struct AuditSink {
    pools: Arc<Pools>,
    connection: Option<Connection>,
}

enum Connection {
    Sqlite(Box<SqliteConnection>),
    Postgres(Box<AsyncPgConnection>),
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = audit_logs)]
struct AuditRow {
    id: DbId,
    timestamp: DbTime,
    user_id: Option<DbId>,
    username: Option<String>,
    action: String,
    resource_type: Option<String>,
    resource_id: Option<String>,
    ip_address: Option<String>,
    user_agent: Option<String>,
    request_method: Option<String>,
    request_path: Option<String>,
    response_status: Option<i16>,
    outcome: String,
    duration_ms: i32,
    request_id: Option<String>,
    metadata: String,
    source: String,
}

impl From<AuditRow> for AuditRecord {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id.into(),
            timestamp: row.timestamp.into(),
            user_id: row.user_id.map(Into::into),
            username: row.username.map(Into::into),
            action: row.action.into(),
            resource_type: row.resource_type.map(Into::into),
            resource_id: row.resource_id.map(Into::into),
            ip_address: row.ip_address.map(Into::into),
            user_agent: row.user_agent.map(Into::into),
            request_method: row.request_method.map(Into::into),
            request_path: row.request_path.map(Into::into),
            response_status: row.response_status.and_then(|status| u16::try_from(status).ok()),
            outcome: Outcome::parse(&row.outcome),
            duration_ms: u32::try_from(row.duration_ms).unwrap_or(0),
            request_id: row.request_id.map(Into::into),
            metadata: serde_json::from_str(&row.metadata).unwrap_or_default(),
            source: Source::parse(&row.source),
        }
    }
}

/// A record as it is inserted; the text is borrowed.
pub(super) struct NewRow<'a> {
    pub(super) id: DbId,
    pub(super) writer_id: DbId,
    pub(super) seq: i64,
    pub(super) timestamp: DbTime,
    pub(super) user_id: Option<DbId>,
    pub(super) username: Option<&'a str>,
    pub(super) action: &'a str,
    pub(super) resource_type: Option<&'a str>,
    pub(super) resource_id: Option<&'a str>,
    pub(super) ip_address: Option<&'a str>,
    pub(super) user_agent: Option<&'a str>,
    pub(super) request_method: Option<&'a str>,
    pub(super) request_path: Option<&'a str>,
    pub(super) response_status: Option<i16>,
    pub(super) outcome: &'static str,
    pub(super) duration_ms: i32,
    pub(super) request_id: Option<&'a str>,
    pub(super) metadata: String,
    pub(super) source: &'static str,
}

impl<'a> NewRow<'a> {
    pub(super) fn of(writer_id: DbId, (seq, record): &'a Numbered) -> Self {
        Self {
            id: record.id.into(),
            writer_id,
            seq: i64::try_from(*seq).unwrap_or(i64::MAX),
            timestamp: record.timestamp.into(),
            user_id: record.user_id.map(Into::into),
            username: record.username.as_deref(),
            action: &record.action,
            resource_type: record.resource_type.as_deref(),
            resource_id: record.resource_id.as_deref(),
            ip_address: record.ip_address.as_deref(),
            user_agent: record.user_agent.as_deref(),
            request_method: record.request_method.as_deref(),
            request_path: record.request_path.as_deref(),
            response_status: record.response_status.and_then(|status| i16::try_from(status).ok()),
            outcome: record.outcome.as_str(),
            duration_ms: i32::try_from(record.duration_ms).unwrap_or(i32::MAX),
            request_id: record.request_id.as_deref(),
            metadata: record.metadata.to_string(),
            source: record.source.as_str(),
        }
    }
}

impl AuditSink {
    /// What the database has of each writer.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn committed(&mut self) -> Result<HashMap<WriterId, u64>, AuditError> {
        let query = audit_writers::table.select((audit_writers::writer_id, audit_writers::last_seq));
        let rows: Vec<(DbId, i64)> = match self.connect().await? {
            Connection::Sqlite(connection) => diesel::RunQueryDsl::load(query, &mut **connection),
            Connection::Postgres(connection) => query.load(&mut **connection).await,
        }
        .map_err(|error| unavailable(&error))?;
        Ok(rows.into_iter().map(|(writer, seq)| (writer.into(), u64::try_from(seq).unwrap_or(0))).collect())
    }

    /// Writes what the database does not have yet of these records, in one
    /// transaction that also moves the writer's number: a repeat adds nothing.
    ///
    /// # Errors
    /// `Refused`: a record's content; `Fenced`: somebody else writes as this writer; `Unavailable`:
    /// anything else. Nothing is written then.
    pub async fn insert(&mut self, writer: WriterId, records: &[Numbered]) -> Result<(), AuditError> {
        let Some((last, _)) = records.last() else { return Ok(()) };
        let last = i64::try_from(*last).unwrap_or(i64::MAX);
        let timeout = self.pools.settings.timeout;
        let inserted = match self.connect().await? {
            Connection::Sqlite(connection) => audit_sqlite::insert(connection, writer, records, last),
            Connection::Postgres(connection) => {
                let work = audit_postgres::insert(connection, writer, records, last);
                match tokio::time::timeout(timeout * 4, work).await {
                    Ok(inserted) => inserted,
                    Err(_) => {
                        self.connection = None;
                        return Err(AuditError::Unavailable("no answer in time".into()));
                    }
                }
            }
        };
        inserted.map_err(|error| {
            let error = match error {
                DieselError::RollbackTransaction => AuditError::Fenced(writer),
                error => classify(&error),
            };
            if matches!(error, AuditError::Unavailable(_)) {
                self.connection = None;
            }
            error
        })
    }

    async fn connect(&mut self) -> Result<&mut Connection, AuditError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        Ok(self.connection.insert(connection))
    }

    async fn open(&self) -> Result<Connection, AuditError> {
        let away = |error: &dyn std::fmt::Display| AuditError::Unavailable(error.to_string());
        match &self.pools.settings.database {
            Database::Sqlite(path) => {
                let connection = connect::sqlite(&audit_path(path)).map_err(|error| away(&error))?;
                Ok(Connection::Sqlite(Box::new(connection)))
            }
            Database::Postgres(url) => {
                let (url, timeout) = (url.clone(), self.pools.settings.timeout);
                let opened = self
                    .pools
                    .run(async move {
                        let patience = timeout.max(Duration::from_secs(5)) * 4;
                        let connection = connect::postgres(&url, patience).await;
                        connection.map_err(|error| StoreError::Unavailable(error.to_string()))
                    })
                    .await;
                opened.map(|connection| Connection::Postgres(Box::new(connection))).map_err(|error| away(&error))
            }
        }
    }
}

/// What is wrong with the content is told apart from what is wrong with the
/// database: only the first may ever set a record aside.
fn classify(error: &DieselError) -> AuditError {
    let is_content = match error {
        DieselError::DatabaseError(kind, info) => match kind {
            DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::CheckViolation => true,
            DatabaseErrorKind::Unknown => {
                let message = info.message();
                message.contains("invalid byte sequence") || message.contains("out of range")
            }
            _ => false,
        },
        DieselError::SerializationError(_) => true,
        _ => false,
    };
    if is_content { AuditError::Refused(error.to_string()) } else { unavailable(error) }
}

fn unavailable(error: &DieselError) -> AuditError {
    AuditError::Unavailable(error.to_string())
}

/// What a batch's transaction ends with where the database has its numbers from somebody else.
pub(super) const NOT_OURS: DieselError = DieselError::RollbackTransaction;

/// Splits a batch after the number that the database has: the id of the last record up to it, which must be
/// there then, and the records that come after it.
pub(super) fn split(records: &[Numbered], last: i64) -> (Option<DbId>, &[Numbered]) {
    let last = u64::try_from(last).unwrap_or(0);
    let (known, fresh) = records.split_at(records.partition_point(|(seq, _)| *seq <= last));
    (known.last().map(|(_, record)| record.id.into()), fresh)
}

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
    /// What writes the audit log.
    pub fn audit_sink(&self) -> AuditSink {
        AuditSink { pools: Arc::clone(&self.pools), connection: None }
    }

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
