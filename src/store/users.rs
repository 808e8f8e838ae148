//! Users, and the changes that the rules of authority guard.

use secrecy::{ExposeSecret, SecretString};

use super::pool::{read, transaction};
use super::roles::RoleStatements;
use super::sessions::SessionStatements;
use super::user_statements::{UserInsert, UserStatements, UserUpdate};
use super::{Clock, Credentials, NewUser, Store, StoreError, StoreResult};
use crate::domain::{
    Authority, Denial, Page, Permission, SessionEnd, SessionId, Slice, Timestamp, User, UserChange, UserFilter, UserId,
};

/// Everything that a statement about users, roles and sessions needs.
pub(super) trait Statements: UserStatements + RoleStatements + SessionStatements {}

impl<C: UserStatements + RoleStatements + SessionStatements> Statements for C {}

/// What administrators' changes need.
fn users_manage() -> StoreResult<Permission> {
    Permission::parse("users:manage").map_err(|error| StoreError::Unavailable(error.message))
}

/// Who changes whom, read under the policy clock's lock.
pub(super) struct Change {
    pub(super) target: User,
    administrators: (bool, bool),
}

impl Change {
    /// Takes the policy clock's lock, which serializes all such changes; then
    /// asks whether `by` may write to `target`, and `rule` about the rest.
    pub(super) async fn begin<C: Statements>(
        conn: &mut C,
        by: &Authority,
        target: UserId,
        role: Option<&crate::domain::RoleName>,
        rule: impl FnOnce(&crate::domain::Policy, &User) -> Result<(), Denial> + Send,
    ) -> StoreResult<Self> {
        conn.lock(Clock::Policy).await?;
        let administrators = conn.administrators().await?;
        let caller = match by {
            Authority::System => None,
            Authority::User(id) => {
                let needed = users_manage()?;
                let caller = conn.find_user(*id).await?;
                let caller = caller.ok_or_else(|| Denial::PermissionRequired(needed.clone()))?;
                // Who may not is told so before what there is.
                let policy = conn.load_policy_of(&caller.roles).await?;
                Denial::check_permission(&policy, &caller, &needed)?;
                Some((caller, needed))
            }
        };
        let target = conn.find_user(target).await?.ok_or(StoreError::NoSuchUser)?;
        if let Some(role) = role
            && conn.find_role(role).await?.is_none()
        {
            return Err(StoreError::NoSuchRole);
        }
        if let Some((caller, needed)) = caller {
            let named: Vec<_> = caller.roles.iter().chain(&target.roles).chain(role).cloned().collect();
            let policy = conn.load_policy_of(&named).await?;
            Denial::check_write(&policy, &caller, &needed, &target)?;
            rule(&policy, &caller)?;
        }
        Ok(Self { target, administrators })
    }

    /// Whether an administrator remains, where there was one; and the change's entry in the feed.
    pub(super) async fn finish<C: Statements>(&self, conn: &mut C) -> StoreResult<()> {
        let (had_superuser, had_admin) = self.administrators;
        let (has_superuser, has_admin) = conn.administrators().await?;
        if (had_superuser && !has_superuser) || (had_admin && !has_admin) {
            return Err(Denial::LastAdmin.into());
        }
        conn.note_changes(Clock::Policy, vec![("user", self.target.id.to_string())]).await?;
        Ok(())
    }
}

fn insert_of(new: &NewUser) -> UserInsert {
    UserInsert {
        id: new.id.into(),
        username: new.username.as_str().to_owned(),
        username_key: new.username.key(),
        email: new.email.as_ref().map(|email| email.as_str().to_owned()),
        email_key: new.email.as_ref().map(|email| email.key().to_owned()),
        full_name: new.full_name.as_ref().map(|name| name.as_str().to_owned()),
        password_hash: new.password_hash.as_ref().map(|hash| hash.expose_secret().to_owned()),
        is_superuser: new.is_superuser,
        created_at: new.now.into(),
        updated_at: new.now.into(),
    }
}

async fn create<C: Statements>(conn: &mut C, new: &NewUser) -> StoreResult<User> {
    conn.insert_user(insert_of(new)).await?;
    for role in &new.roles {
        if conn.find_role(role).await?.is_none() {
            return Err(StoreError::NoSuchRole);
        }
        conn.insert_user_role(new.id, role, None, new.now).await?;
    }
    conn.find_user(new.id).await?.ok_or(StoreError::NoSuchUser)
}

async fn create_first<C: Statements>(conn: &mut C, new: &NewUser) -> StoreResult<Option<User>> {
    conn.lock(Clock::Policy).await?;
    if conn.has_users().await? {
        return Ok(None);
    }
    create(conn, new).await.map(Some)
}

/// What a change writes, given the key of the present address.
fn update_of(change: UserChange, present_key: Option<&str>, now: Timestamp) -> UserUpdate {
    let is_new_address = change.email.as_ref().is_some_and(|email| Some(email.key()) != present_key);
    UserUpdate {
        email_key: change.email.as_ref().map(|email| email.key().to_owned()),
        email: change.email.map(|email| email.as_str().to_owned()),
        email_verified: change.email_verified.or(is_new_address.then_some(false)),
        full_name: change.full_name.map(|name| name.map(|name| name.as_str().to_owned())),
        password_hash: change.password_hash.map(|hash| hash.expose_secret().to_owned()),
        is_active: change.is_active,
        is_superuser: change.is_superuser,
        updated_at: now.into(),
    }
}

