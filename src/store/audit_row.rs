//! A row of the audit log, as it is written and as it is read.

use diesel::prelude::*;
use diesel::result::Error as DieselError;

use super::schema::audit_logs;
use super::types::{DbId, DbTime};
use crate::domain::RecordId;
use crate::domain::audit::{AuditRecord, Metadata, Outcome, Source};
use crate::proof::{Fields, Mac, Sealed, Sealer};

/// A record as it is inserted; the text is borrowed.
pub(super) struct NewRow<'a> {
    pub(super) id: DbId,
    pub(super) writer_id: DbId,
    pub(super) seq: i64,
    pub(super) hash: Mac,
    pub(super) timestamp: DbTime,
    pub(super) user_id: Option<DbId>,
    pub(super) username: Option<&'a str>,
    pub(super) action: &'a str,
    pub(super) resource_type: Option<&'a str>,
    pub(super) resource_id: Option<&'a str>,
    pub(super) ip_address: Option<&'a str>,
    pub(super) user_agent: Option<&'a str>,
    pub(super) request_method: Option<&'a str>,
    pub(super) request_path: Option<&'a str>,
    pub(super) response_status: Option<i16>,
    pub(super) outcome: &'static str,
    pub(super) duration_ms: i32,
    pub(super) request_id: Option<&'a str>,
    pub(super) metadata: &'a str,
    pub(super) source: &'static str,
}

impl<'a> NewRow<'a> {
    /// `hash`: the record's link in the writer's chain.
    pub(super) fn of(writer_id: DbId, Sealed { seq, record, .. }: &'a Sealed, hash: Mac) -> Self {
        Self {
            id: record.id.into(),
            writer_id,
            seq: i64::try_from(*seq).unwrap_or(i64::MAX),
            hash,
            timestamp: record.timestamp.into(),
            user_id: record.user_id.map(Into::into),
            username: record.username.as_deref(),
            action: &record.action,
            resource_type: record.resource_type.as_deref(),
            resource_id: record.resource_id.as_deref(),
            ip_address: record.ip_address.as_deref(),
            user_agent: record.user_agent.as_deref(),
            request_method: record.request_method.as_deref(),
            request_path: record.request_path.as_deref(),
            response_status: record.response_status.and_then(|status| i16::try_from(status).ok()),
            outcome: record.outcome.as_str(),
            duration_ms: i32::try_from(record.duration_ms).unwrap_or(i32::MAX),
            request_id: record.request_id.as_deref(),
            metadata: record.metadata.as_str(),
            source: record.source.as_str(),
        }
    }
}

/// What a batch's transaction ends with where the database has its numbers from somebody else.
pub(super) const NOT_OURS: DieselError = DieselError::RollbackTransaction;

/// Splits a batch after the number that the database has: the id of the last record up to it, which must be
/// there then, and the records that come after it.
pub(super) fn split(records: &[Sealed], last: i64) -> (Option<DbId>, &[Sealed]) {
    let last = u64::try_from(last).unwrap_or(0);
    let (known, fresh) = records.split_at(records.partition_point(|record| record.seq <= last));
    (known.last().map(|known| known.record.id.into()), fresh)
}

/// How far a writer has come in the database: the number and the hash of its last record there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainEnd {
    /// The number; 0 before the first.
    pub seq: u64,
    /// The hash.
    pub hash: Mac,
}

impl ChainEnd {
    /// Before the first record.
    pub(super) const START: Self = Self { seq: 0, hash: Mac::START };

    pub(super) fn of(seq: i64, hash: Option<Vec<u8>>) -> Self {
        let hash = hash.and_then(|hash| Mac::try_from(hash.as_slice()).ok()).unwrap_or(Mac::START);
        Self { seq: u64::try_from(seq).unwrap_or(0), hash }
    }

    /// The rows of records that follow, and where the chain ends with them.
    pub(super) fn extend<'a>(self, sealer: &Sealer, writer: DbId, records: &'a [Sealed]) -> (Vec<NewRow<'a>>, Self) {
        let mut end = self;
        let rows = records.iter().map(|sealed| {
            end = Self { seq: sealed.seq, hash: sealer.link(&end.hash, &sealed.seal) };
            NewRow::of(writer, sealed, end.hash)
        });
        (rows.collect(), end)
    }

    pub(super) fn number(self) -> i64 {
        i64::try_from(self.seq).unwrap_or(i64::MAX)
    }
}

#[derive(Queryable, QueryableByName, Selectable)]
#[diesel(table_name = audit_logs)]
pub struct AuditRow {
    id: DbId,
    timestamp: DbTime,
    user_id: Option<DbId>,
    username: Option<String>,
    action: String,
    resource_type: Option<String>,
    resource_id: Option<String>,
    ip_address: Option<String>,
    user_agent: Option<String>,
    request_method: Option<String>,
    request_path: Option<String>,
    response_status: Option<i16>,
    outcome: String,
    duration_ms: i32,
    request_id: Option<String>,
    metadata: String,
    source: String,
}

impl AuditRow {
    pub(super) fn id(&self) -> RecordId {
        self.id.into()
    }

    /// What of it is sealed, as it stands; `None` where a number is one that no record can have.
    pub(super) fn fields(&self) -> Option<Fields<'_>> {
        Some(Fields {
            id: self.id(),
            timestamp: self.timestamp.into(),
            user_id: self.user_id.map(Into::into),
            username: self.username.as_deref(),
            action: &self.action,
            resource_type: self.resource_type.as_deref(),
            resource_id: self.resource_id.as_deref(),
            ip_address: self.ip_address.as_deref(),
            user_agent: self.user_agent.as_deref(),
            request_method: self.request_method.as_deref(),
            request_path: self.request_path.as_deref(),
            response_status: self.response_status.map(u16::try_from).transpose().ok()?,
            outcome: &self.outcome,
            duration_ms: self.duration_ms.try_into().ok()?,
            request_id: self.request_id.as_deref(),
            metadata: &self.metadata,
            source: &self.source,
        })
    }
}

impl From<AuditRow> for AuditRecord {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id.into(),
            timestamp: row.timestamp.into(),
            user_id: row.user_id.map(Into::into),
            username: row.username.map(Into::into),
            action: row.action.into(),
            resource_type: row.resource_type.map(Into::into),
            resource_id: row.resource_id.map(Into::into),
            ip_address: row.ip_address.map(Into::into),
            user_agent: row.user_agent.map(Into::into),
            request_method: row.request_method.map(Into::into),
            request_path: row.request_path.map(Into::into),
            response_status: row.response_status.and_then(|status| u16::try_from(status).ok()),
            outcome: Outcome::parse(&row.outcome),
            duration_ms: u32::try_from(row.duration_ms).unwrap_or(0),
            request_id: row.request_id.map(Into::into),
            metadata: Metadata::stored(row.metadata),
            source: Source::parse(&row.source),
        }
    }
}
