//! Batches of audit records into PostgreSQL: arrays in one statement.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, SmallInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::audit_row::{NOT_OURS, NewRow, Numbered, split};
use super::schema::{audit_logs, audit_writers};
use super::types::{DbId, Id, Instant};
use crate::domain::WriterId;

/// See [`super::AuditSink::insert`].
pub(super) async fn insert(
    connection: &mut AsyncPgConnection,
    writer: WriterId,
    records: &[Numbered],
    last: i64,
) -> QueryResult<()> {
    diesel_async::AsyncConnection::transaction(connection, async move |connection| {
        diesel::insert_into(audit_writers::table)
            .values((audit_writers::writer_id.eq(DbId::from(writer)), audit_writers::last_seq.eq(0)))
            .on_conflict_do_nothing()
            .execute(connection)
            .await?;
        // The lock fences off a second process that copies the same journal.
        let committed: i64 = audit_writers::table
            .find(DbId::from(writer))
            .select(audit_writers::last_seq)
            .for_update()
            .first(connection)
            .await?;
        let (known, fresh) = split(records, committed);
        if let Some(id) = known {
            let query = audit_logs::table.find(id).select(audit_logs::seq);
            query.first::<i64>(connection).await.optional()?.ok_or(NOT_OURS)?;
        }
        insert_arrays(connection, writer, fresh).await?;
        diesel::update(audit_writers::table.find(DbId::from(writer)))
            .set(audit_writers::last_seq.eq(last.max(committed)))
            .execute(connection)
            .await?;
        Ok(())
    })
    .await
}

/// One statement, whatever the number of rows.
const INSERT_ARRAYS: &str = "INSERT INTO audit_logs (id, writer_id, seq, timestamp, user_id, username, action, \
    resource_type, resource_id, ip_address, user_agent, request_method, request_path, response_status, outcome, \
    duration_ms, request_id, metadata, source) \
    SELECT id, $2, seq, timestamp, user_id, username, action, resource_type, resource_id, ip_address, user_agent, \
    request_method, request_path, response_status, outcome, duration_ms, request_id, metadata, source \
    FROM unnest($1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) \
    AS t (id, seq, timestamp, user_id, username, action, resource_type, resource_id, ip_address, user_agent, \
    request_method, request_path, response_status, outcome, duration_ms, request_id, metadata, source)";

async fn insert_arrays(connection: &mut AsyncPgConnection, writer: WriterId, records: &[Numbered]) -> QueryResult<()> {
    if records.is_empty() {
        return Ok(());
    }
    let writer = DbId::from(writer);
    let rows: Vec<NewRow<'_>> = records.iter().map(|record| NewRow::of(writer, record)).collect();
    macro_rules! column {
        ($field:ident) => {
            rows.iter().map(|row| row.$field).collect::<Vec<_>>()
        };
    }
    type Texts = Array<Nullable<Text>>;
    diesel::sql_query(INSERT_ARRAYS)
        .bind::<Array<Id>, _>(column!(id))
        .bind::<Id, _>(writer)
        .bind::<Array<BigInt>, _>(column!(seq))
        .bind::<Array<Instant>, _>(column!(timestamp))
        .bind::<Array<Nullable<Id>>, _>(column!(user_id))
        .bind::<Texts, _>(column!(username))
        .bind::<Array<Text>, _>(column!(action))
        .bind::<Texts, _>(column!(resource_type))
        .bind::<Texts, _>(column!(resource_id))
        .bind::<Texts, _>(column!(ip_address))
        .bind::<Texts, _>(column!(user_agent))
        .bind::<Texts, _>(column!(request_method))
        .bind::<Texts, _>(column!(request_path))
        .bind::<Array<Nullable<SmallInt>>, _>(column!(response_status))
        .bind::<Array<Text>, _>(column!(outcome))
        .bind::<Array<Integer>, _>(column!(duration_ms))
        .bind::<Texts, _>(column!(request_id))
        .bind::<Array<Text>, _>(rows.iter().map(|row| row.metadata.as_str()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(column!(source))
        .execute(connection)
        .await
        .map(drop)
}
