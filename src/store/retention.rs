//! Takes old records out of the audit log, in steps that nobody feels, on a connection of its own.
//!
//! On PostgreSQL whole partitions go, and what is old in the others in small deletes; on SQLite all of it
//! in small deletes. Which step comes when, and what is signed before it, is the actor's.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use diesel_async::AsyncPgConnection;
use futures_util::future::BoxFuture;

use super::connect::{self, AsyncSqlite};
use super::migrate::audit_path;
use super::old_records::{OldPart, OldRow};
use super::pool::Pools;
use super::settings::Database;
use super::types::DbId;
use super::{ScannedRow, Store, StoreError, StoreResult, audit_scan, retention_postgres, retention_sqlite};
use crate::domain::{RecordId, Timestamp, WriterId};

/// How long one statement may take: before a partition goes it is read as a whole.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Takes old records out of the audit log.
pub struct AuditSweeper {
    pools: Arc<Pools>,
    connection: Option<Connection>,
}

enum Connection {
    Sqlite(Box<AsyncSqlite>),
    Postgres(Box<AsyncPgConnection>),
}

/// How far small deletes have come in a run.
#[derive(Debug, Clone, Default)]
pub struct Swept {
    /// Tables that are done with.
    pub(super) tables: usize,
    /// In the next one, up to which record.
    pub(super) after: Option<RecordId>,
    /// Records that went.
    pub removed: u64,
}

/// Of these rows, those that the stated ends cover: what came in later has to be stated first.
fn covered(rows: &[OldRow], ends: &HashMap<WriterId, u64>) -> Vec<DbId> {
    let is_covered = |writer: DbId, seq: i64| {
        ends.get(&writer.into()).is_some_and(|last| u64::try_from(seq).is_ok_and(|seq| seq <= *last))
    };
    rows.iter().filter(|(_, writer, seq)| is_covered(*writer, *seq)).map(|(id, ..)| *id).collect()
}

impl Store {
    /// What takes old records out of the audit log.
    pub fn audit_sweeper(&self) -> AuditSweeper {
        AuditSweeper { pools: Arc::clone(&self.pools), connection: None }
    }
}

