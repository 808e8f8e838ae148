//! A question about the audit log as SQL: along which index, and how far.
//!
//! Written out, and not composed by diesel, for three things that it has to say: which one index finds the
//! records (the other conditions stand outside a subquery that no planner looks into), how many of them are
//! looked at, and that it is planned anew each time, with its values in sight: a plan that was made for
//! anybody is a bad one for whoever has the most records.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{SmallInt, Text, Untyped};
use diesel::sqlite::Sqlite;

use super::types::{DbId, DbTime, Id};
use crate::domain::audit::Outcome;
use crate::domain::{AuditFilter, AuditPage, RecordId};

/// The columns of an [`super::audit_row::AuditRow`].
const COLUMNS: &str = "id, timestamp, user_id, username, action, resource_type, resource_id, ip_address, user_agent, \
                       request_method, request_path, response_status, outcome, duration_ms, request_id, metadata, source";

/// Along which index records are found, each in order of their ids. In the order in which they usually narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    RequestId,
    ResourceId,
    Address,
    User,
    Username,
    /// Of all outcomes but success.
    Outcome,
    /// Of all statuses from 400 on.
    Status,
    Action,
    ResourceType,
    /// The primary key.
    Id,
}

enum Value {
    Id(DbId),
    Text(String),
    Status(i16),
}

/// One thing that records have to be.
struct Condition {
    /// The index that finds such records.
    index: Index,
    /// What SQLite has to read before it uses the index, which has but a part of the records. PostgreSQL sees it by the
    /// value, and would take it for one condition more.
    part: &'static str,
    /// Up to the value.
    sql: String,
    value: Value,
}

/// Which records are meant.
pub(super) struct Question {
    times: Vec<Condition>,
    conditions: Vec<Condition>,
}

impl Question {
    /// `before`: where the page before ended.
    pub(super) fn of(filter: &AuditFilter, before: Option<RecordId>) -> Self {
        let AuditFilter { since, until, .. } = filter;
        let time = |sql: &str, id| Condition::new(Index::Id, sql, Value::Id(id));
        let times = [
            since.map(|since| time("id >= ", RecordId::least_of(since).into())),
            until.map(|until| time("id < ", RecordId::least_of(until).into())),
            before.map(|before| time("id < ", before.into())),
        ];
        Self { times: times.into_iter().flatten().collect(), conditions: conditions(filter) }
    }

    /// The indexes that find records of this question; the primary key where there is no other.
    pub(super) fn indexes(&self) -> Vec<Index> {
        let indexes: Vec<Index> =
            self.conditions.iter().map(|condition| condition.index).filter(|index| *index != Index::Id).collect();
        if indexes.is_empty() { vec![Index::Id] } else { indexes }
    }

    /// Whether all that an index finds is meant.
    pub(super) fn is_answered_by(&self, index: Index) -> bool {
        self.left_by(index).next().is_none()
    }

    /// What an index finds.
    fn found_by(&self, index: Index) -> impl Iterator<Item = &Condition> {
        let is_found = move |condition: &&Condition| condition.index == index && index != Index::Id;
        self.times.iter().chain(self.conditions.iter().filter(is_found))
    }

    /// What has to be looked at in each record that an index finds.
    fn left_by(&self, index: Index) -> impl Iterator<Item = &Condition> {
        self.conditions.iter().filter(move |condition| condition.index != index || index == Index::Id)
    }
}

impl Condition {
    fn new(index: Index, sql: impl Into<String>, value: Value) -> Self {
        Self { index, part: "", sql: sql.into(), value }
    }

    fn in_part(self, index: Index, part: &'static str) -> Self {
        Self { index, part, ..self }
    }
}

