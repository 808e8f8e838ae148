//! What the store is told.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// Which database, and how patient to be with it.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// `DATABASE_URL`.
    pub database: Database,
    /// `DATABASE_TIMEOUT_SECONDS`: how long a query waits for a connection, and for its answer.
    pub timeout: Duration,
    /// Connections that read and write on PostgreSQL, or that read on SQLite.
    pub pool_size: u32,
}

/// A database.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file; the audit log is a second file beside it (`audit.db`).
    Sqlite(PathBuf),
    /// A `postgres://` URL, which may hold a password.
    Postgres(SecretString),
}
