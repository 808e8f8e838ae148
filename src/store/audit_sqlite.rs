//! Batches of audit records into SQLite: prepared inserts in one transaction.
//!
//! Blocking: it runs on the audit writer's own thread.

use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, SmallInt, Text};
use diesel::sqlite::Sqlite;

use super::audit_row::{ChainEnd, NOT_OURS, NewRow, split};
use super::schema::{audit_logs, audit_writers};
use super::types::{DbId, Id, Instant};
use crate::domain::WriterId;
use crate::proof::{Sealed, Sealer};

/// See [`super::AuditSink::insert`].
pub(super) fn insert(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    writer: WriterId,
    records: &[Sealed],
) -> QueryResult<ChainEnd> {
    let writer = DbId::from(writer);
    connection.immediate_transaction(|connection| {
        diesel::insert_into(audit_writers::table)
            .values((audit_writers::writer_id.eq(writer), audit_writers::last_seq.eq(0)))
            .on_conflict_do_nothing()
            .execute(connection)?;
        let row = audit_writers::table.find(writer);
        let (last, hash) = row.select((audit_writers::last_seq, audit_writers::last_hash)).first(connection)?;
        let (known, fresh) = split(records, last);
        if let Some(id) = known {
            audit_logs::table.find(id).select(audit_logs::seq).first::<i64>(connection).optional()?.ok_or(NOT_OURS)?;
        }
        let (rows, end) = ChainEnd::of(last, hash).extend(sealer, writer, fresh);
        for new in rows {
            new.execute(connection)?;
        }
        let moved = (audit_writers::last_seq.eq(end.number()), audit_writers::last_hash.eq(end.hash.0.as_slice()));
        diesel::update(row).set(moved).execute(connection)?;
        Ok(end)
    })
}

// Diesel's own insert leaves out the columns that are null, and so is another statement for each
// set of them, built as text for each row; this one is prepared once.
impl QueryId for NewRow<'_> {
    type QueryId = NewRow<'static>;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl diesel::RunQueryDsl<SqliteConnection> for NewRow<'_> {}

impl QueryFragment<Sqlite> for NewRow<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO audit_logs (id, writer_id, seq, hash, timestamp, user_id, username, action, resource_type, \
             resource_id, ip_address, user_agent, request_method, request_path, response_status, outcome, duration_ms, \
             request_id, metadata, source) VALUES (",
        );
        out.push_bind_param::<Id, _>(&self.id)?;
        macro_rules! bind {
            ($($kind:ty: $($field:tt).+),* $(,)?) => {$(
                out.push_sql(", ");
                out.push_bind_param::<$kind, _>(&self.$($field).+)?;
            )*};
        }
        bind! {
            Id: writer_id,
            BigInt: seq,
            Binary: hash.0,
            Instant: timestamp,
            Nullable<Id>: user_id,
            Nullable<Text>: username,
            Text: action,
            Nullable<Text>: resource_type,
            Nullable<Text>: resource_id,
            Nullable<Text>: ip_address,
            Nullable<Text>: user_agent,
            Nullable<Text>: request_method,
            Nullable<Text>: request_path,
            Nullable<SmallInt>: response_status,
            Text: outcome,
            Integer: duration_ms,
            Nullable<Text>: request_id,
            Text: metadata,
            Text: source,
        }
        out.push_sql(")");
        Ok(())
    }
}
