//! Large batches of audit records into PostgreSQL: COPY, on a connection of its own.
//!
//! It moves more rows than arrays in one statement do, and takes more ways to the server and back: it is for
//! when the journal is ahead of the database. What is not plain sailing is left to [`super::audit_postgres`].

use std::pin::pin;
use std::time::Duration;

use secrecy::SecretString;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, SimpleQueryMessage, Statement};
use uuid::Uuid;

use super::audit_row::{ChainEnd, NewRow};
use super::connect;
use super::pool::Pools;
use super::types::DbId;
use super::{StoreError, StoreResult};
use crate::domain::{Timestamp, WriterId};
use crate::proof::{Sealed, Sealer};

/// From so many records on it is worth the ways.
pub(super) const LEAST: usize = 1000;

const COPY: &str = "COPY audit_logs (id, writer_id, seq, hash, timestamp, user_id, username, action, resource_type, \
    resource_id, ip_address, user_agent, request_method, request_path, response_status, outcome, duration_ms, \
    request_id, metadata, source) FROM STDIN BINARY";

const TYPES: [Type; 20] = [
    Type::UUID,
    Type::UUID,
    Type::INT8,
    Type::BYTEA,
    Type::TIMESTAMPTZ,
    Type::UUID,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::INT2,
    Type::TEXT,
    Type::INT4,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
];

/// A connection that copies.
pub(super) struct Copying {
    client: Client,
    statement: Statement,
}

/// What came of a batch.
pub(super) enum Copied {
    /// It is in the table, and the chain ends there.
    Done(ChainEnd),
    /// It is not, and nothing was changed: its chain ends elsewhere, or a record is refused.
    Not,
}

impl Copying {
    pub(super) async fn open(pools: &Pools, url: SecretString, patience: Duration) -> StoreResult<Self> {
        let away = |error: &dyn std::fmt::Display| StoreError::Unavailable(error.to_string());
        pools
            .run(async move {
                let client = connect::postgres_client(&url, patience).await.map_err(|error| away(&error))?;
                let statement = client.prepare(COPY).await.map_err(|error| away(&connect::describe(&error)))?;
                Ok(Self { client, statement })
            })
            .await
    }

    /// A batch that follows the end of the writer's chain, in one transaction that also moves that end.
    ///
    /// # Errors
    /// The connection is of no more use, and the transaction rolled back with it.
    pub(super) async fn insert(
        &self,
        sealer: &Sealer,
        writer: WriterId,
        records: &[Sealed],
        before: ChainEnd,
    ) -> Result<Copied, Error> {
        let (rows, after) = before.extend(sealer, DbId::from(writer), records);
        if !self.move_end(writer, before, after).await? {
            self.client.batch_execute("ROLLBACK").await?;
            return Ok(Copied::Not);
        }
        match self.copy(&rows).await {
            Ok(()) => {
                self.client.batch_execute("COMMIT").await?;
                Ok(Copied::Done(after))
            }
            Err(error) if error.code().is_some_and(is_content) => {
                self.client.batch_execute("ROLLBACK").await?;
                Ok(Copied::Not)
            }
            Err(error) => Err(error),
        }
    }

    /// Begins the transaction, and takes the writer's row: it fences off a second process with the same journal.
    async fn move_end(&self, writer: WriterId, before: ChainEnd, after: ChainEnd) -> Result<bool, Error> {
        // Numbers and hexadecimal digits: nothing in it needs quoting.
        let statements = format!(
            "BEGIN; UPDATE audit_writers SET last_seq = {}, last_hash = {} \
             WHERE writer_id = '{writer}' AND last_seq = {} AND last_hash = {} RETURNING 1",
            after.number(),
            literal(&after),
            before.number(),
            literal(&before),
        );
        let answers = self.client.simple_query(&statements).await?;
        Ok(answers.iter().any(|answer| matches!(answer, SimpleQueryMessage::Row(_))))
    }

    async fn copy(&self, rows: &[NewRow<'_>]) -> Result<(), Error> {
        let sink = self.client.copy_in(&self.statement).await?;
        let mut copy = pin!(BinaryCopyInWriter::new(sink, &TYPES));
        for row in rows {
            let (id, writer, user): (Uuid, Uuid, Option<Uuid>) =
                (row.id.0, row.writer_id.0, row.user_id.map(|DbId(id)| id));
            let hash = row.hash.0.as_slice();
            let timestamp = Timestamp::from(row.timestamp).to_datetime();
            let values: [&(dyn ToSql + Sync); 20] = [
                &id,
                &writer,
                &row.seq,
                &hash,
                &timestamp,
                &user,
                &row.username,
                &row.action,
                &row.resource_type,
                &row.resource_id,
                &row.ip_address,
                &row.user_agent,
                &row.request_method,
                &row.request_path,
                &row.response_status,
                &row.outcome,
                &row.duration_ms,
                &row.request_id,
                &row.metadata,
                &row.source,
            ];
            copy.as_mut().write(&values).await?;
        }
        copy.finish().await.map(drop)
    }
}

fn literal(end: &ChainEnd) -> String {
    let digits: String = end.hash.0.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("'\\x{digits}'")
}

/// Classes 22 (data exception) and 23 (integrity constraint violation) speak of a record, all others of the database.
fn is_content(state: &SqlState) -> bool {
    state.code().starts_with("22") || state.code().starts_with("23")
}
