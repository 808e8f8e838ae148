//! Old audit records on SQLite: a few at a time, so that the audit writer has its turn in between.
//!
//! The room that they leave is used again by those that come: the file grows no more, and it does not shrink.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::StoreResult;
use super::connect::AsyncSqlite;
use super::old_records::OldRow;
use super::schema::audit_logs;
use super::types::DbId;
use crate::domain::{RecordId, Timestamp};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Whole days go, so that one removal a day is signed.
pub(super) fn cutoff(older_than: Timestamp) -> RecordId {
    RecordId::least_of(Timestamp::from_millis(older_than.as_millis().div_euclid(DAY_MS) * DAY_MS))
}

/// The next rows after one id and before another.
pub(super) async fn old_rows(
    connection: &mut AsyncSqlite,
    (after, before): (DbId, DbId),
    limit: u32,
) -> StoreResult<Vec<OldRow>> {
    let rows = audit_logs::table
        .filter(audit_logs::id.gt(after))
        .filter(audit_logs::id.lt(before))
        .order(audit_logs::id)
        .limit(limit.into())
        .select((audit_logs::id, audit_logs::writer_id, audit_logs::seq))
        .load(connection)
        .await?;
    Ok(rows)
}

/// Deletes rows in one statement.
pub(super) async fn delete(connection: &mut AsyncSqlite, ids: Vec<DbId>) -> StoreResult<u64> {
    if ids.is_empty() {
        return Ok(0);
    }
    let deleted = diesel::delete(audit_logs::table.filter(audit_logs::id.eq_any(ids))).execute(connection).await?;
    Ok(deleted as u64)
}
