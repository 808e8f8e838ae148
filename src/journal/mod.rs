//! The audit journal: files only, it knows no database.

mod settings;

pub use settings::{Fsync, JournalSettings};

/// Placeholder.
#[derive(Debug, thiserror::Error)]
#[error("journal")]
pub struct JournalError;
