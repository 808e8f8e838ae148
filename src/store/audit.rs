//! Questions about the audit log.
//!
//! A question that an index answers costs what its page has. Of any other one it looks at so many of the records
//! that one index finds, the one that narrows it most, and says where it stopped: a page may be short although
//! more follow, and no question costs unbounded work.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::audit_question::{CountRow, Counts, Found, Index, NthFound, PageOf, Question};
use super::audit_row::AuditRow;
use super::pool::ask;
use super::schema::audit_logs;
use super::types::DbId;
use super::{Store, StoreResult, connect};
use crate::domain::audit::AuditRecord;
use crate::domain::{AuditCount, AuditFilter, AuditPage, AuditSlice, Bucket, CountedBy, RecordId};

/// How many records a page looks at, beyond those that it leaves out, where they lie side by side: in the order of ids.
const WINDOW: u64 = 3_000;

/// The same along any other index, where each record is fetched from a place of its own.
const SCATTERED_WINDOW: u64 = 2_000;

trait AuditStatements: Send {
    fn nth_found(&mut self, nth: NthFound<'_>) -> impl Future<Output = QueryResult<Option<DbId>>> + Send;
    fn page(&mut self, page: PageOf<'_>) -> impl Future<Output = QueryResult<Vec<AuditRow>>> + Send;
    fn find_record(&mut self, id: RecordId) -> impl Future<Output = QueryResult<Option<AuditRow>>> + Send;
    fn count(
        &mut self,
        question: &Question,
        bucket: Bucket,
        key: &'static str,
    ) -> impl Future<Output = QueryResult<Vec<CountRow>>> + Send;
}

macro_rules! audit_statements {
    ($($connection:ty: $hour:literal, $day:literal);*) => {$(
        impl AuditStatements for $connection {
            async fn nth_found(&mut self, nth: NthFound<'_>) -> QueryResult<Option<DbId>> {
                let found: Option<Found> = nth.get_result(self).await.optional()?;
                Ok(found.map(|found| found.id))
            }

            async fn page(&mut self, page: PageOf<'_>) -> QueryResult<Vec<AuditRow>> {
                page.load(self).await
            }

            async fn find_record(&mut self, id: RecordId) -> QueryResult<Option<AuditRow>> {
                audit_logs::table.find(DbId::from(id)).select(AuditRow::as_select()).first(self).await.optional()
            }

            async fn count(
                &mut self,
                question: &Question,
                bucket: Bucket,
                key: &'static str,
            ) -> QueryResult<Vec<CountRow>> {
                let bucket = match bucket {
                    Bucket::Hour => $hour,
                    Bucket::Day => $day,
                };
                Counts { question, bucket, key }.load(self).await
            }
        }
    )*};
}

audit_statements!(
    connect::AsyncSqlite: "timestamp / 3600000 * 3600000", "timestamp / 86400000 * 86400000";
    AsyncPgConnection: "date_trunc('hour', timestamp, 'UTC')", "date_trunc('day', timestamp, 'UTC')"
);

/// How many records that an index finds a page looks at.
fn window(index: Index, page: AuditPage) -> u64 {
    page.offset + if index == Index::Id { WINDOW } else { SCATTERED_WINDOW }
}

/// The last record that a page looks at; `None`: it looks at all that there are.
async fn end<C: AuditStatements>(
    conn: &mut C,
    question: &Question,
    index: Index,
    page: AuditPage,
) -> QueryResult<Option<DbId>> {
    conn.nth_found(NthFound { question, index, number: window(index, page) - 1 }).await
}

/// Along which index a page goes, and how much of what it finds is looked at.
struct Way {
    index: Index,
    /// `None`: all that it finds is meant.
    window: Option<u64>,
    /// Whether there was less than that.
    is_whole: bool,
}

/// The way of a question whose window goes back furthest: it narrows most.
async fn find_way<C: AuditStatements>(conn: &mut C, question: &Question, page: AuditPage) -> QueryResult<Way> {
    let mut narrowest = None;
    let indexes = question.indexes();
    if let [index] = indexes[..] {
        let window = (!question.is_answered_by(index)).then(|| window(index, page));
        return Ok(Way { index, window, is_whole: window.is_none() });
    }
    for index in indexes {
        match end(conn, question, index, page).await? {
            // With room for what comes in meanwhile.
            None => return Ok(Way { index, window: Some(2 * window(index, page)), is_whole: true }),
            Some(end) if narrowest.is_none_or(|(_, least): (Index, DbId)| end.0 < least.0) => {
                narrowest = Some((index, end));
            }
            Some(_) => {}
        }
    }
    let index = narrowest.map_or(Index::Id, |(index, _)| index);
    Ok(Way { index, window: Some(window(index, page)), is_whole: false })
}

async fn list<C: AuditStatements>(
    conn: &mut C,
    filter: &AuditFilter,
    page: AuditPage,
) -> StoreResult<AuditSlice<AuditRecord>> {
    let question = Question::of(filter, page.before);
    let Way { index, window, is_whole } = find_way(conn, &question, page).await?;
    let mut rows = conn.page(PageOf { question: &question, index, window, page }).await?;
    let is_full = rows.len() > page.limit as usize;
    rows.truncate(page.limit as usize);
    let mut items: Vec<AuditRecord> = rows.into_iter().map(Into::into).collect();
    if is_full {
        let next = items.last().map(|last| last.id);
        return Ok(AuditSlice { items, next });
    }
    let end = if is_whole { None } else { end(conn, &question, index, page).await? };
    let next = end.map(RecordId::from);
    // What came in meanwhile has moved the end: what lies beyond it now is left to the next page.
    items.retain(|item| next.is_none_or(|end| item.id >= end));
    Ok(AuditSlice { items, next })
}

impl Store {
    /// A page of audit records, newest first.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn list_audit_records(
        &self,
        filter: AuditFilter,
        page: AuditPage,
    ) -> StoreResult<AuditSlice<AuditRecord>> {
        let pools = self.pools.clone();
        self.pools.run(async move { ask!(pools, |conn| list(conn, &filter, page)) }).await
    }

    /// One audit record.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn find_audit_record(&self, id: RecordId) -> StoreResult<Option<AuditRecord>> {
        let pools = self.pools.clone();
        let row = self.pools.run(async move { ask!(pools, |conn| conn.find_record(id)) }).await?;
        Ok(row.map(Into::into))
    }

    /// How many records there are, by time and by kind; oldest first.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn count_audit_records(
        &self,
        filter: AuditFilter,
        bucket: Bucket,
        by: CountedBy,
    ) -> StoreResult<Vec<AuditCount>> {
        let pools = self.pools.clone();
        let question = Question::of(&filter, None);
        let key = match by {
            CountedBy::Action => "action",
            CountedBy::Outcome => "outcome",
            CountedBy::User => "username",
        };
        let rows = self.pools.run(async move { ask!(pools, |conn| conn.count(&question, bucket, key)) }).await?;
        let count = |row: CountRow| AuditCount { bucket: row.bucket.into(), key: row.key, count: row.count };
        Ok(rows.into_iter().map(count).collect())
    }
}
