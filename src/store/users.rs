//! Users, and the changes that the rules of authority guard.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use secrecy::{ExposeSecret, SecretString};

use super::pool::{read, transaction};
use super::roles::RoleStatements;
use super::schema::{user_roles, users};
use super::sessions::SessionStatements;
use super::types::{DbId, DbTime};
use super::{Clock, Credentials, NewUser, Store, StoreError, StoreResult};
use crate::domain::{
    Authority, Denial, Page, Permission, SessionEnd, SessionId, Slice, Timestamp, User, UserChange, UserFilter, UserId,
};

#[derive(Queryable, Selectable)]
#[diesel(table_name = users)]
struct UserRow {
    id: DbId,
    username: String,
    email: Option<String>,
    email_verified: bool,
    full_name: Option<String>,
    is_active: bool,
    is_superuser: bool,
    created_at: DbTime,
    updated_at: DbTime,
    last_login_at: Option<DbTime>,
}

impl UserRow {
    /// With the names of the user's roles, which come sorted.
    fn with_roles(self, roles: Vec<String>) -> User {
        User {
            id: self.id.into(),
            username: self.username.into(),
            email: self.email.map(Into::into),
            email_verified: self.email_verified,
            full_name: self.full_name.map(Into::into),
            is_active: self.is_active,
            is_superuser: self.is_superuser,
            roles: super::roles::parse_names(roles),
            created_at: self.created_at.into(),
            updated_at: self.updated_at.into(),
            last_login_at: self.last_login_at.map(Into::into),
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = users)]
pub(super) struct CredentialsRow {
    id: DbId,
    username: String,
    password_hash: Option<String>,
    is_active: bool,
}

impl From<CredentialsRow> for Credentials {
    fn from(row: CredentialsRow) -> Self {
        Self {
            user_id: row.id.into(),
            username: row.username.into(),
            password_hash: row.password_hash.map(Into::into),
            is_active: row.is_active,
        }
    }
}

#[derive(Insertable)]
#[diesel(table_name = users)]
pub(super) struct UserInsert {
    id: DbId,
    username: String,
    username_key: String,
    email: Option<String>,
    email_key: Option<String>,
    full_name: Option<String>,
    password_hash: Option<String>,
    is_superuser: bool,
    created_at: DbTime,
    updated_at: DbTime,
}

/// What is written of a change; `None` leaves as it is.
#[derive(AsChangeset)]
#[diesel(table_name = users)]
pub(super) struct UserUpdate {
    email: Option<String>,
    email_key: Option<String>,
    email_verified: Option<bool>,
    full_name: Option<Option<String>>,
    password_hash: Option<String>,
    is_active: Option<bool>,
    is_superuser: Option<bool>,
    updated_at: DbTime,
}

/// The statements about users, compiled for each database.
pub(super) trait UserStatements: Send {
    fn find_user(&mut self, id: UserId) -> impl Future<Output = QueryResult<Option<User>>> + Send;
    fn list_users(&mut self, filter: UserFilter, page: Page) -> impl Future<Output = QueryResult<Vec<User>>> + Send;
    fn find_credentials(&mut self, key: String) -> impl Future<Output = QueryResult<Option<Credentials>>> + Send;
    fn find_credentials_of(&mut self, id: UserId) -> impl Future<Output = QueryResult<Option<Credentials>>> + Send;
    fn find_email_key(&mut self, id: UserId) -> impl Future<Output = QueryResult<Option<String>>> + Send;
    fn has_users(&mut self) -> impl Future<Output = QueryResult<bool>> + Send;
    fn insert_user(&mut self, user: UserInsert) -> impl Future<Output = QueryResult<()>> + Send;
    fn update_user(&mut self, id: UserId, update: UserUpdate) -> impl Future<Output = QueryResult<usize>> + Send;
    fn replace_password(
        &mut self,
        id: UserId,
        checked: String,
        new: String,
        now: Timestamp,
    ) -> impl Future<Output = QueryResult<bool>> + Send;
    fn note_login(
        &mut self,
        id: UserId,
        checked: String,
        now: Timestamp,
    ) -> impl Future<Output = QueryResult<bool>> + Send;
    /// Whether an active superuser can sign in, and whether an active user who passes the check for `admin` can.
    fn administrators(&mut self) -> impl Future<Output = QueryResult<(bool, bool)>> + Send;
}

macro_rules! user_statements {
    ($($connection:ty => $db:ty),*) => {$(
        impl UserStatements for $connection {
            async fn find_user(&mut self, id: UserId) -> QueryResult<Option<User>> {
                let row = users::table.find(DbId::from(id)).select(UserRow::as_select()).first(self).await.optional()?;
                let Some(row) = row else { return Ok(None) };
                let roles = user_roles::table
                    .filter(user_roles::user_id.eq(DbId::from(id)))
                    .order(user_roles::role_name)
                    .select(user_roles::role_name)
                    .load::<String>(self)
                    .await?;
                Ok(Some(row.with_roles(roles)))
            }

            async fn list_users(&mut self, filter: UserFilter, page: Page) -> QueryResult<Vec<User>> {
                let mut query = users::table.select(UserRow::as_select()).into_boxed::<$db>();
                if let Some(prefix) = filter.prefix {
                    let end = format!("{prefix}\u{10FFFF}");
                    query = query.filter(
                        users::username_key
                            .ge(prefix.clone())
                            .and(users::username_key.lt(end.clone()))
                            .or(users::email_key.ge(prefix).and(users::email_key.lt(end)).assume_not_null()),
                    );
                }
                if let Some(role) = filter.role {
                    query = query.filter(diesel::dsl::exists(
                        user_roles::table
                            .filter(user_roles::user_id.eq(users::id))
                            .filter(user_roles::role_name.eq(role.as_str().to_owned())),
                    ));
                }
                if let Some(is_active) = filter.is_active {
                    query = query.filter(users::is_active.eq(is_active));
                }
                let rows = query
                    .order(users::id)
                    .limit(i64::from(page.limit) + 1)
                    .offset(i64::try_from(page.offset).unwrap_or(i64::MAX))
                    .load::<UserRow>(self)
                    .await?;
                let ids: Vec<DbId> = rows.iter().map(|row| row.id).collect();
                let assigned = user_roles::table
                    .filter(user_roles::user_id.eq_any(ids))
                    .order(user_roles::role_name)
                    .select((user_roles::user_id, user_roles::role_name))
                    .load::<(DbId, String)>(self)
                    .await?;
                let mut roles = std::collections::HashMap::<DbId, Vec<String>>::new();
                for (user, role) in assigned {
                    roles.entry(user).or_default().push(role);
                }
                Ok(rows.into_iter().map(|row| {
                    let roles = roles.remove(&row.id).unwrap_or_default();
                    row.with_roles(roles)
                }).collect())
            }

            async fn find_credentials(&mut self, key: String) -> QueryResult<Option<Credentials>> {
                let query = users::table.select(CredentialsRow::as_select()).into_boxed::<$db>();
                // No username has an @.
                let query = if key.contains('@') {
                    query.filter(users::email_key.eq(key))
                } else {
                    query.filter(users::username_key.eq(key))
                };
                Ok(query.first::<CredentialsRow>(self).await.optional()?.map(Into::into))
            }

            async fn find_credentials_of(&mut self, id: UserId) -> QueryResult<Option<Credentials>> {
                let row = users::table
                    .find(DbId::from(id))
                    .select(CredentialsRow::as_select())
                    .first(self)
                    .await
                    .optional()?;
                Ok(row.map(Into::into))
            }

            async fn find_email_key(&mut self, id: UserId) -> QueryResult<Option<String>> {
                let key = users::table.find(DbId::from(id)).select(users::email_key).first(self).await.optional()?;
                Ok(key.flatten())
            }

            async fn has_users(&mut self) -> QueryResult<bool> {
                diesel::select(diesel::dsl::exists(users::table.select(users::id))).get_result(self).await
            }

            async fn insert_user(&mut self, user: UserInsert) -> QueryResult<()> {
                diesel::insert_into(users::table).values(user).execute(self).await.map(drop)
            }

            async fn update_user(&mut self, id: UserId, update: UserUpdate) -> QueryResult<usize> {
                diesel::update(users::table.find(DbId::from(id))).set(update).execute(self).await
            }

            async fn replace_password(
                &mut self,
                id: UserId,
                checked: String,
                new: String,
                now: Timestamp,
            ) -> QueryResult<bool> {
                let changed = diesel::update(
                    users::table.find(DbId::from(id)).filter(users::password_hash.eq(checked)).filter(users::is_active),
                )
                .set((users::password_hash.eq(new), users::updated_at.eq(DbTime::from(now))))
                .execute(self)
                .await?;
                Ok(changed == 1)
            }

            async fn note_login(&mut self, id: UserId, checked: String, now: Timestamp) -> QueryResult<bool> {
                let changed = diesel::update(
                    users::table.find(DbId::from(id)).filter(users::password_hash.eq(checked)).filter(users::is_active),
                )
                .set(users::last_login_at.eq(DbTime::from(now)))
                .execute(self)
                .await?;
                Ok(changed == 1)
            }

            async fn administrators(&mut self) -> QueryResult<(bool, bool)> {
                let able = users::table.filter(users::is_active).filter(users::password_hash.is_not_null());
                let superuser = diesel::dsl::exists(able.filter(users::is_superuser));
                let admin = diesel::dsl::exists(able.filter(users::is_superuser.or(diesel::dsl::exists(
                    user_roles::table
                        .filter(user_roles::user_id.eq(users::id))
                        .filter(user_roles::role_name.eq("admin")),
                ))));
                diesel::select((superuser, admin)).get_result(self).await
            }
        }
    )*};
}

user_statements!(super::connect::AsyncSqlite => diesel::sqlite::Sqlite, diesel_async::AsyncPgConnection => diesel::pg::Pg);

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
