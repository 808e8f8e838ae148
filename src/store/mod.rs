//! The only place that names diesel: SQL behind the words of the domain.
//!
//! One set of queries serves SQLite and PostgreSQL. Every call runs to its end
//! on the store's own runtime, also when the caller goes away in between.

mod error;
mod settings;

use std::time::Duration;

use secrecy::SecretString;

pub use error::{OpenError, StoreError};
pub use settings::{Database, StoreSettings};

use crate::domain::{
    Authority, Email, FullName, Page, PermissionInfo, Role, RoleName, Rotation, Session, SessionEnd, SessionId, Slice,
    Timestamp, TokenHash, User, UserChange, UserFilter, UserId, Username,
};

/// A result of the store.
pub type StoreResult<T> = Result<T, StoreError>;

/// The users, roles, sessions and settings of this installation. Cheap to clone.
#[derive(Clone)]
pub struct Store {}

/// A user to be made.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The id that it gets.
    pub id: UserId,
    /// Its name.
    pub username: Username,
    /// Its address, if there is one.
    pub email: Option<Email>,
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
    /// The password hash that the sign-in was checked against. If the user's
    /// is another one by now, or the user is deactivated, no session is made.
    pub checked_hash: SecretString,
}

/// What changed in the database, for the caches of every instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Roles, permissions or grants: the policy must be loaded anew.
    Policy,
    /// One user: account, status, roles.
    User(UserId),
    /// One session ended.
    SessionEnded(SessionId),
    /// So much was missed that everything held must be forgotten.
    Gap,
}

/// Reads changes on a connection of its own, in order.
pub struct ChangeFeed {}

