//! Changes of the command line, with the audit records of them: in one transaction, where the database has both.

use diesel_async::AsyncPgConnection;

use super::audit_postgres;
use super::connect::AsyncSqlite;
use super::{StoreError, StoreResult};
use crate::domain::WriterId;
use crate::domain::audit::AuditRecord;
use crate::proof::{Sealed, Sealer};

/// Says in a journal that records will follow, before their change stands; or why it can't.
pub type BeginRecords = Box<dyn FnOnce(&[AuditRecord]) -> Result<(), String> + Send>;

/// Records of a change, and what seals them.
pub struct NewRecords {
    /// The records, in order.
    pub records: Vec<AuditRecord>,
    /// What seals them.
    pub sealer: Sealer,
    /// Where they can't be written in the change's own transaction, this is called in it instead, last.
    pub begin: BeginRecords,
}

pub(super) trait RecordStatements: Send {
    /// Writes records in the present transaction, as a writer of their own. Gives back those that it
    /// can't: SQLite's audit log is another file.
    fn record(&mut self, new: NewRecords) -> impl Future<Output = StoreResult<Vec<AuditRecord>>> + Send;
}

impl RecordStatements for AsyncSqlite {
    async fn record(&mut self, NewRecords { records, begin, .. }: NewRecords) -> StoreResult<Vec<AuditRecord>> {
        if !records.is_empty() {
            begin(&records).map_err(StoreError::Unrecorded)?;
        }
        Ok(records)
    }
}

impl RecordStatements for AsyncPgConnection {
    async fn record(&mut self, NewRecords { records, sealer, .. }: NewRecords) -> StoreResult<Vec<AuditRecord>> {
        let writer = WriterId::generate();
        let sealed = |(seq, record)| sealer.sealed(writer, seq, record);
        let sealed: Vec<Sealed> = (1..).zip(records).map(sealed).collect();
        if !sealed.is_empty() {
            audit_postgres::insert(self, &sealer, writer, &sealed, None).await?;
        }
        Ok(Vec::new())
    }
}
