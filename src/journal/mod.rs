//! The audit journal: files only, it knows no database.
//!
//! A record is appended here before its answer leaves, as one line of JSON
//! (`tail -f` reads it, any log shipper ships it), and copied to the database
//! later. Every worker thread has a [`WorkerJournal`] of its own, so that no
//! thread is crossed: appends of one turn of its event loop are one `write(2)`.

mod damage;
mod files;
mod folder;
mod inspect;
mod left;
mod line;
mod mend;
mod mint;
mod open_segment;
mod pen;
mod segment;
mod settings;
mod sync;
#[cfg(test)]
mod tests;
mod worker;

pub use files::{claim, keep_checkpoint, kept_checkpoint, known_writers};
pub use folder::{Folder, Progress};
pub use inspect::{DamagedLine, Inspected, inspect};
pub use left::{Leaving, Left};
pub use line::Begun;
pub use segment::{Batch, Reader};
pub use settings::{Fsync, JournalSettings};
pub use worker::{Append, WorkerJournal};

/// Why a record could not be appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// The file can't be written: a full or read-only disk.
    #[error("the audit journal can't be written: {0}")]
    Write(String),
    /// `AUDIT_JOURNAL_MAX_BYTES` is reached.
    #[error("the audit journal has reached AUDIT_JOURNAL_MAX_BYTES")]
    Full,
    /// Too many changes have begun at once.
    #[error("too many changes have begun and are not answered yet")]
    Crowded,
    /// Another process has the folder.
    #[error("another process uses the audit journal in {0}")]
    Locked(String),
    /// The folder has the journal of another database.
    #[error(
        "DATA_DIR: {0} has the audit journal of another database, whose records must not come into this one: \
         use another DATA_DIR"
    )]
    Foreign(String),
    /// The folder can't be read.
    #[error("the audit journal can't be read: {0}")]
    Read(String),
}
