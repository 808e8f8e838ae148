//! What can go wrong with the store.

use crate::domain::{Conflict, Denial, IdentityError, PolicyError};

/// Why the store did not do what was asked. Absence is no error: `Ok(None)`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, too slow, or refused for a reason of its own; the
    /// cause is for the log, never for a client.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A row is not what was written there.
    #[error("a row of the database can't be read: {0}")]
    Unreadable(String),
    /// What has to be recorded elsewhere can't be; nothing is changed then.
    #[error("it can't be recorded: {0}")]
    Unrecorded(String),
    /// Somebody has this username.
    #[error("the username is taken")]
    UsernameTaken,
    /// Somebody has this email.
    #[error("the email is taken")]
    EmailTaken,
    /// There is no such user (any more).
    #[error("no such user")]
    NoSuchUser,
    /// There is no such role (any more).
    #[error("no such role")]
    NoSuchRole,
    /// There is no such permission (any more).
    #[error("no such permission")]
    NoSuchPermission,
    /// What there is does not allow the change.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// A rule forbids the change.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// An account at a provider signs nobody in, or is not linked or unlinked.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Why a database can't be used at all: the start stops.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its server does not answer, or not yet: that may pass.
    #[error("DATABASE_URL: the database can't be opened: {0}")]
    Away(String),
    /// It refuses us, or can't be made.
    #[error("DATABASE_URL: the database can't be opened: {0}")]
    Unreachable(String),
    /// It has migrations that this program does not know.
    #[error("the database is newer than this program (migration {0}): run the newer program")]
    Newer(String),
    /// It has a table of one of our names that we did not make.
    #[error("the database has a table {0:?} that is not ours: choose another database or schema in DATABASE_URL")]
    Foreign(String),
    /// A migration failed.
    #[error("a migration failed: {0}")]
    Migration(String),
}

impl From<PolicyError> for StoreError {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::NoSuchRole(_) => Self::NoSuchRole,
            PolicyError::NoSuchPermission(_) => Self::NoSuchPermission,
            PolicyError::Conflict(conflict) => conflict.into(),
        }
    }
}

impl From<diesel::result::Error> for StoreError {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind, Error};
        if let Error::DatabaseError(DatabaseErrorKind::UniqueViolation, info) = &error {
            // PostgreSQL names the constraint, SQLite the column in its message.
            let what = info.constraint_name().unwrap_or_else(|| info.message());
            if what.contains("username_key") {
                return Self::UsernameTaken;
            }
            if what.contains("email_key") {
                return Self::EmailTaken;
            }
            if what.contains("oauth_identities") {
                return IdentityError::Taken.into();
            }
        }
        match error {
            Error::DeserializationError(why) => Self::Unreadable(why.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}
