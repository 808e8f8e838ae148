//! Batches of audit records into PostgreSQL: arrays in one statement.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Nullable, SmallInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::audit_row::{ChainEnd, NOT_OURS, NewRow, split};
use super::schema::{audit_logs, audit_writers};
use super::types::{DbId, Id, Instant};
use crate::domain::WriterId;
use crate::proof::{Sealed, Sealer};

/// The rows of a batch, out of its arrays.
macro_rules! rows {
    () => {
        "INSERT INTO audit_logs (id, writer_id, seq, hash, timestamp, user_id, username, action, \
        resource_type, resource_id, ip_address, user_agent, request_method, request_path, response_status, outcome, \
        duration_ms, request_id, metadata, source) \
        SELECT id, $2, seq, hash, timestamp, user_id, username, action, resource_type, resource_id, ip_address, user_agent, \
        request_method, request_path, response_status, outcome, duration_ms, request_id, metadata, source \
        FROM unnest($1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) \
        AS t (id, seq, hash, timestamp, user_id, username, action, resource_type, resource_id, ip_address, user_agent, \
        request_method, request_path, response_status, outcome, duration_ms, request_id, metadata, source)"
    };
}

/// One statement, whatever the number of rows.
const INSERT: &str = rows!();

/// The same and the writer's number in one way to the server and back, if the number is the one before
/// the first: beside a busy service every way costs the copy its turn on the processor.
const INSERT_NEXT: &str = concat!(
    "WITH moved AS ( \
        INSERT INTO audit_writers (writer_id, last_seq, last_hash) VALUES ($2, $23, $24) \
        ON CONFLICT (writer_id) DO UPDATE SET last_seq = $23, last_hash = $24 \
        WHERE audit_writers.last_seq = $21 AND coalesce(audit_writers.last_hash, $22) = $22 RETURNING 1 \
    ), inserted AS (",
    rows!(),
    " WHERE EXISTS (SELECT FROM moved)) SELECT EXISTS (SELECT FROM moved) AS is_moved"
);

#[derive(QueryableByName)]
struct Moved {
    #[diesel(sql_type = Bool)]
    is_moved: bool,
}

/// Binds a batch's arrays, `$1` to `$20`.
macro_rules! bind_rows {
    ($query:expr, $writer:expr, $rows:expr) => {{
        let rows: &[NewRow<'_>] = &$rows;
        macro_rules! column {
            ($field:ident) => {
                rows.iter().map(|row| row.$field).collect::<Vec<_>>()
            };
        }
        diesel::sql_query($query)
            .bind::<Array<Id>, _>(column!(id))
            .bind::<Id, _>($writer)
            .bind::<Array<BigInt>, _>(column!(seq))
            .bind::<Array<Binary>, _>(rows.iter().map(|row| row.hash.0.as_slice()).collect::<Vec<_>>())
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
            .bind::<Array<Text>, _>(column!(metadata))
            .bind::<Array<Text>, _>(column!(source))
    }};
}

type Texts = Array<Nullable<Text>>;

/// See [`super::AuditSink::insert`]. `end`: where the writer's chain ends, if that is known.
pub(super) async fn insert(
    connection: &mut AsyncPgConnection,
    sealer: &Sealer,
    writer: WriterId,
    records: &[Sealed],
    end: Option<ChainEnd>,
) -> QueryResult<ChainEnd> {
    // A writer's first record needs no look.
    let end = end.or_else(|| records.first().filter(|first| first.seq == 1).map(|_| ChainEnd::START));
    if let Some(end) = end
        && let Some(end) = insert_next(connection, sealer, writer, records, end).await?
    {
        return Ok(end);
    }
    insert_rest(connection, sealer, writer, records).await
}

/// Where the end of the chain is not known, the database has some of the records, or its numbers are somebody else's.
async fn insert_rest(
    connection: &mut AsyncPgConnection,
    sealer: &Sealer,
    writer: WriterId,
    records: &[Sealed],
) -> QueryResult<ChainEnd> {
    diesel_async::AsyncConnection::transaction(connection, async move |connection| {
        let writer = DbId::from(writer);
        diesel::insert_into(audit_writers::table)
            .values((audit_writers::writer_id.eq(writer), audit_writers::last_seq.eq(0)))
            .on_conflict_do_nothing()
            .execute(connection)
            .await?;
        // The lock fences off a second process that copies the same journal.
        let (last, hash): (i64, Option<Vec<u8>>) = audit_writers::table
            .find(writer)
            .select((audit_writers::last_seq, audit_writers::last_hash))
            .for_update()
            .first(connection)
            .await?;
        let (known, fresh) = split(records, last);
        if let Some(id) = known {
            let query = audit_logs::table.find(id).select(audit_logs::seq);
            query.first::<i64>(connection).await.optional()?.ok_or(NOT_OURS)?;
        }
        let (rows, end) = ChainEnd::of(last, hash).extend(sealer, writer, fresh);
        if !rows.is_empty() {
            bind_rows!(INSERT, writer, rows).execute(connection).await?;
        }
        let moved = (audit_writers::last_seq.eq(end.number()), audit_writers::last_hash.eq(end.hash.0.as_slice()));
        diesel::update(audit_writers::table.find(writer)).set(moved).execute(connection).await?;
        Ok(end)
    })
    .await
}

/// Inserts a batch that follows the end of the writer's chain; nothing, and `None`, where that is elsewhere by now.
async fn insert_next(
    connection: &mut AsyncPgConnection,
    sealer: &Sealer,
    writer: WriterId,
    records: &[Sealed],
    before: ChainEnd,
) -> QueryResult<Option<ChainEnd>> {
    let writer = DbId::from(writer);
    let (rows, after) = before.extend(sealer, writer, records);
    let moved = bind_rows!(INSERT_NEXT, writer, rows)
        .bind::<BigInt, _>(before.number())
        .bind::<Binary, _>(before.hash.0.as_slice())
        .bind::<BigInt, _>(after.number())
        .bind::<Binary, _>(after.hash.0.as_slice())
        .get_result::<Moved>(connection)
        .await?;
    Ok(moved.is_moved.then_some(after))
}
