//! Rows into the table by the shortest way that there is: what the copy is measured against.

use std::pin::{Pin, pin};
use std::time::{Duration, UNIX_EPOCH};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, SmallInt, Text};
use diesel::sqlite::Sqlite;
use portcullis::domain::audit::AuditRecord;
use tokio::runtime::Runtime;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::Failure;
use crate::log::{Database, open_sqlite};

const COLUMNS: &str = "id, writer_id, seq, hash, timestamp, user_id, username, action, resource_type, resource_id, \
                       ip_address, user_agent, request_method, request_path, response_status, outcome, duration_ms, \
                       request_id, metadata, source";

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

/// A connection, and the writer that its rows are of.
pub(crate) struct Bare {
    connection: Connection,
    writer: Uuid,
    seq: i64,
}

#[expect(clippy::large_enum_variant, reason = "there is one")]
enum Connection {
    Sqlite(Box<SqliteConnection>),
    Postgres(Runtime, Client),
}

impl Bare {
    /// Connects.
    ///
    /// # Errors
    /// The database is away.
    pub(crate) fn open(database: &Database) -> Result<Self, Failure> {
        let connection = match database {
            Database::Sqlite(path) => Connection::Sqlite(Box::new(open_sqlite(path)?)),
            Database::Postgres(url) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls))?;
                runtime.spawn(connection);
                Connection::Postgres(runtime, client)
            }
        };
        Ok(Self { connection, writer: Uuid::now_v7(), seq: 0 })
    }

    /// What it does.
    pub(crate) fn name(&self) -> &'static str {
        match self.connection {
            Connection::Sqlite(_) => "prepared insert",
            Connection::Postgres(..) => "COPY BINARY",
        }
    }

    /// Takes its rows out again: they are no part of any chain.
    ///
    /// # Errors
    /// The database is away.
    pub(crate) fn remove(self) -> Result<(), Failure> {
        let id = |id: Uuid| match &self.connection {
            Connection::Sqlite(_) => format!("x'{}'", id.simple()),
            Connection::Postgres(..) => format!("'{id}'"),
        };
        let delete = format!("DELETE FROM audit_logs WHERE id > {0} AND writer_id = {0}", id(self.writer));
        match self.connection {
            Connection::Sqlite(mut connection) => Ok(connection.batch_execute(&delete)?),
            Connection::Postgres(runtime, client) => Ok(runtime.block_on(client.batch_execute(&delete))?),
        }
    }

    /// Inserts rows with fresh ids, in one transaction.
    ///
    /// # Errors
    /// The database refuses them.
    pub(crate) fn insert(&mut self, records: &[AuditRecord]) -> Result<(), Failure> {
        let (writer, first) = (self.writer, self.seq);
        self.seq += i64::try_from(records.len())?;
        let rows = records.iter().zip(first + 1..).map(|(record, seq)| Row::of(record, writer, seq));
        match &mut self.connection {
            Connection::Sqlite(connection) => connection.immediate_transaction(|connection| {
                for row in rows {
                    diesel::RunQueryDsl::execute(row, connection)?;
                }
                Ok(())
            }),
            Connection::Postgres(runtime, client) => runtime.block_on(async {
                let copy = format!("COPY audit_logs ({COLUMNS}) FROM STDIN BINARY");
                let mut writer = pin!(BinaryCopyInWriter::new(client.copy_in(&copy).await?, &TYPES));
                for row in rows {
                    row.copy(writer.as_mut()).await?;
                }
                writer.finish().await?;
                Ok(())
            }),
        }
    }
}

/// A record as a row; its hash is none.
struct Row<'a> {
    id: [u8; 16],
    writer: [u8; 16],
    seq: i64,
    hash: [u8; 32],
    millis: i64,
    user_id: Option<[u8; 16]>,
    username: Option<&'a str>,
    action: &'a str,
    resource_type: Option<&'a str>,
    resource_id: Option<&'a str>,
    ip_address: Option<&'a str>,
    user_agent: Option<&'a str>,
    method: Option<&'a str>,
    path: Option<&'a str>,
    status: Option<i16>,
    outcome: &'a str,
    duration_ms: i32,
    request_id: Option<&'a str>,
    metadata: &'a str,
    source: &'a str,
}

impl<'a> Row<'a> {
    fn of(record: &'a AuditRecord, writer: Uuid, seq: i64) -> Self {
        Self {
            id: Uuid::now_v7().into_bytes(),
            writer: writer.into_bytes(),
            seq,
            hash: [7; 32],
            millis: record.timestamp.as_millis(),
            user_id: record.user_id.map(|user| user.0.into_bytes()),
            username: record.username.as_deref(),
            action: &record.action,
            resource_type: record.resource_type.as_deref(),
            resource_id: record.resource_id.as_deref(),
            ip_address: record.ip_address.as_deref(),
            user_agent: record.user_agent.as_deref(),
            method: record.request_method.as_deref(),
            path: record.request_path.as_deref(),
            status: record.response_status.and_then(|status| status.try_into().ok()),
            outcome: record.outcome.as_str(),
            duration_ms: record.duration_ms.try_into().unwrap_or(i32::MAX),
            request_id: record.request_id.as_deref(),
            metadata: record.metadata.as_str(),
            source: record.source.as_str(),
        }
    }

    async fn copy(&self, writer: Pin<&mut BinaryCopyInWriter>) -> Result<(), tokio_postgres::Error> {
        let time = UNIX_EPOCH + Duration::from_millis(self.millis.unsigned_abs());
        let values: [&(dyn ToSql + Sync); 20] = [
            &Uuid::from_bytes(self.id),
            &Uuid::from_bytes(self.writer),
            &self.seq,
            &self.hash.as_slice(),
            &time,
            &self.user_id.map(Uuid::from_bytes),
            &self.username,
            &self.action,
            &self.resource_type,
            &self.resource_id,
            &self.ip_address,
            &self.user_agent,
            &self.method,
            &self.path,
            &self.status,
            &self.outcome,
            &self.duration_ms,
            &self.request_id,
            &self.metadata,
            &self.source,
        ];
        writer.write(&values).await
    }
}

// One statement, prepared once.
impl QueryId for Row<'_> {
    type QueryId = Row<'static>;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl diesel::RunQueryDsl<SqliteConnection> for Row<'_> {}

impl QueryFragment<Sqlite> for Row<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("INSERT INTO audit_logs (");
        out.push_sql(COLUMNS);
        out.push_sql(") VALUES (");
        out.push_bind_param::<Binary, _>(&self.id)?;
        macro_rules! bind {
            ($($kind:ty: $field:ident),* $(,)?) => {$(
                out.push_sql(", ");
                out.push_bind_param::<$kind, _>(&self.$field)?;
            )*};
        }
        bind! {
            Binary: writer,
            BigInt: seq,
            Binary: hash,
            BigInt: millis,
            Nullable<Binary>: user_id,
            Nullable<Text>: username,
            Text: action,
            Nullable<Text>: resource_type,
            Nullable<Text>: resource_id,
            Nullable<Text>: ip_address,
            Nullable<Text>: user_agent,
            Nullable<Text>: method,
            Nullable<Text>: path,
            Nullable<SmallInt>: status,
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
