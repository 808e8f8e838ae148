//! Batches of audit records into SQLite: prepared inserts in one transaction.
//!
//! Blocking: it runs on the audit writer's own thread.

use diesel::prelude::*;

use super::audit::{AuditRow, NOT_OURS, Numbered, split};
use super::schema::{audit_logs, audit_writers};
use super::types::DbId;
use crate::domain::WriterId;

/// See [`super::AuditSink::insert`].
pub(super) fn insert(
    connection: &mut SqliteConnection,
    writer: WriterId,
    records: &[Numbered],
    last: i64,
) -> QueryResult<()> {
    let writer = DbId::from(writer);
    connection.immediate_transaction(|connection| {
        diesel::insert_into(audit_writers::table)
            .values((audit_writers::writer_id.eq(writer), audit_writers::last_seq.eq(0)))
            .on_conflict_do_nothing()
            .execute(connection)?;
        let row = audit_writers::table.find(writer);
        let committed: i64 = row.select(audit_writers::last_seq).first(connection)?;
        let (known, fresh) = split(records, committed);
        if let Some(id) = known {
            audit_logs::table.find(id).select(audit_logs::seq).first::<i64>(connection).optional()?.ok_or(NOT_OURS)?;
        }
        for (seq, record) in fresh {
            diesel::insert_into(audit_logs::table)
                .values((
                    AuditRow::from(record),
                    audit_logs::writer_id.eq(writer),
                    audit_logs::seq.eq(i64::try_from(*seq).unwrap_or(i64::MAX)),
                ))
                .execute(connection)?;
        }
        diesel::update(row).set(audit_writers::last_seq.eq(last.max(committed))).execute(connection)?;
        Ok(())
    })
}