fn conditions(filter: &AuditFilter) -> Vec<Condition> {
    // Whatever is added to a filter has to find its place here.
    let AuditFilter {
        user_id,
        username,
        action,
        resource_type,
        resource_id,
        outcome,
        method,
        status,
        path,
        ip_address,
        request_id,
        since: _,
        until: _,
    } = filter;
    let text = |index, sql: &str, value: &Option<String>| {
        value.clone().map(|value| Condition::new(index, sql, Value::Text(value)))
    };
    let status = status.map(|status| {
        let value = Value::Status(i16::try_from(status).unwrap_or(0));
        let condition = Condition::new(Index::Id, "response_status = ", value);
        if status < 400 { condition } else { condition.in_part(Index::Status, "response_status >= 400 AND ") }
    });
    let outcome = outcome.map(|outcome| {
        let condition = Condition::new(Index::Id, "outcome = ", Value::Text(outcome.as_str().to_owned()));
        if outcome == Outcome::Success {
            condition
        } else {
            condition.in_part(Index::Outcome, "outcome <> 'success' AND ")
        }
    });
    let path = path.clone().map(|path| {
        let sql = format!("substr(request_path, 1, {}) = ", path.chars().count());
        Condition::new(Index::Id, sql, Value::Text(path))
    });
    let conditions = [
        text(Index::RequestId, "request_id = ", request_id),
        text(Index::ResourceId, "resource_id = ", resource_id),
        text(Index::Address, "ip_address = ", &ip_address.map(|address| address.to_string())),
        user_id.map(|user| Condition::new(Index::User, "user_id = ", Value::Id(user.into()))),
        text(Index::Username, "lower(username) = ", username),
        outcome,
        status,
        text(Index::Action, "action = ", action),
        text(Index::ResourceType, "resource_type = ", resource_type),
        text(Index::Id, "request_method = ", method),
        path,
    ];
    conditions.into_iter().flatten().collect()
}

/// The id of a record that an index finds, so many after the newest.
pub(super) struct NthFound<'a> {
    pub(super) question: &'a Question,
    pub(super) index: Index,
    pub(super) number: u64,
}

#[derive(QueryableByName)]
pub(super) struct Found {
    #[diesel(sql_type = Id)]
    pub(super) id: DbId,
}

/// A page of records, and one more.
pub(super) struct PageOf<'a> {
    pub(super) question: &'a Question,
    pub(super) index: Index,
    /// How many of those that the index finds are looked at; `None`: all of them are meant.
    pub(super) window: Option<u64>,
    pub(super) page: AuditPage,
}

/// How many records there are by time and kind.
pub(super) struct Counts<'a> {
    pub(super) question: &'a Question,
    pub(super) bucket: &'static str,
    pub(super) key: &'static str,
}

#[derive(QueryableByName)]
pub(super) struct CountRow {
    #[diesel(sql_type = super::types::Instant)]
    pub(super) bucket: DbTime,
    #[diesel(sql_type = diesel::sql_types::Nullable<Text>)]
    pub(super) key: Option<String>,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    pub(super) count: i64,
}

macro_rules! queries {
    ($($name:ident),*) => {$(
        impl Query for $name<'_> {
            type SqlType = Untyped;
        }

        impl QueryId for $name<'_> {
            type QueryId = ();

            const HAS_STATIC_QUERY_ID: bool = false;
        }
    )*};
}

queries!(NthFound, PageOf, Counts);