async fn update<C: Statements>(
    conn: &mut C,
    by: &Authority,
    target: UserId,
    mut change: UserChange,
    now: Timestamp,
) -> StoreResult<(User, User, Vec<SessionId>)> {
    let writes_superuser = change.is_superuser.is_some();
    let begun = Change::begin(conn, by, target, None, |_, caller| {
        if writes_superuser { Denial::check_superuser_flag(caller) } else { Ok(()) }
    })
    .await?;
    let ends_sessions = change.password_hash.is_some() || change.is_active == Some(false);
    let present_key = conn.find_email_key(target).await?;
    // Without an address there is nothing to be verified.
    if present_key.is_none() && change.email.is_none() {
        change.email_verified = None;
    }
    conn.update_user(target, update_of(change, present_key.as_deref(), now)).await?;
    begun.finish(conn).await?;
    let ended = if ends_sessions { conn.end_sessions(target, SessionEnd::All).await? } else { Vec::new() };
    conn.note_ended(&ended).await?;
    let after = conn.find_user(target).await?.ok_or(StoreError::NoSuchUser)?;
    Ok((begun.target, after, ended))
}

async fn update_profile<C: Statements>(
    conn: &mut C,
    id: UserId,
    change: UserChange,
    now: Timestamp,
) -> StoreResult<(User, User)> {
    conn.lock(Clock::Policy).await?;
    let before = conn.find_user(id).await?.ok_or(StoreError::NoSuchUser)?;
    let present_key = conn.find_email_key(id).await?;
    let own = UserChange { email: change.email, full_name: change.full_name, ..UserChange::default() };
    conn.update_user(id, update_of(own, present_key.as_deref(), now)).await?;
    conn.note_changes(Clock::Policy, vec![("user", id.to_string())]).await?;
    let after = conn.find_user(id).await?.ok_or(StoreError::NoSuchUser)?;
    Ok((before, after))
}

async fn change_password<C: Statements>(
    conn: &mut C,
    user: UserId,
    keep: SessionId,
    checked: SecretString,
    new: SecretString,
    now: Timestamp,
) -> StoreResult<Option<Vec<SessionId>>> {
    let (checked, new) = (checked.expose_secret().to_owned(), new.expose_secret().to_owned());
    if !conn.replace_password(user, checked, new, now).await? {
        return Ok(None);
    }
    let ended = conn.end_sessions(user, SessionEnd::AllBut(keep)).await?;
    conn.note_ended(&ended).await?;
    Ok(Some(ended))
}

impl Store {
    /// Makes a user.
    ///
    /// # Errors
    /// `UsernameTaken`, `EmailTaken`, `NoSuchRole`, `Unavailable`.
    pub async fn create_user(&self, new: NewUser) -> StoreResult<User> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| create(conn, &new)) }).await
    }

    /// Makes the first user, only while there is none; `None` if there is one
    /// already. Safe when two instances start at once.
    ///
    /// # Errors
    /// As [`Store::create_user`].
    pub async fn create_first_user(&self, new: NewUser) -> StoreResult<Option<User>> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| create_first(conn, &new)) }).await
    }

    /// Whether there is any user.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn has_users(&self) -> StoreResult<bool> {
        let pools = self.pools.clone();
        self.pools.run(async move { read!(pools, |conn| UserStatements::has_users(conn)) }).await
    }

    /// By the key of a username or, with an `@`, of an email.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn find_credentials(&self, key: String) -> StoreResult<Option<Credentials>> {
        let pools = self.pools.clone();
        self.pools.run(async move { read!(pools, |conn| conn.find_credentials(key)) }).await
    }

    /// The credentials of a known user.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn find_credentials_of(&self, user: UserId) -> StoreResult<Option<Credentials>> {
        let pools = self.pools.clone();
        self.pools.run(async move { read!(pools, |conn| conn.find_credentials_of(user)) }).await
    }

    /// One user with the names of the directly assigned roles, sorted.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn find_user(&self, id: UserId) -> StoreResult<Option<User>> {
        let pools = self.pools.clone();
        self.pools.run(async move { read!(pools, |conn| conn.find_user(id)) }).await
    }

    /// A page of users, oldest first.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn list_users(&self, filter: UserFilter, page: Page) -> StoreResult<Slice<User>> {
        let pools = self.pools.clone();
        let rows = self.pools.run(async move { read!(pools, |conn| conn.list_users(filter, page)) }).await?;
        Ok(Slice::from_one_more(rows, page.limit))
    }

    /// The user's own change of `email` and `full_name`; the rest of the change is ignored.
    /// Another address counts as unverified. Gives the user before and after.
    ///
    /// # Errors
    /// `EmailTaken`, `NoSuchUser`, `Unavailable`.
    pub async fn update_profile(&self, id: UserId, change: UserChange, now: Timestamp) -> StoreResult<(User, User)> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| update_profile(conn, id, change, now)) }).await
    }

    /// An administrator's change, under the rules of authority and of the last
    /// administrator. A password set and a deactivation end all sessions. Gives
    /// the user before and after, and the sessions that ended.
    ///
    /// # Errors
    /// `Denied`, `NoSuchUser`, `EmailTaken`, `Unavailable`.
    pub async fn update_user(
        &self,
        by: Authority,
        target: UserId,
        change: UserChange,
        now: Timestamp,
    ) -> StoreResult<(User, User, Vec<SessionId>)> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| update(conn, &by, target, change, now)) }).await
    }

    /// Sets the user's own new password, if the hash is still the one that was
    /// checked (else `None`), and ends all sessions but one. Gives those that ended.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn change_password(
        &self,
        user: UserId,
        keep: SessionId,
        checked: SecretString,
        new: SecretString,
        now: Timestamp,
    ) -> StoreResult<Option<Vec<SessionId>>> {
        let pools = self.pools.clone();
        self.pools
            .run(async move { transaction!(pools, |conn| change_password(conn, user, keep, checked, new, now)) })
            .await
    }
}
