//! What the journal is told.

use std::path::PathBuf;

/// Where the journal is kept, and how much of it.
#[derive(Debug, Clone)]
pub struct JournalSettings {
    /// `DATA_DIR/audit`.
    pub folder: PathBuf,
    /// `AUDIT_FSYNC`.
    pub fsync: Fsync,
    /// `AUDIT_JOURNAL_MAX_BYTES`; 0: no limit.
    pub max_bytes: u64,
    /// `AUDIT_JOURNAL_KEEP`: closed segments, already in the database, that stay for shippers.
    pub keep_segments: u32,
}

/// When appended records are forced to the disk: the names and meanings that
/// Redis gives its append-only file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fsync {
    /// Before the answer leaves.
    Always,
    /// Once a second, by another thread.
    #[default]
    EverySecond,
    /// When the operating system likes.
    No,
}
