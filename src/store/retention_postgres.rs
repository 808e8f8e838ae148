//! Old audit records on PostgreSQL: whole partitions, and small deletes in those that have young ones too.
//!
//! To detach or to attach a partition takes the strongest lock for a moment, and who comes after us waits
//! behind us for it: so we wait for it 50 ms at the longest, and come again later.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Text};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::old_records::{OldPart, OldRow};
use super::partitions::{self, Bounds, Partition, Wanted};
use super::types::{DbId, Id};
use super::{StoreError, StoreResult};
use crate::domain::{RecordId, Timestamp, WriterId};

/// The lock of the one instance that is at it; its number means nothing.
const ADVISORY_LOCK: i64 = 7_205_759_403_792_795;

/// How long we wait for a lock, and who comes after us behind us.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '50ms'";

/// Attaching reads the default partition, which is empty or small; its readers wait for that.
const ATTACH_TIMEOUT: &str = "SET LOCAL statement_timeout = '5s'";

/// What a partition's name ends with when it is none any more.
const REMOVED: &str = "_removed";

#[derive(QueryableByName)]
struct Claim {
    #[diesel(sql_type = Bool)]
    is_ours: bool,
    #[diesel(sql_type = BigInt)]
    millis: i64,
}

#[derive(QueryableByName)]
struct Child {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    bounds: String,
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Bool)]
    found: bool,
}

#[derive(QueryableByName)]
struct Gone {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Id)]
    id: DbId,
    #[diesel(sql_type = Id)]
    writer_id: DbId,
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

/// The time, if no other instance is at it.
pub(super) async fn claim(connection: &mut AsyncPgConnection) -> StoreResult<Option<Timestamp>> {
    let claim: Claim = diesel::sql_query(
        "SELECT pg_try_advisory_lock($1) AS is_ours, (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS millis",
    )
    .bind::<BigInt, _>(ADVISORY_LOCK)
    .get_result(connection)
    .await?;
    Ok(claim.is_ours.then(|| Timestamp::from_millis(claim.millis)))
}

async fn list(connection: &mut AsyncPgConnection) -> QueryResult<Vec<Partition>> {
    let children: Vec<Child> = diesel::sql_query(
        "SELECT c.oid::regclass::text AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds \
         FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         WHERE i.inhparent = 'audit_logs'::regclass ORDER BY c.relname",
    )
    .load(connection)
    .await?;
    let partition = |Child { name, bounds }| Partition { table: name, bounds: Bounds::parse(&bounds) };
    Ok(children.into_iter().map(partition).collect())
}

/// See [`super::AuditSweeper::make_partitions`].
pub(super) async fn make_partitions(
    connection: &mut AsyncPgConnection,
    now: Timestamp,
    days: u32,
) -> StoreResult<Vec<String>> {
    let present = list(connection).await?;
    let default = present.iter().find(|partition| partition.bounds == Bounds::Default);
    let mut left_out = Vec::new();
    for wanted in partitions::wanted(&present, now, days) {
        if let Some(default) = default
            && has_rows(connection, &default.table, &wanted).await?
        {
            left_out.push(wanted.table);
            continue;
        }
        make(connection, &wanted).await?;
        log::info!("made the partition {} of the audit log", wanted.table);
    }
    Ok(left_out)
}

async fn has_rows(
    connection: &mut AsyncPgConnection,
    table: &str,
    Wanted { from, to, .. }: &Wanted,
) -> StoreResult<bool> {
    let found: Found =
        diesel::sql_query(format!("SELECT EXISTS (SELECT FROM {table} WHERE id >= $1 AND id < $2) AS found"))
            .bind::<Id, _>(DbId(*from))
            .bind::<Id, _>(DbId(*to))
            .get_result(connection)
            .await?;
    Ok(found.found)
}

/// A table that is made first and attached then: `PARTITION OF` would lock the whole log.
async fn make(connection: &mut AsyncPgConnection, Wanted { table, from, to }: &Wanted) -> StoreResult<()> {
    in_one(
        connection,
        format!(
            "{LOCK_TIMEOUT}; {ATTACH_TIMEOUT}; CREATE TABLE {table} (LIKE audit_logs INCLUDING ALL); \
             ALTER TABLE audit_logs ATTACH PARTITION {table} FOR VALUES FROM ('{from}') TO ('{to}')"
        ),
    )
    .await
}

async fn in_one(connection: &mut AsyncPgConnection, statements: String) -> StoreResult<()> {
    connection
        .transaction(async move |connection| connection.batch_execute(&statements).await)
        .await
        .map_err(|error: diesel::result::Error| StoreError::from(error))
}

/// See [`super::AuditSweeper::cutoff`].
pub(super) async fn cutoff(connection: &mut AsyncPgConnection, older_than: Timestamp) -> StoreResult<RecordId> {
    Ok(partitions::cutoff(&list(connection).await?, older_than))
}

