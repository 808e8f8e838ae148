//! The audit journal: files only, it knows no database.

mod settings;

pub use settings::{Fsync, JournalSettings};
