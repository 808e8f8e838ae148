//! What the store is told.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::domain::RoleName;

/// Which database, and how patient to be with it.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// `DATABASE_URL`.
    pub database: Database,
    /// `DATABASE_TIMEOUT_SECONDS`: how long a query waits for a connection, and for its answer.
    pub timeout: Duration,
    /// Connections that read and write on PostgreSQL, or that read on SQLite.
    pub pool_size: u32,
    /// `DEFAULT_ROLE`: no change of roles takes it away from those who register, or lets it administer.
    pub default_role: RoleName,
}

/// A database.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file; the audit log is a second file beside it (`portcullis.db-audit` beside `portcullis.db`).
    Sqlite(PathBuf),
    /// A `postgres://` URL, which may hold a password.
    Postgres(SecretString),
}

/// For people: where it is, without password or parameters.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => {
                let url = url.expose_secret();
                let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
                let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
                if path.contains('@') {
                    // Where a password has such a character, nobody can say where it ends.
                    return write!(f, "{scheme}://...");
                }
                let (user, place) = authority.rsplit_once('@').unwrap_or(("", authority));
                let user = user.split(':').next().unwrap_or_default();
                let at = if user.is_empty() { "" } else { "@" };
                let path = path.split(['?', '#']).next().unwrap_or_default();
                write!(f, "{scheme}://{user}{at}{place}{path}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_told_without_its_password() {
        let told = |url: &str| Database::Postgres(url.to_owned().into()).to_string();
        assert_eq!(told("postgres://me:p@ss@db:5432/app?password=secret"), "postgres://me@db:5432/app");
        assert_eq!(told("postgres:///app?host=/run"), "postgres:///app");
        assert_eq!(told("postgres://me:s3cr3t?more@db/app"), "postgres://...");
        assert_eq!(told("postgres://db/app?password=se@cret"), "postgres://...");
    }
}