impl AuditSweeper {
    /// Begins a run; gives the time by the database's clock. `None`: another instance is at it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn begin(&mut self, now: Timestamp) -> StoreResult<Option<Timestamp>> {
        let pools = Arc::clone(&self.pools);
        let (connection, time) = self
            .pools
            .run(async move {
                let mut connection = Connection::open(&pools).await?;
                let time = match &mut connection {
                    // One process has the journal, and so the file.
                    Connection::Sqlite(_) => Some(now),
                    Connection::Postgres(connection) => retention_postgres::claim(connection).await?,
                };
                Ok((connection, time))
            })
            .await?;
        self.connection = time.is_some().then_some(connection);
        Ok(time)
    }

    /// Ends the run: another instance may begin one.
    pub fn end(&mut self) {
        // The lock ends with the connection.
        self.connection = None;
    }

    /// Makes the partitions that are missing now and for the next weeks, where records are kept for so many
    /// days (0: for ever); gives those that can't be made, for the default partition has records of theirs.
    ///
    /// # Errors
    /// `Unavailable`, also where a lock was not to be had at once: what was made stays.
    pub async fn make_partitions(&mut self, now: Timestamp, days: u32) -> StoreResult<Vec<String>> {
        self.work(move |connection| {
            Box::pin(async move {
                match connection {
                    Connection::Sqlite(_) => Ok(Vec::new()),
                    Connection::Postgres(connection) => {
                        retention_postgres::make_partitions(connection, now, days).await
                    }
                }
            })
        })
        .await
    }

    /// Up to which id (exclusive) records are removed that are older than this time: on PostgreSQL it is a
    /// partition's bound, on SQLite the beginning of a day (UTC).
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn cutoff(&mut self, older_than: Timestamp) -> StoreResult<RecordId> {
        self.work(move |connection| {
            Box::pin(async move {
                match connection {
                    Connection::Sqlite(_) => Ok(retention_sqlite::cutoff(older_than)),
                    Connection::Postgres(connection) => retention_postgres::cutoff(connection, older_than).await,
                }
            })
        })
        .await
    }

    /// The next rows before an id in order of ids, after one of them, so many at most: fewer where one behind them
    /// is none.
    ///
    /// # Errors
    /// `Unavailable`; `Unreadable`: the next one is none.
    pub async fn scan(
        &mut self,
        after: Option<RecordId>,
        before: RecordId,
        limit: u32,
    ) -> StoreResult<Vec<ScannedRow>> {
        let (from, before) = (after.map_or(Bound::Unbounded, Bound::Excluded), Some(before));
        self.work(move |connection| {
            Box::pin(async move {
                match connection {
                    Connection::Sqlite(connection) => audit_scan::page(&mut **connection, from, before, limit).await,
                    Connection::Postgres(connection) => audit_scan::page(&mut **connection, from, before, limit).await,
                }
            })
        })
        .await
    }

    /// The partitions that have nothing from this id on, and those that an earlier run has detached.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn old_parts(&mut self, before: RecordId) -> StoreResult<Vec<OldPart>> {
        self.work(move |connection| {
            Box::pin(async move {
                match connection {
                    Connection::Sqlite(_) => Ok(Vec::new()),
                    Connection::Postgres(connection) => retention_postgres::old_parts(connection, before).await,
                }
            })
        })
        .await
    }

    /// Makes a partition a table of its own, which nobody reads and nobody writes.
    ///
    /// # Errors
    /// `Unavailable`, also where the lock was not to be had at once: try again later.
    pub async fn detach(&mut self, part: &OldPart) -> StoreResult<OldPart> {
        let part = part.clone();
        self.work(move |connection| {
            Box::pin(async move {
                match connection {
                    Connection::Postgres(connection) if !part.is_apart => {
                        retention_postgres::detach(connection, &part).await
                    }
                    _ => Ok(part),
                }
            })
        })
        .await
    }

    /// Drops a detached partition; gives how many records went with it. Those that the stated ends do not cover,
    /// as they came in late, are put back into the log before that.
    ///
    /// # Errors
    /// `Unavailable`: nothing is done then.
    pub async fn drop_part(&mut self, part: &OldPart, ends: HashMap<WriterId, u64>) -> StoreResult<u64> {
        let part = part.clone();
        self.work(move |connection| {
            Box::pin(async move {
                match connection {
                    Connection::Postgres(connection) if part.is_apart => {
                        retention_postgres::drop_part(connection, &part, &ends).await
                    }
                    _ => Ok(0),
                }
            })
        })
        .await
    }

    /// Deletes the next few records before an id, of each writer those up to a number; false: there are no more.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn sweep(
        &mut self,
        swept: &mut Swept,
        before: RecordId,
        ends: HashMap<WriterId, u64>,
        limit: u32,
    ) -> StoreResult<bool> {
        let (tables, after) = (swept.tables, swept.after.map_or(DbId(uuid::Uuid::nil()), DbId::from));
        let found = self
            .work(move |connection| {
                Box::pin(async move {
                    let range = (after, DbId::from(before));
                    match connection {
                        Connection::Sqlite(_) if tables > 0 => Ok(None),
                        Connection::Sqlite(connection) => {
                            let rows = retention_sqlite::old_rows(connection, range, limit).await?;
                            let removed = retention_sqlite::delete(connection, covered(&rows, &ends)).await?;
                            Ok(Some((rows, removed)))
                        }
                        Connection::Postgres(connection) => {
                            let tables_left = retention_postgres::straddling(connection, before).await?;
                            let Some(table) = tables_left.get(tables) else { return Ok(None) };
                            let rows = retention_postgres::old_rows(connection, table, range, limit).await?;
                            let removed = retention_postgres::delete(connection, table, covered(&rows, &ends)).await?;
                            Ok(Some((rows, removed)))
                        }
                    }
                })
            })
            .await?;
        let Some((rows, removed)) = found else { return Ok(false) };
        swept.removed += removed;
        match rows.last() {
            Some((last, ..)) if rows.len() >= limit as usize => swept.after = Some((*last).into()),
            _ => (swept.tables, swept.after) = (swept.tables + 1, None),
        }
        Ok(true)
    }

    /// Works on the run's connection, to the end of the step also where the caller goes away.
    async fn work<T: Send + 'static>(
        &mut self,
        step: impl for<'a> FnOnce(&'a mut Connection) -> BoxFuture<'a, StoreResult<T>> + Send + 'static,
    ) -> StoreResult<T> {
        let Some(mut connection) = self.connection.take() else {
            return Err(StoreError::Unavailable("no run has begun".into()));
        };
        let work = async move {
            let done = step(&mut connection).await;
            Ok((connection, done))
        };
        let (connection, done) = self.pools.run_long(work).await?;
        self.connection = Some(connection);
        done
    }
}

impl Connection {
    async fn open(pools: &Pools) -> StoreResult<Self> {
        let opened = match &pools.settings.database {
            Database::Sqlite(path) => {
                connect::async_sqlite(&audit_path(path)).await.map(|connection| Self::Sqlite(Box::new(connection)))
            }
            Database::Postgres(url) => {
                connect::postgres(url, PATIENCE).await.map(|connection| Self::Postgres(Box::new(connection)))
            }
        };
        opened.map_err(|error| StoreError::Unavailable(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_stated_goes() {
        let (one, other, unknown) = (WriterId::generate(), WriterId::generate(), WriterId::generate());
        let row = |writer: WriterId, seq| (DbId::from(RecordId::generate()), DbId::from(writer), seq);
        let rows = [row(one, 1), row(one, 7), row(other, 8), row(other, 9), row(unknown, 1), row(one, -1)];
        let ends = HashMap::from([(one, 7), (other, 8)]);
        assert_eq!(covered(&rows, &ends), rows[..3].iter().map(|(id, ..)| *id).collect::<Vec<_>>());
    }
}
