//! Questions about the audit log.
//!
//! A question that an index answers costs what its page has. Any other one looks through a window of
//! records along the best index there is, and says where it stopped: a page may be short although more
//! follow, and no question costs unbounded work.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::audit_row::AuditRow;
use super::pool::ask;
use super::schema::audit_logs;
use super::types::{DbId, DbTime, Instant};
use super::{Store, StoreResult, connect};
use crate::domain::audit::AuditRecord;
use crate::domain::{AuditCount, AuditFilter, AuditPage, AuditSlice, Bucket, CountedBy, RecordId, Timestamp};

/// How many records a page looks through at most, beyond those that it leaves out.
const WINDOW: u64 = 10_000;

pub(super) fn least_id(time: Timestamp) -> DbId {
    RecordId::least_of(time).into()
}

#[diesel::declare_sql_function]
extern "SQL" {
    fn lower(text: Nullable<Text>) -> Nullable<Text>;
    fn substr(text: Nullable<Text>, from: Integer, count: Integer) -> Nullable<Text>;
}

/// Along which index the records are looked through, each in order of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Index {
    Resource,
    User,
    Action,
    Id,
}

/// The index that narrows a question most, and whether it alone answers it.
fn index_of(filter: &AuditFilter) -> (Index, bool) {
    let times = AuditFilter { since: filter.since, until: filter.until, ..AuditFilter::default() };
    let (index, answered) = if filter.resource_id.is_some() {
        let (resource_id, resource_type) = (filter.resource_id.clone(), filter.resource_type.clone());
        (Index::Resource, AuditFilter { resource_id, resource_type, ..times })
    } else if filter.user_id.is_some() {
        (Index::User, AuditFilter { user_id: filter.user_id, ..times })
    } else if filter.action.is_some() {
        (Index::Action, AuditFilter { action: filter.action.clone(), ..times })
    } else {
        (Index::Id, times)
    };
    (index, answered == *filter)
}

trait AuditStatements: Send {
    /// Up to which id a question that no index answers is looked through; `None`: to the end.
    fn window(
        &mut self,
        filter: &AuditFilter,
        page: AuditPage,
        index: Index,
    ) -> impl Future<Output = QueryResult<Option<DbId>>> + Send;
    /// The rows of a page and one more, none of them older than `oldest`.
    fn page(
        &mut self,
        filter: &AuditFilter,
        page: AuditPage,
        oldest: Option<DbId>,
    ) -> impl Future<Output = QueryResult<Vec<AuditRow>>> + Send;
    fn find_record(&mut self, id: RecordId) -> impl Future<Output = QueryResult<Option<AuditRow>>> + Send;
    fn count(
        &mut self,
        filter: &AuditFilter,
        bucket: Bucket,
        by: CountedBy,
    ) -> impl Future<Output = QueryResult<Vec<CountRow>>> + Send;
}

type CountRow = (DbTime, Option<String>, i64);

/// The conditions that the index of resources, of users or of actions answers.
macro_rules! narrow_by_index {
    ($query:ident, $filter:expr, $index:expr) => {
        if $index == Index::Resource {
            if let Some(id) = &$filter.resource_id {
                $query = $query.filter(audit_logs::resource_id.eq(id.clone()));
            }
            if let Some(kind) = &$filter.resource_type {
                $query = $query.filter(audit_logs::resource_type.eq(kind.clone()));
            }
        }
        if let (Index::User, Some(user)) = ($index, $filter.user_id) {
            $query = $query.filter(audit_logs::user_id.eq(DbId::from(user)));
        }
        if let (Index::Action, Some(action)) = ($index, &$filter.action) {
            $query = $query.filter(audit_logs::action.eq(action.clone()));
        }
    };
}

macro_rules! narrow_by_time {
    ($query:ident, $filter:expr, $before:expr) => {
        if let Some(since) = $filter.since {
            $query = $query.filter(audit_logs::id.ge(least_id(since)));
        }
        if let Some(until) = $filter.until {
            $query = $query.filter(audit_logs::id.lt(least_id(until)));
        }
        if let Some(before) = $before {
            $query = $query.filter(audit_logs::id.lt(DbId::from(before)));
        }
    };
}

/// All conditions but those of time.
macro_rules! narrow {
    ($query:ident, $filter:expr) => {
        for index in [Index::Resource, Index::User, Index::Action] {
            narrow_by_index!($query, $filter, index);
        }
        if let (None, Some(kind)) = (&$filter.resource_id, &$filter.resource_type) {
            $query = $query.filter(audit_logs::resource_type.eq(kind.clone()));
        }
        if let Some(name) = &$filter.username {
            $query = $query.filter(lower(audit_logs::username).eq(name.clone()));
        }
        if let Some(outcome) = $filter.outcome {
            $query = $query.filter(audit_logs::outcome.eq(outcome.as_str()));
        }
        if let Some(method) = &$filter.method {
            $query = $query.filter(audit_logs::request_method.eq(method.clone()));
        }
        if let Some(status) = $filter.status {
            $query = $query.filter(audit_logs::response_status.eq(i16::try_from(status).unwrap_or(0)));
        }
        if let Some(path) = &$filter.path {
            let length = i32::try_from(path.chars().count()).unwrap_or(i32::MAX);
            $query = $query.filter(substr(audit_logs::request_path, 1, length).eq(path.clone()));
        }
        if let Some(address) = $filter.ip_address {
            $query = $query.filter(audit_logs::ip_address.eq(address.to_string()));
        }
        if let Some(id) = &$filter.request_id {
            $query = $query.filter(audit_logs::request_id.eq(id.clone()));
        }
    };
}

