//! Batches of audit records into the database, exactly once.
//!
//! The one place where the two databases differ: SQLite keeps the log in a
//! file of its own and takes rows one by one in one transaction, PostgreSQL
//! takes a whole batch as arrays in one statement, or, when there are many, by COPY.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::audit_copy::{Copied, Copying};
use super::audit_row::ChainEnd;
use super::connect;
use super::migrate::audit_path;
use super::pool::Pools;
use super::schema::audit_writers;
use super::settings::Database;
use super::types::DbId;
use super::{Store, StoreError, audit_copy, audit_postgres, audit_sqlite};
use crate::domain::WriterId;
use crate::proof::{Sealed, Sealer};

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

/// Writes batches on a connection of its own, outside the pool.
pub struct AuditSink {
    pools: Arc<Pools>,
    connection: Option<Connection>,
    copying: Option<Copying>,
    sealer: Sealer,
    /// Where the chains ended when we last looked: what is inserted after one looks whether it still does.
    ends: HashMap<WriterId, ChainEnd>,
}

enum Connection {
    Sqlite(Box<SqliteConnection>),
    Postgres(Box<AsyncPgConnection>),
}

impl Store {
    /// What writes the audit log.
    pub fn audit_sink(&self, sealer: Sealer) -> AuditSink {
        AuditSink { pools: Arc::clone(&self.pools), connection: None, copying: None, sealer, ends: HashMap::new() }
    }
}

impl AuditSink {
    /// What the database has of each writer.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn committed(&mut self) -> Result<HashMap<WriterId, u64>, AuditError> {
        let query =
            audit_writers::table.select((audit_writers::writer_id, audit_writers::last_seq, audit_writers::last_hash));
        let rows: Vec<(DbId, i64, Option<Vec<u8>>)> = match self.connect().await? {
            Connection::Sqlite(connection) => diesel::RunQueryDsl::load(query, &mut **connection),
            Connection::Postgres(connection) => query.load(&mut **connection).await,
        }
        .map_err(|error| unavailable(&error))?;
        self.ends = rows.into_iter().map(|(writer, seq, hash)| (writer.into(), ChainEnd::of(seq, hash))).collect();
        Ok(self.ends.iter().map(|(writer, end)| (*writer, end.seq)).collect())
    }

    /// Writes what the database does not have yet of these records, each linked to the one before, in one
    /// transaction that also moves the writer's number: a repeat adds nothing.
    ///
    /// # Errors
    /// `Refused`: a record's content; `Fenced`: somebody else writes as this writer; `Unavailable`:
    /// anything else. Nothing is written then.
    pub async fn insert(&mut self, writer: WriterId, records: &[Sealed]) -> Result<(), AuditError> {
        if records.is_empty() {
            return Ok(());
        }
        let timeout = self.pools.settings.timeout;
        let (sealer, end) = (self.sealer.clone(), self.ends.get(&writer).copied());
        if let Some(end) = end
            && records.len() >= audit_copy::LEAST
            && let Some(end) = self.copy(writer, records, end).await?
        {
            self.ends.insert(writer, end);
            return Ok(());
        }
        let inserted = match self.connect().await? {
            Connection::Sqlite(connection) => audit_sqlite::insert(connection, &sealer, writer, records),
            Connection::Postgres(connection) => {
                let work = audit_postgres::insert(connection, &sealer, writer, records, end);
                match tokio::time::timeout(timeout * 4, work).await {
                    Ok(inserted) => inserted,
                    Err(_) => {
                        self.connection = None;
                        return Err(AuditError::Unavailable("no answer in time".into()));
                    }
                }
            }
        };
        let inserted = inserted.map(|end| self.ends.insert(writer, end));
        inserted.map(drop).map_err(|error| {
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

    /// How many records a batch has at most: on SQLite it holds the file's lock, on PostgreSQL none that anyone needs.
    pub fn batch(&self) -> usize {
        match self.pools.settings.database {
            Database::Sqlite(_) => 2000,
            Database::Postgres(_) => 10_000,
        }
    }

    /// A large batch into PostgreSQL. `None`: nothing was done, and somebody else has to look.
    async fn copy(
        &mut self,
        writer: WriterId,
        records: &[Sealed],
        end: ChainEnd,
    ) -> Result<Option<ChainEnd>, AuditError> {
        let Database::Postgres(url) = &self.pools.settings.database else { return Ok(None) };
        let patience = self.patience();
        let copying = match self.copying.take() {
            Some(copying) => copying,
            None => Copying::open(&self.pools, url.clone(), patience)
                .await
                .map_err(|error| AuditError::Unavailable(error.to_string()))?,
        };
        match tokio::time::timeout(patience, copying.insert(&self.sealer, writer, records, end)).await {
            Ok(Ok(copied)) => {
                self.copying = Some(copying);
                Ok(match copied {
                    Copied::Done(end) => Some(end),
                    Copied::Not => None,
                })
            }
            Ok(Err(error)) => Err(AuditError::Unavailable(connect::describe(&error))),
            Err(_) => Err(AuditError::Unavailable("no answer in time".into())),
        }
    }

    /// How long a statement may take: nobody waits for one of these.
    fn patience(&self) -> Duration {
        self.pools.settings.timeout.max(Duration::from_secs(5)) * 4
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
                let (url, patience) = (url.clone(), self.patience());
                let opened = self
                    .pools
                    .run(async move {
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
