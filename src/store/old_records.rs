//! What there is of old audit records, as both databases say it.

use super::types::DbId;

/// A partition that is too old as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldPart {
    /// Its table, as SQL names it.
    pub(super) table: String,
    /// It is a table of its own already: an earlier run did not come to its end.
    pub(super) is_apart: bool,
}

impl OldPart {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.table
    }

    /// Whether an earlier run has detached it, and did not come to its end.
    pub fn is_left(&self) -> bool {
        self.is_apart
    }
}

/// A row that is to go.
pub(super) type OldRow = (DbId, DbId, i64);
