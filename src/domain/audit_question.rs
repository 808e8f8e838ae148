//! Questions about the audit log: which records, which part of them, and how they are counted.

use std::net::IpAddr;

use super::audit::Outcome;
use super::{RecordId, Timestamp, UserId};

/// Which records are meant: exact, combined with AND.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuditFilter {
    /// By user id.
    pub user_id: Option<UserId>,
    /// By the name at that time, in lower case; names compare without regard to case.
    pub username: Option<String>,
    /// By action.
    pub action: Option<String>,
    /// By kind of resource.
    pub resource_type: Option<String>,
    /// By resource.
    pub resource_id: Option<String>,
    /// By how it ended.
    pub outcome: Option<Outcome>,
    /// By the request's method.
    pub method: Option<String>,
    /// By the answer's status.
    pub status: Option<u16>,
    /// By how the request's path begins.
    pub path: Option<String>,
    /// By address.
    pub ip_address: Option<IpAddr>,
    /// By the request's id.
    pub request_id: Option<String>,
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Older than this.
    pub until: Option<Timestamp>,
}

/// Which part of the records, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPage {
    /// At most so many, from 1 to 1,000.
    pub limit: u32,
    /// So many are left out before them.
    pub offset: u64,
    /// Only older ones than this: where the page before ended.
    pub before: Option<RecordId>,
}

/// A part of the records.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditSlice<T> {
    /// At most `limit`. There may be fewer although more follow: so that no question costs unbounded work.
    pub items: Vec<T>,
    /// Where the next part begins; `None`: there are no more.
    pub next: Option<RecordId>,
}

/// How wide the bars of a chart are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    /// An hour, UTC.
    Hour,
    /// A day, UTC.
    Day,
}

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountedBy {
    /// Each action.
    Action,
    /// Each outcome.
    Outcome,
    /// Each user, by name.
    User,
}

/// So many records of one kind in one stretch of time.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct AuditCount {
    /// When the stretch begins.
    #[schema(value_type = String, format = DateTime)]
    pub bucket: Timestamp,
    /// The action, outcome or username; null where nobody was known.
    #[schema(example = "LOGIN")]
    pub key: Option<String>,
    /// How many.
    #[schema(example = 42)]
    pub count: i64,
}
