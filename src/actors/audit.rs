//! Placeholder.
use crate::actors::{ServiceError, ServiceResult};
use crate::domain::audit::{AuditEntry, AuditFilter, AuditRecord};
use crate::domain::{Page, RecordId, Slice};
use crate::journal::JournalError;

/// The audit log.
#[derive(Clone)]
pub struct Audit;

impl Audit {
    /// A page.
    pub async fn list(&self, _: AuditFilter, _: Page) -> ServiceResult<Slice<AuditRecord>> {
        Err(ServiceError::Overloaded)
    }
}

/// A worker's journal.
#[derive(Clone)]
pub struct WorkerJournal;

impl WorkerJournal {
    /// Appends.
    pub fn append(&self, _: &AuditEntry<'_>) -> std::future::Ready<Result<RecordId, JournalError>> {
        std::future::ready(Ok(RecordId::generate()))
    }
    /// Writable.
    pub fn is_writable(&self) -> bool {
        true
    }
}
