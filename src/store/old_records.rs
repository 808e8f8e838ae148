//! What there is of old audit records, as both databases say it.

use std::collections::HashMap;

use super::audit_row::ChainEnd;
use super::types::DbId;
use crate::domain::WriterId;

/// The last record of each writer among some, and how many they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastOf {
    /// Where each writer's chain ends among them.
    pub ends: HashMap<WriterId, ChainEnd>,
    /// How many records.
    pub count: u64,
}

impl LastOf {
    pub(super) fn add(&mut self, writer: WriterId, end: ChainEnd, count: u64) {
        self.count += count;
        let last = self.ends.entry(writer).or_insert(end);
        if end.seq > last.seq {
            *last = end;
        }
    }
}

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
}

/// A row that is to go.
pub(super) type OldRow = (DbId, DbId, i64);