impl ChangeFeed {
    /// The changes since the last call, oldest first; the first call returns none and
    /// takes its place at the end. After an error, the next call reconnects and goes on
    /// from where it was.
    pub async fn poll(&mut self) -> StoreResult<Vec<Change>> {
        todo!()
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
    pub async fn open(_settings: StoreSettings) -> Result<Self, OpenError> {
        todo!()
    }

    /// Whether the database answers, within the timeout.
    pub async fn ping(&self) -> StoreResult<()> {
        todo!()
    }

    /// The state of the connection pool.
    pub fn pool_state(&self) -> PoolState {
        todo!()
    }

    /// A reader of the change feed, placed at the feed's end by its first poll; `timeout` bounds each poll.
    pub fn change_feed(&self, _timeout: Duration) -> ChangeFeed {
        todo!()
    }

    /// Compares the fingerprint of `JWT_SECRET_KEY` with the one kept in the database, keeping
    /// the first one ever seen. `Ok(false)`: it differs, and is not replaced, unless `previous` is
    /// the one kept: then `current` takes its place.
    pub async fn claim_key_fingerprint(&self, _current: [u8; 32], _previous: Option<[u8; 32]>) -> StoreResult<bool> {
        todo!()
    }

    // Users.

    /// Makes a user. Errors: `UsernameTaken`, `EmailTaken`, `NoSuchRole`.
    pub async fn create_user(&self, _new: NewUser) -> StoreResult<User> {
        todo!()
    }

    /// Makes the first user, only while there is none; `None` if there is one already. Safe when two instances start at once.
    pub async fn create_first_user(&self, _new: NewUser) -> StoreResult<Option<User>> {
        todo!()
    }

    /// By username key or, if the text has an `@`, by email key (`Username::key`, `Email::key`).
    pub async fn find_credentials(&self, _key: String) -> StoreResult<Option<Credentials>> {
        todo!()
    }

    /// The credentials of a known user.
    pub async fn find_credentials_of(&self, _user: UserId) -> StoreResult<Option<Credentials>> {
        todo!()
    }

    /// One user with the names of the directly assigned roles, sorted.
    pub async fn find_user(&self, _id: UserId) -> StoreResult<Option<User>> {
        todo!()
    }

    /// Users by id (so by time of making), oldest first. `prefix` is compared with username key and email key; `%` and `_` in it are plain characters.
    pub async fn list_users(&self, _filter: UserFilter, _page: Page) -> StoreResult<Slice<User>> {
        todo!()
    }

    /// The user's own change (`email`, `full_name` of the change; the rest is ignored). An email whose key
    /// differs from the present one makes `email_verified` false. Gives the user before and after.
    pub async fn update_profile(&self, _id: UserId, _change: UserChange, _now: Timestamp) -> StoreResult<(User, User)> {
        todo!()
    }

    /// An administrator's change, under the rules of `domain::authority` (needs `users:manage`) and the
    /// last-administrator rule, all inside one transaction under the policy clock. A password set and a
    /// deactivation end all sessions. Gives the user before, the user after, and the sessions that ended.
    pub async fn update_user(
        &self,
        _by: Authority,
        _target: UserId,
        _change: UserChange,
        _now: Timestamp,
    ) -> StoreResult<(User, User, Vec<SessionId>)> {
        todo!()
    }

    /// Sets the user's own new password, if the hash is still the one that was checked
    /// (else `Ok(None)`), and ends all sessions but one. Gives those that ended.
    pub async fn change_password(
        &self,
        _user: UserId,
        _keep: SessionId,
        _checked: SecretString,
        _new: SecretString,
        _now: Timestamp,
    ) -> StoreResult<Option<Vec<SessionId>>> {
        todo!()
    }

    // Roles.

    /// All roles with their grants, and all permissions, read in one transaction.
    pub async fn load_policy(&self) -> StoreResult<(Vec<Role>, Vec<PermissionInfo>)> {
        todo!()
    }

    /// Whether there is such a role.
    pub async fn find_role(&self, _name: RoleName) -> StoreResult<Option<Role>> {
        todo!()
    }

    /// Assigns a role, under `Denial::check_write(.., users:manage, target)` and `Denial::check_hand_out`; false if
    /// the user has it already (who assigned it and when stay). Errors: `NoSuchUser`, `NoSuchRole`, `Denied`.
    pub async fn assign_role(
        &self,
        _by: Authority,
        _target: UserId,
        _role: RoleName,
        _now: Timestamp,
    ) -> StoreResult<bool> {
        todo!()
    }

    /// Takes a role away, under the same rules and the last-administrator rule; false if the user did not have it.
    pub async fn revoke_role(&self, _by: Authority, _target: UserId, _role: RoleName) -> StoreResult<bool> {
        todo!()
    }

    // Sessions.

    /// Makes a session and notes the login at the user (`last_login_at`); false if the user's password or
    /// status changed since it was checked.
    pub async fn create_session(&self, _new: NewSession) -> StoreResult<bool> {
        todo!()
    }

    /// A session that has not ended, expired ones included.
    pub async fn find_session(&self, _id: SessionId) -> StoreResult<Option<Session>> {
        todo!()
    }

    /// What a refresh is decided by, with the database's present time, in one query; `None` if the session has ended
    /// or its user is deactivated.
    pub async fn find_rotation(&self, _id: SessionId) -> StoreResult<Option<Rotation>> {
        todo!()
    }

    /// The one statement that decides the race: `current = new, previous = presented` where `current = presented`
    /// and the session lives. False if it was rotated or ended meanwhile. Also sets `last_used_at`.
    pub async fn rotate_session(
        &self,
        _id: SessionId,
        _presented: TokenHash,
        _new: TokenHash,
        _rotated_at: Timestamp,
    ) -> StoreResult<bool> {
        todo!()
    }

    /// The user's sessions that are not expired at `now`, newest first.
    pub async fn list_sessions(&self, _user: UserId, _now: Timestamp) -> StoreResult<Vec<Session>> {
        todo!()
    }

    /// Ends sessions of a user, with a change for each; gives those that were there.
    pub async fn end_sessions(&self, _user: UserId, _which: SessionEnd) -> StoreResult<Vec<SessionId>> {
        todo!()
    }

    /// Notes when sessions were last used, many in one transaction; never moves a time back.
    pub async fn touch_sessions(&self, _used: Vec<(SessionId, Timestamp)>) -> StoreResult<()> {
        todo!()
    }

    /// Deletes sessions that expired before `now` and changes older than an hour (keeping the newest of each clock).
    pub async fn purge_expired(&self, _now: Timestamp) -> StoreResult<u64> {
        todo!()
    }
}
