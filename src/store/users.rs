//! Users, and the changes that the rules of authority guard.

use secrecy::{ExposeSecret, SecretString};

use super::change::{Change, Noted, Statements, users_manage};
use super::pool::{read, transaction, write};
use super::sessions::end_in_order;
use super::user_statements::{UserInsert, UserStatements, UserUpdate};
use super::{Clock, Credentials, NewRecords, NewUser, Store, StoreError, StoreResult};
use crate::domain::audit::AuditRecord;
use crate::domain::{
    Authority, Denial, Needed, Page, PolicyError, RoleName, SessionEnd, SessionId, Slice, Timestamp, User, UserChange,
    UserFilter, UserId,
};

fn insert_of(new: &NewUser) -> UserInsert {
    UserInsert {
        id: new.id.into(),
        username: new.username.as_str().to_owned(),
        username_key: new.username.key(),
        email: new.email.as_ref().map(|email| email.as_str().to_owned()),
        email_key: new.email.as_ref().map(|email| email.key().to_owned()),
        email_verified: new.email.is_some() && new.is_email_verified,
        full_name: new.full_name.as_ref().map(|name| name.as_str().to_owned()),
        password_hash: new.password_hash.as_ref().map(|hash| hash.expose_secret().to_owned()),
        is_superuser: new.is_superuser,
        created_at: new.now.into(),
        updated_at: new.now.into(),
    }
}

pub(super) async fn create<C: Statements>(conn: &mut C, new: &NewUser, by: Option<UserId>) -> StoreResult<User> {
    conn.insert_user(insert_of(new)).await?;
    for role in &new.roles {
        if !conn.has_role_named(role).await? {
            return Err(PolicyError::NoSuchRole(role.clone()).into());
        }
        conn.insert_user_role(new.id, role, by, new.now).await?;
    }
    conn.find_user(new.id).await?.ok_or(StoreError::NoSuchUser)
}

async fn create_recorded<C: Statements>(
    conn: &mut C,
    new: &NewUser,
    records: NewRecords,
) -> StoreResult<(User, Vec<AuditRecord>)> {
    let user = create(conn, new, None).await?;
    Ok((user, conn.record(records).await?))
}

/// `handed_out`: the roles that the caller chose, and must be able to hand out.
async fn create_by<C: Statements>(
    conn: &mut C,
    by: &Authority,
    new: &NewUser,
    handed_out: &[RoleName],
) -> StoreResult<User> {
    let change = Change::begin(conn, by, &users_manage()?).await?;
    for role in handed_out {
        if !change.draft.roles().contains_key(role) {
            return Err(PolicyError::NoSuchRole(role.clone()).into());
        }
        change.check(|policy, caller| Denial::check_hand_out(policy, caller, role))?;
    }
    create(conn, new, change.made_by()).await
}

async fn create_first<C: Statements>(conn: &mut C, new: &NewUser) -> StoreResult<Option<User>> {
    conn.lock(Clock::Policy).await?;
    if conn.has_users().await? {
        return Ok(None);
    }
    create(conn, new, None).await.map(Some)
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
    let begun = Change::begin(conn, by, &users_manage()?).await?;
    let before = begun.target(conn, target).await?;
    if writes_superuser {
        begun.check(|_, caller| Denial::check_superuser_flag(caller))?;
    }
    let ends_sessions = change.password_hash.is_some() || change.is_active == Some(false);
    let present_key = conn.find_email_key(target).await?;
    // Without an address there is nothing to be verified.
    if present_key.is_none() && change.email.is_none() {
        change.email_verified = None;
    }
    conn.update_user(target, update_of(change, present_key.as_deref(), now)).await?;
    begun.finish(conn, vec![Noted::User(target)]).await?;
    let ended = if ends_sessions { end_in_order(conn, target, SessionEnd::All).await? } else { Vec::new() };
    let after = conn.find_user(target).await?.ok_or(StoreError::NoSuchUser)?;
    conn.note_ended(&ended).await?;
    Ok((before, after, ended))
}

async fn delete<C: Statements>(conn: &mut C, by: &Authority, target: UserId) -> StoreResult<(User, Vec<SessionId>)> {
    let change = Change::begin(conn, by, &Needed::Role(RoleName::admin())).await?;
    let before = change.target(conn, target).await?;
    let ended = end_in_order(conn, target, SessionEnd::All).await?;
    conn.delete_user(target).await?;
    change.finish(conn, vec![Noted::User(target)]).await?;
    conn.note_ended(&ended).await?;
    Ok((before, ended))
}

async fn end_sessions_of<C: Statements>(conn: &mut C, by: &Authority, target: UserId) -> StoreResult<Vec<SessionId>> {
    Change::begin(conn, by, &users_manage()?).await?.target(conn, target).await?;
    let ended = end_in_order(conn, target, SessionEnd::All).await?;
    conn.note_ended(&ended).await?;
    Ok(ended)
}

async fn check_write<C: Statements>(conn: &mut C, by: &Authority, target: UserId) -> StoreResult<User> {
    Change::begin(conn, by, &users_manage()?).await?.target(conn, target).await
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
    let ended = end_in_order(conn, user, SessionEnd::AllBut(keep)).await?;
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
        self.pools.run(async move { transaction!(pools, |conn| create(conn, &new, None)) }).await
    }

    /// Makes a user and records it, in one transaction where the database has both. Gives the user, and the
    /// records that are still to be written: those of SQLite, whose audit log is another file.
    ///
    /// # Errors
    /// As [`Store::create_user`].
    pub async fn create_user_recorded(
        &self,
        new: NewUser,
        records: NewRecords,
    ) -> StoreResult<(User, Vec<AuditRecord>)> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| create_recorded(conn, &new, records)) }).await
    }

    /// Makes a user for an administrator, who must be able to hand out the
    /// roles that they chose; those of `new` that they did not choose are given in any case.
    ///
    /// # Errors
    /// As [`Store::create_user`], and `Denied`.
    pub async fn create_user_by(&self, by: Authority, new: NewUser, handed_out: Vec<RoleName>) -> StoreResult<User> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| create_by(conn, &by, &new, &handed_out)) }).await
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

    /// Deletes a user, whose audit records stay; needs the role `admin`. Gives
    /// the user as it was, and the sessions that ended.
    ///
    /// # Errors
    /// `Denied`, `NoSuchUser`, `Unavailable`.
    pub async fn delete_user(&self, by: Authority, target: UserId) -> StoreResult<(User, Vec<SessionId>)> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| delete(conn, &by, target)) }).await
    }

    /// Ends all sessions of a user, for an administrator. Gives those that ended.
    ///
    /// # Errors
    /// `Denied`, `NoSuchUser`, `Unavailable`.
    pub async fn end_sessions_of(&self, by: Authority, target: UserId) -> StoreResult<Vec<SessionId>> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| end_sessions_of(conn, &by, target)) }).await
    }

    /// The user, if an administrator may write to them.
    ///
    /// # Errors
    /// `Denied`, `NoSuchUser`, `Unavailable`.
    pub async fn check_write(&self, by: Authority, target: UserId) -> StoreResult<User> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| check_write(conn, &by, target)) }).await
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

    /// Puts another hash of the same password in the place of the one that was checked; nothing happens
    /// where that is another one by now.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn renew_hash(&self, user: UserId, checked: SecretString, new: SecretString) -> StoreResult<()> {
        let pools = self.pools.clone();
        let (checked, new) = (checked.expose_secret().to_owned(), new.expose_secret().to_owned());
        self.pools.run(async move { write!(pools, |conn| conn.renew_hash(user, checked, new)) }).await
    }
}
