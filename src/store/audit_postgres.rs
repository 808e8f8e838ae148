//! Batches of audit records into PostgreSQL: arrays in one statement.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, SmallInt, Text};
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
    let Some((first, _)) = records.first() else { return Ok(()) };
    let before = i64::try_from(first.saturating_sub(1)).unwrap_or(i64::MAX);
    if insert_next(connection, writer, records, (before, last)).await? {
        return Ok(());
    }
    insert_rest(connection, writer, records, last).await
}

/// Where the database has some of the records, or its numbers are somebody else's.
async fn insert_rest(
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

/// The rows of a batch, out of its arrays.
macro_rules! rows {
    () => {
        "INSERT INTO audit_logs (id, writer_id, seq, timestamp, user_id, username, action, \
        resource_type, resource_id, ip_address, user_agent, request_method, request_path, response_status, outcome, \
        duration_ms, request_id, metadata, source) \
        SELECT id, $2, seq, timestamp, user_id, username, action, resource_type, resource_id, ip_address, user_agent, \
        request_method, request_path, response_status, outcome, duration_ms, request_id, metadata, source \
        FROM unnest($1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) \
        AS t (id, seq, timestamp, user_id, username, action, resource_type, resource_id, ip_address, user_agent, \
        request_method, request_path, response_status, outcome, duration_ms, request_id, metadata, source)"
    };
}

/// One statement, whatever the number of rows.
const INSERT: &str = rows!();

/// The same and the writer's number in one way to the server and back, if the number is the one before
/// the first: beside a busy service every way costs the copy its turn on the processor.
const INSERT_NEXT: &str = concat!(
    "WITH moved AS ( \
        INSERT INTO audit_writers (writer_id, last_seq) VALUES ($2, $21) \
        ON CONFLICT (writer_id) DO UPDATE SET last_seq = $21 WHERE audit_writers.last_seq = $20 RETURNING 1 \
    ), inserted AS (",
    rows!(),
    " WHERE EXISTS (SELECT FROM moved)) SELECT EXISTS (SELECT FROM moved) AS is_moved"
);

#[derive(QueryableByName)]
struct Moved {
    #[diesel(sql_type = Bool)]
    is_moved: bool,
}

/// Binds a batch's arrays, `$1` to `$19`.
macro_rules! bind_rows {
    ($query:expr, $writer:expr, $records:expr) => {{
        let writer = DbId::from($writer);
        let mut rows: Vec<NewRow<'_>> = $records.iter().map(|record| NewRow::of(writer, record)).collect();
        macro_rules! column {
            ($field:ident) => {
                rows.iter().map(|row| row.$field).collect::<Vec<_>>()
            };
        }
        let metadata: Vec<String> = rows.iter_mut().map(|row| std::mem::take(&mut row.metadata)).collect();
        diesel::sql_query($query)
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
            .bind::<Array<Text>, _>(metadata)
            .bind::<Array<Text>, _>(column!(source))
    }};
}

type Texts = Array<Nullable<Text>>;

/// Inserts a batch whose first number is the writer's next one; false, and nothing is inserted, where it is not.
async fn insert_next(
    connection: &mut AsyncPgConnection,
    writer: WriterId,
    records: &[Numbered],
    (before, last): (i64, i64),
) -> QueryResult<bool> {
    let query = bind_rows!(INSERT_NEXT, writer, records).bind::<BigInt, _>(before).bind::<BigInt, _>(last);
    Ok(query.get_result::<Moved>(connection).await?.is_moved)
}

async fn insert_arrays(connection: &mut AsyncPgConnection, writer: WriterId, records: &[Numbered]) -> QueryResult<()> {
    if records.is_empty() {
        return Ok(());
    }
    bind_rows!(INSERT, writer, records).execute(connection).await.map(drop)
}
