//! The rows of users and the statements about them, compiled for each database.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use secrecy::ExposeSecret;

use super::schema::{oauth_identities, user_roles, users};
use super::types::{DbId, DbTime};
use super::{Checked, Credentials};
use crate::domain::{Page, RoleName, Timestamp, User, UserFilter, UserId};

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
            roles: super::role_statements::parse_names(roles),
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
    pub(super) id: DbId,
    pub(super) username: String,
    pub(super) username_key: String,
    pub(super) email: Option<String>,
    pub(super) email_key: Option<String>,
    pub(super) email_verified: bool,
    pub(super) full_name: Option<String>,
    pub(super) password_hash: Option<String>,
    pub(super) is_superuser: bool,
    pub(super) created_at: DbTime,
    pub(super) updated_at: DbTime,
}

/// What is written of a change; `None` leaves as it is.
#[derive(AsChangeset)]
#[diesel(table_name = users)]
pub(super) struct UserUpdate {
    pub(super) email: Option<String>,
    pub(super) email_key: Option<String>,
    pub(super) email_verified: Option<bool>,
    pub(super) full_name: Option<Option<String>>,
    pub(super) password_hash: Option<String>,
    pub(super) is_active: Option<bool>,
    pub(super) is_superuser: Option<bool>,
    pub(super) updated_at: DbTime,
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
    /// The same password hashed anew: nothing that the user sees changes.
    fn renew_hash(&mut self, id: UserId, checked: String, new: String) -> impl Future<Output = QueryResult<()>> + Send;
    fn note_login(
        &mut self,
        id: UserId,
        checked: Checked,
        now: Timestamp,
    ) -> impl Future<Output = QueryResult<bool>> + Send;
    fn delete_user(&mut self, id: UserId) -> impl Future<Output = QueryResult<usize>> + Send;
    /// Whether an active superuser can sign in, and whether an active user can
    /// who is one or was assigned a role that brings `admin`.
    fn administrators(&mut self, bringing_admin: &[RoleName])
    -> impl Future<Output = QueryResult<(bool, bool)>> + Send;
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

            async fn renew_hash(&mut self, id: UserId, checked: String, new: String) -> QueryResult<()> {
                diesel::update(users::table.find(DbId::from(id)).filter(users::password_hash.eq(checked)))
                    .set(users::password_hash.eq(new))
                    .execute(self)
                    .await
                    .map(drop)
            }

            async fn note_login(&mut self, id: UserId, checked: Checked, now: Timestamp) -> QueryResult<bool> {
                let active = users::table.find(DbId::from(id)).filter(users::is_active);
                let login = users::last_login_at.eq(DbTime::from(now));
                let changed = match checked {
                    Checked::Password(hash) => {
                        let same = active.filter(users::password_hash.eq(hash.expose_secret().to_owned()));
                        diesel::update(same).set(login).execute(self).await?
                    }
                    Checked::Identity(identity) => {
                        let linked = oauth_identities::table
                            .find(DbId::from(identity))
                            .filter(oauth_identities::user_id.eq(DbId::from(id)));
                        let noted = diesel::update(linked)
                            .set(oauth_identities::last_login_at.eq(DbTime::from(now)))
                            .execute(self)
                            .await?;
                        if noted == 0 { 0 } else { diesel::update(active).set(login).execute(self).await? }
                    }
                };
                Ok(changed == 1)
            }

            async fn delete_user(&mut self, id: UserId) -> QueryResult<usize> {
                diesel::delete(users::table.find(DbId::from(id))).execute(self).await
            }

            async fn administrators(&mut self, bringing_admin: &[RoleName]) -> QueryResult<(bool, bool)> {
                let bringing: Vec<String> = bringing_admin.iter().map(ToString::to_string).collect();
                let identities = oauth_identities::table.filter(oauth_identities::user_id.eq(users::id));
                let can_sign_in = users::password_hash.is_not_null().or(diesel::dsl::exists(identities));
                let able = users::table.filter(users::is_active).filter(can_sign_in);
                let superuser = diesel::dsl::exists(able.filter(users::is_superuser));
                let admin = diesel::dsl::exists(able.filter(users::is_superuser.or(diesel::dsl::exists(
                    user_roles::table
                        .filter(user_roles::user_id.eq(users::id))
                        .filter(user_roles::role_name.eq_any(bringing)),
                ))));
                diesel::select((superuser, admin)).get_result(self).await
            }
        }
    )*};
}

user_statements!(super::connect::AsyncSqlite => diesel::sqlite::Sqlite, diesel_async::AsyncPgConnection => diesel::pg::Pg);
