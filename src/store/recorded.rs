//! Changes of the command line, with the audit records of them: in one transaction, where the database has both.

use diesel::prelude::*;
use diesel_async::AsyncPgConnection;

use super::audit_postgres;
use super::audit_row::Numbered;
use super::connect::AsyncSqlite;
use crate::domain::WriterId;
use crate::domain::audit::AuditRecord;

pub(super) trait RecordStatements: Send {
    /// Writes records in the present transaction, as a writer of their own. Gives back those that it
    /// can't: SQLite's audit log is another file.
    fn record(&mut self, records: Vec<AuditRecord>) -> impl Future<Output = QueryResult<Vec<AuditRecord>>> + Send;
}

impl RecordStatements for AsyncSqlite {
    async fn record(&mut self, records: Vec<AuditRecord>) -> QueryResult<Vec<AuditRecord>> {
        Ok(records)
    }
}

impl RecordStatements for AsyncPgConnection {
    async fn record(&mut self, records: Vec<AuditRecord>) -> QueryResult<Vec<AuditRecord>> {
        let numbered: Vec<Numbered> = (1..).zip(records).collect();
        if let Some((last, _)) = numbered.last() {
            let last = i64::try_from(*last).unwrap_or(i64::MAX);
            audit_postgres::insert(self, WriterId::generate(), &numbered, last).await?;
        }
        Ok(Vec::new())
    }
}