macro_rules! audit_statements {
    ($($connection:ty => $db:ty, $hour:literal, $day:literal);*) => {$(
        impl AuditStatements for $connection {
            async fn window(
                &mut self,
                filter: &AuditFilter,
                page: AuditPage,
                index: Index,
            ) -> QueryResult<Option<DbId>> {
                let mut query = audit_logs::table.select(audit_logs::id).into_boxed::<$db>();
                narrow_by_time!(query, filter, page.before);
                narrow_by_index!(query, filter, index);
                query
                    .order(audit_logs::id.desc())
                    .offset(i64::try_from(WINDOW - 1 + page.offset).unwrap_or(i64::MAX))
                    .limit(1)
                    .first(self)
                    .await
                    .optional()
            }

            async fn page(
                &mut self,
                filter: &AuditFilter,
                page: AuditPage,
                oldest: Option<DbId>,
            ) -> QueryResult<Vec<AuditRow>> {
                let mut query = audit_logs::table.select(AuditRow::as_select()).into_boxed::<$db>();
                narrow_by_time!(query, filter, page.before);
                narrow!(query, filter);
                if let Some(oldest) = oldest {
                    query = query.filter(audit_logs::id.ge(oldest));
                }
                query
                    .order(audit_logs::id.desc())
                    .limit(i64::from(page.limit) + 1)
                    .offset(i64::try_from(page.offset).unwrap_or(i64::MAX))
                    .load(self)
                    .await
            }

            async fn find_record(&mut self, id: RecordId) -> QueryResult<Option<AuditRow>> {
                audit_logs::table.find(DbId::from(id)).select(AuditRow::as_select()).first(self).await.optional()
            }

            async fn count(
                &mut self,
                filter: &AuditFilter,
                bucket: Bucket,
                by: CountedBy,
            ) -> QueryResult<Vec<CountRow>> {
                let start = match bucket {
                    Bucket::Hour => $hour,
                    Bucket::Day => $day,
                };
                let key = match by {
                    CountedBy::Action => "action",
                    CountedBy::Outcome => "outcome",
                    CountedBy::User => "username",
                };
                let mut query = audit_logs::table
                    .group_by((sql::<Instant>("1"), sql::<Nullable<Text>>("2")))
                    .select((sql::<Instant>(start), sql::<Nullable<Text>>(key), sql::<BigInt>("count(*)")))
                    .into_boxed::<$db>();
                narrow_by_time!(query, filter, None::<RecordId>);
                narrow!(query, filter);
                query.order((sql::<Instant>("1"), sql::<Nullable<Text>>("2"))).load(self).await
            }
        }
    )*};
}

audit_statements!(
    connect::AsyncSqlite => diesel::sqlite::Sqlite,
        "timestamp / 3600000 * 3600000", "timestamp / 86400000 * 86400000";
    AsyncPgConnection => diesel::pg::Pg,
        "date_trunc('hour', timestamp, 'UTC')", "date_trunc('day', timestamp, 'UTC')"
);

async fn list<C: AuditStatements>(
    conn: &mut C,
    filter: &AuditFilter,
    page: AuditPage,
) -> StoreResult<AuditSlice<AuditRecord>> {
    let (index, is_answered) = index_of(filter);
    let oldest = if is_answered { None } else { conn.window(filter, page, index).await? };
    let mut rows = conn.page(filter, page, oldest).await?;
    let is_full = rows.len() > page.limit as usize;
    rows.truncate(page.limit as usize);
    let items: Vec<AuditRecord> = rows.into_iter().map(Into::into).collect();
    let next = if is_full { items.last().map(|last| last.id) } else { oldest.map(Into::into) };
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
        let rows = self.pools.run(async move { ask!(pools, |conn| conn.count(&filter, bucket, by)) }).await?;
        Ok(rows.into_iter().map(|(bucket, key, count)| AuditCount { bucket: bucket.into(), key, count }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_goes_along_the_index_that_narrows_it_most() {
        let action = || AuditFilter { action: Some("LOGIN".into()), ..AuditFilter::default() };
        assert_eq!(index_of(&AuditFilter::default()), (Index::Id, true));
        assert_eq!(index_of(&action()), (Index::Action, true));
        let since = Some(Timestamp::from_millis(1));
        assert_eq!(index_of(&AuditFilter { since, ..action() }), (Index::Action, true));
        assert_eq!(index_of(&AuditFilter { status: Some(200), ..action() }), (Index::Action, false));
        let user_id = Some(crate::domain::UserId::generate());
        assert_eq!(index_of(&AuditFilter { user_id, ..action() }), (Index::User, false));
        let kind = AuditFilter { resource_type: Some("run".into()), ..AuditFilter::default() };
        assert_eq!(index_of(&kind), (Index::Id, false));
        assert_eq!(index_of(&AuditFilter { resource_id: Some("7".into()), ..kind }), (Index::Resource, true));
    }
}