macro_rules! fragments {
    ($($db:ty: $part:expr, $in_order:literal);*) => {$(
        impl QueryFragment<$db> for Condition {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, $db>) -> QueryResult<()> {
                let part: fn(&Self) -> &'static str = $part;
                out.push_sql(" AND ");
                out.push_sql(part(self));
                out.push_sql(&self.sql);
                match &self.value {
                    Value::Id(id) => out.push_bind_param::<Id, _>(id),
                    Value::Text(text) => out.push_bind_param::<Text, _>(text),
                    Value::Status(status) => out.push_bind_param::<SmallInt, _>(status),
                }
            }
        }

        impl QueryFragment<$db> for NthFound<'_> {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, $db>) -> QueryResult<()> {
                out.unsafe_to_cache_prepared();
                out.push_sql("SELECT id FROM audit_logs WHERE true");
                for condition in self.question.found_by(self.index) {
                    condition.walk_ast(out.reborrow())?;
                }
                out.push_sql(&format!(" ORDER BY id DESC LIMIT 1 OFFSET {}", self.number));
                Ok(())
            }
        }

        impl QueryFragment<$db> for PageOf<'_> {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, $db>) -> QueryResult<()> {
                let Self { question, index, window, page: AuditPage { limit, offset, .. } } = self;
                out.unsafe_to_cache_prepared();
                if window.is_some() {
                    out.push_sql(&format!("SELECT {COLUMNS} FROM ("));
                }
                out.push_sql(&format!("SELECT {COLUMNS} FROM audit_logs WHERE true"));
                for condition in question.found_by(*index) {
                    condition.walk_ast(out.reborrow())?;
                }
                out.push_sql(" ORDER BY id DESC");
                if let Some(window) = window {
                    out.push_sql(&format!(" LIMIT {window}) AS found WHERE true"));
                    for condition in question.left_by(*index) {
                        condition.walk_ast(out.reborrow())?;
                    }
                    out.push_sql($in_order);
                }
                out.push_sql(&format!(" LIMIT {} OFFSET {offset}", limit + 1));
                Ok(())
            }
        }

        impl QueryFragment<$db> for Counts<'_> {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, $db>) -> QueryResult<()> {
                let Self { question, bucket, key } = self;
                out.unsafe_to_cache_prepared();
                out.push_sql(&format!(
                    "SELECT {bucket} AS bucket, {key} AS key, count(*) AS count FROM audit_logs WHERE true"
                ));
                for condition in question.times.iter().chain(&question.conditions) {
                    condition.walk_ast(out.reborrow())?;
                }
                out.push_sql(" GROUP BY 1, 2 ORDER BY 1, 2");
                Ok(())
            }
        }
    )*};
}

// SQLite hands the rows of such a subquery on as they come, and would sort them anew.
fragments!(Pg: |_| "", " ORDER BY id DESC"; Sqlite: |condition| condition.part, "");

#[cfg(test)]
mod tests {
    use diesel::debug_query;

    use super::*;
    use crate::domain::{Timestamp, UserId};

    fn action() -> AuditFilter {
        AuditFilter { action: Some("LOGIN".into()), ..AuditFilter::default() }
    }

    #[test]
    fn a_question_goes_along_the_indexes_of_its_filters() {
        let indexes = |filter: &AuditFilter| {
            let question = Question::of(filter, None);
            let answered: Vec<bool> = question.indexes().iter().map(|index| question.is_answered_by(*index)).collect();
            (question.indexes(), answered)
        };
        assert_eq!(indexes(&AuditFilter::default()), (vec![Index::Id], vec![true]));
        assert_eq!(indexes(&action()), (vec![Index::Action], vec![true]));
        let since = Some(Timestamp::from_millis(1));
        assert_eq!(indexes(&AuditFilter { since, ..action() }), (vec![Index::Action], vec![true]));
        assert_eq!(indexes(&AuditFilter { status: Some(200), ..action() }), (vec![Index::Action], vec![false]));
        assert_eq!(
            indexes(&AuditFilter { status: Some(403), ..action() }),
            (vec![Index::Status, Index::Action], vec![false; 2])
        );
        let user_id = Some(UserId::generate());
        assert_eq!(indexes(&AuditFilter { user_id, ..action() }), (vec![Index::User, Index::Action], vec![false; 2]));
        let method = AuditFilter { method: Some("GET".into()), ..AuditFilter::default() };
        assert_eq!(indexes(&method), (vec![Index::Id], vec![false]));
    }

    #[test]
    fn what_an_index_finds_is_looked_through_within_bounds() {
        let filter = AuditFilter { since: Some(Timestamp::from_millis(1)), outcome: Some(Outcome::Denied), ..action() };
        let question = Question::of(&filter, None);
        let page = AuditPage { limit: 100, offset: 7, before: None };
        let page = PageOf { question: &question, index: Index::Outcome, window: Some(2007), page };
        let sql = debug_query::<Pg, _>(&page).to_string().replace(COLUMNS, "*");
        let sql = sql.split(" -- ").next().unwrap_or_default();
        assert_eq!(
            sql,
            "SELECT * FROM (SELECT * FROM audit_logs WHERE true AND id >= $1 AND outcome = $2 \
             ORDER BY id DESC LIMIT 2007) AS found WHERE true AND action = $3 ORDER BY id DESC LIMIT 101 OFFSET 7"
        );
    }
}
