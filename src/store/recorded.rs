//! Changes of the command line, with the audit records of them: in one transaction, where the database has both.

use diesel::prelude::*;
use diesel_async::AsyncPgConnection;

use super::audit_postgres;
use super::connect::AsyncSqlite;
use crate::domain::WriterId;
use crate::domain::audit::AuditRecord;
use crate::proof::{Sealed, Sealer};

/// Records of a change, and what seals them.
#[derive(Debug)]
pub struct NewRecords {
    /// The records, in order.
    pub records: Vec<AuditRecord>,
    /// What seals them.
    pub sealer: Sealer,
}

pub(super) trait RecordStatements: Send {
    /// Writes records in the present transaction, as a writer of their own. Gives back those that it
    /// can't: SQLite's audit log is another file.
    fn record(&mut self, new: NewRecords) -> impl Future<Output = QueryResult<Vec<AuditRecord>>> + Send;
}

impl RecordStatements for AsyncSqlite {
    async fn record(&mut self, new: NewRecords) -> QueryResult<Vec<AuditRecord>> {
        Ok(new.records)
    }
}

impl RecordStatements for AsyncPgConnection {
    async fn record(&mut self, NewRecords { records, sealer }: NewRecords) -> QueryResult<Vec<AuditRecord>> {
        let writer = WriterId::generate();
        let sealed = |(seq, record)| sealer.sealed(writer, seq, record);
        let sealed: Vec<Sealed> = (1..).zip(records).map(sealed).collect();
        if !sealed.is_empty() {
            audit_postgres::insert(self, &sealer, writer, &sealed, None).await?;
        }
        Ok(Vec::new())
    }
}