/// See [`super::AuditSweeper::old_parts`].
pub(super) async fn old_parts(connection: &mut AsyncPgConnection, before: RecordId) -> StoreResult<Vec<OldPart>> {
    let apart: Vec<Named> = diesel::sql_query(format!(
        "SELECT c.oid::regclass::text AS name FROM pg_class c WHERE c.relkind = 'r' AND NOT c.relispartition \
         AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'audit_logs'::regclass) \
         AND c.relname ~ '^audit_logs_.*{REMOVED}$'"
    ))
    .load(connection)
    .await?;
    let apart = apart.into_iter().map(|Named { name }| OldPart { table: name, is_apart: true });
    let old = list(connection).await?.into_iter().filter(|partition| partition.bounds.is_before(before.0));
    Ok(apart.chain(old.map(|partition| OldPart { table: partition.table, is_apart: false })).collect())
}

/// See [`super::AuditSweeper::detach`]. Its new name says that it is to go: a table that somebody else has
/// detached, to keep it, is let alone.
pub(super) async fn detach(connection: &mut AsyncPgConnection, part: &OldPart) -> StoreResult<OldPart> {
    let OldPart { table, .. } = part;
    let (schema, name) = match table.rsplit_once('.') {
        Some((schema, name)) => (format!("{schema}."), name),
        None => (String::new(), table.as_str()),
    };
    let new_name = format!("\"{}{REMOVED}\"", name.trim_matches('"'));
    in_one(
        connection,
        format!(
            "{LOCK_TIMEOUT}; ALTER TABLE audit_logs DETACH PARTITION {table}; ALTER TABLE {table} RENAME TO {new_name}"
        ),
    )
    .await?;
    Ok(OldPart { table: format!("{schema}{new_name}"), is_apart: true })
}

/// See [`super::AuditSweeper::drop_part`].
pub(super) async fn drop_part(
    connection: &mut AsyncPgConnection,
    OldPart { table, .. }: &OldPart,
    ends: &HashMap<WriterId, u64>,
) -> StoreResult<u64> {
    let (writers, numbers): (Vec<DbId>, Vec<i64>) =
        ends.iter().map(|(writer, seq)| (DbId::from(*writer), i64::try_from(*seq).unwrap_or(i64::MAX))).unzip();
    let put_back = format!(
        "WITH back AS (INSERT INTO audit_logs SELECT * FROM {table} l WHERE NOT EXISTS ( \
             SELECT FROM unnest($1, $2) AS ends (writer_id, seq) \
             WHERE ends.writer_id = l.writer_id AND l.seq BETWEEN 1 AND ends.seq) RETURNING 1) \
         SELECT (SELECT count(*) FROM {table}) - (SELECT count(*) FROM back) AS count"
    );
    let drop = format!("DROP TABLE {table}");
    connection
        .transaction(async move |connection| {
            let query = diesel::sql_query(put_back).bind::<Array<Id>, _>(writers).bind::<Array<BigInt>, _>(numbers);
            let gone: Gone = query.get_result(connection).await?;
            connection.batch_execute(&drop).await?;
            Ok(u64::try_from(gone.count).unwrap_or(0))
        })
        .await
        .map_err(|error: diesel::result::Error| StoreError::from(error))
}

/// The tables that may have records on both sides of an id.
pub(super) async fn straddling(connection: &mut AsyncPgConnection, id: RecordId) -> StoreResult<Vec<String>> {
    let all = list(connection).await?;
    Ok(all.into_iter().filter(|partition| partition.bounds.straddles(id.0)).map(|partition| partition.table).collect())
}

/// The next rows of a table after one id and before another.
pub(super) async fn old_rows(
    connection: &mut AsyncPgConnection,
    table: &str,
    (after, before): (DbId, DbId),
    limit: u32,
) -> StoreResult<Vec<OldRow>> {
    let rows: Vec<Row> = diesel::sql_query(format!(
        "SELECT id, writer_id, seq FROM {table} WHERE id > $1 AND id < $2 ORDER BY id LIMIT {limit}"
    ))
    .bind::<Id, _>(after)
    .bind::<Id, _>(before)
    .load(connection)
    .await?;
    Ok(rows.into_iter().map(|Row { id, writer_id, seq }| (id, writer_id, seq)).collect())
}

/// Deletes rows of a table in one statement.
pub(super) async fn delete(connection: &mut AsyncPgConnection, table: &str, ids: Vec<DbId>) -> StoreResult<u64> {
    if ids.is_empty() {
        return Ok(0);
    }
    let query = diesel::sql_query(format!("DELETE FROM {table} WHERE id = ANY($1)"));
    Ok(query.bind::<Array<Id>, _>(ids).execute(connection).await? as u64)
}
