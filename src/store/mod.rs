//! The only place that names diesel: SQL behind the words of the domain.
//!
//! One set of queries serves SQLite and PostgreSQL. Every call runs to its end
//! on the store's own runtime, also when the caller goes away in between.

mod audit;
mod audit_copy;
mod audit_postgres;
mod audit_question;
mod audit_row;
mod audit_scan;
mod audit_sink;
mod audit_sqlite;
mod change;
mod checkpoints;
mod clocks;
mod connect;
mod error;
mod feed;
mod identities;
mod identity_statements;
mod kept;
mod migrate;
mod oauth_flows;
mod old_records;
mod partitions;
mod ping;
mod pool;
mod recorded;
mod retention;
mod retention_postgres;
mod retention_sqlite;
mod role_statements;
mod roles;
mod row_locks;
mod schema;
mod session_statements;
mod sessions;
mod settings;
mod types;
mod user_statements;
mod users;

use std::sync::Arc;

use secrecy::SecretString;

pub use audit_row::ChainEnd;
pub use audit_scan::ScannedRow;
pub use audit_sink::{AuditError, AuditSink};
pub use checkpoints::KeptCheckpoint;
pub use error::{OpenError, StoreError};
pub use feed::ChangeFeed;
pub use identities::{IdentityOrigin, OnceToken, ProviderSignIn, ProviderUser};
pub use oauth_flows::{OauthCode, OauthFlow};
pub use old_records::OldPart;
pub use recorded::{BeginRecords, NewRecords};
pub use retention::{AuditSweeper, Swept};
pub use settings::{Database, StoreSettings};

use crate::domain::audit::AuditRecord;
use crate::domain::{
    Email, FullName, IdentityId, PolicyChange, PolicyEffect, PolicyError, RoleName, SessionId, Timestamp, TokenHash,
    UserId, Username,
};
use pool::Pools;

/// A result of the store.
pub type StoreResult<T> = Result<T, StoreError>;

/// The users, roles, sessions and settings of this installation. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pools: Arc<Pools>,
}

/// A user to be made.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The id that it gets.
    pub id: UserId,
    /// Its name.
    pub username: Username,
    /// Its address, if there is one.
    pub email: Option<Email>,
    /// Whether somebody has seen that the address is its owner's.
    pub is_email_verified: bool,
    /// Its owner's name, if given.
    pub full_name: Option<FullName>,
    /// A bcrypt hash; none where a provider signs in.
    pub password_hash: Option<SecretString>,
    /// Whether it is a superuser.
    pub is_superuser: bool,
    /// The roles that it gets.
    pub roles: Vec<RoleName>,
    /// Now.
    pub now: Timestamp,
}

/// What a sign-in is checked against.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Whose they are.
    pub user_id: UserId,
    /// As typed at registration.
    pub username: std::sync::Arc<str>,
    /// None where only a provider signs in.
    pub password_hash: Option<SecretString>,
    /// Deactivated users don't sign in.
    pub is_active: bool,
}

/// A session to be made.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// The hash of its first refresh token.
    pub current: TokenHash,
    /// When it was signed in.
    pub created_at: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// Where it was signed in from.
    pub ip_address: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
    /// What let the user in. If it is theirs no more, or the user is
    /// deactivated, no session is made.
    pub checked: Checked,
}

/// What a sign-in was checked against.
#[derive(Debug, Clone)]
pub enum Checked {
    /// This password hash.
    Password(SecretString),
    /// This account at a provider.
    Identity(IdentityId),
}

/// What it took to make roles and permissions what was wanted.
#[derive(Debug)]
pub struct Applied {
    /// The changes that were made, in their order.
    pub steps: Vec<PolicyChange>,
    /// What each of them came to.
    pub effects: Vec<PolicyEffect>,
    /// Records that are still to be written: those of SQLite, whose audit log is another file.
    pub unrecorded: Vec<AuditRecord>,
}

/// A change that does not fit what there is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Misfit {
    /// The change.
    pub step: PolicyChange,
    /// Why not.
    pub error: PolicyError,
}

/// What changed in the database, for the caches of every instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Roles, permissions or grants: the policy must be loaded anew.
    Policy,
    /// One user: account, status, roles.
    User(UserId),
    /// All users, as after a role was deleted.
    AllUsers,
    /// One session ended.
    SessionEnded(SessionId),
    /// So many sessions ended at once that all are looked up anew.
    AllSessions,
    /// So much was missed that everything held must be forgotten.
    Gap,
}

/// The two clocks that changes are numbered by. Where both move, policy is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    /// Users, roles, permissions.
    Policy,
    /// Ends of sessions.
    Sessions,
}

impl Clock {
    fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Sessions => "sessions",
        }
    }
}

/// How many connections there are, for the metrics.
#[derive(Debug, Clone, Copy, Default)]
pub struct PoolState {
    /// Open connections.
    pub connections: u32,
    /// Those that wait for work.
    pub idle: u32,
}

impl Store {
    /// Connects, refuses a database that is newer or not ours, and migrates it
    /// (on PostgreSQL under an advisory lock).
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(settings: StoreSettings) -> Result<Self, OpenError> {
        Self::migrate(&settings).await?;
        Ok(Self { pools: Pools::new(settings)? })
    }

    /// Brings a database up to date; gives the names of the migrations that ran.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn migrate(settings: &StoreSettings) -> Result<Vec<String>, OpenError> {
        migrate::migrate(&settings.database, settings.timeout).await
    }

    /// Whether the database answers, within the timeout.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn ping(&self) -> StoreResult<()> {
        let pools = self.pools.clone();
        self.pools.run(async move { pool::read!(pools, |conn| ping::PingStatement::ping(conn)) }).await
    }

    /// Whether the audit log is another file than the rest, so that no transaction has both.
    pub fn has_log_apart(&self) -> bool {
        matches!(self.pools.settings.database, Database::Sqlite(_))
    }

    /// How long an answer may wait for a database that is away.
    pub fn patience(&self) -> std::time::Duration {
        self.pools.patience()
    }

    /// The state of the connection pool.
    pub fn pool_state(&self) -> PoolState {
        self.pools.state()
    }
}
