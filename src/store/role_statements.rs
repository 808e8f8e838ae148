//! The statements about roles and permissions, compiled for each database.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::schema::{permissions, role_includes, role_permissions, role_wildcards, roles, user_roles};
use super::types::{DbId, DbTime};
use crate::domain::{Grant, Permission, PermissionInfo, PolicyDraft, Role, RoleName, Timestamp, UserId};

/// Names from the database; one that is none of ours gives nothing.
pub(super) fn parse_names(names: Vec<String>) -> Vec<RoleName> {
    names
        .into_iter()
        .filter_map(|name| {
            RoleName::parse(&name).map_err(|_| log::error!("a role in the database has no valid name")).ok()
        })
        .collect()
}

/// Name, description, whether it is built in: of a role, or of a permission.
type NamedRow = (String, String, bool);
/// A role's name, and what it grants or includes.
type PairRow = (String, String);

/// The rows of all roles and permissions at one moment.
pub(super) struct PolicyRows {
    roles: Vec<NamedRow>,
    grants: Vec<PairRow>,
    wildcards: Vec<PairRow>,
    includes: Vec<PairRow>,
    permissions: Vec<NamedRow>,
}

impl PolicyRows {
    /// The roles and permissions that they are.
    pub(super) fn draft(self) -> PolicyDraft {
        let mut grants = gather(self.grants.into_iter().chain(self.wildcards), |text| Grant::parse(text).ok());
        let mut includes = gather(self.includes.into_iter(), |text| RoleName::parse(text).ok());
        let roles = self
            .roles
            .into_iter()
            .filter_map(|(name, description, is_built_in)| {
                let grants = grants.remove(&name).unwrap_or_default();
                let includes = includes.remove(&name).unwrap_or_default();
                Some(Role { name: RoleName::parse(&name).ok()?, description, is_built_in, grants, includes })
            })
            .collect();
        let infos = self
            .permissions
            .into_iter()
            .filter_map(|(name, description, is_built_in)| {
                Some(PermissionInfo { name: Permission::parse(&name).ok()?, description, is_built_in })
            })
            .collect();
        PolicyDraft::new(roles, infos)
    }
}

/// What each role has of a kind, sorted.
fn gather<T: Ord>(rows: impl Iterator<Item = PairRow>, parse: impl Fn(&str) -> Option<T>) -> HashMap<String, Vec<T>> {
    let mut gathered = HashMap::<String, Vec<T>>::new();
    for (role, text) in rows {
        gathered.entry(role).or_default().extend(parse(&text));
    }
    gathered.values_mut().for_each(|had| had.sort());
    gathered
}

/// The statements about roles and permissions.
pub(super) trait RoleStatements: Send {
    fn load_policy(&mut self) -> impl Future<Output = QueryResult<PolicyRows>> + Send;
    fn has_role_named(&mut self, name: &RoleName) -> impl Future<Output = QueryResult<bool>> + Send;
    fn insert_role(
        &mut self,
        name: &RoleName,
        description: &str,
        now: Timestamp,
    ) -> impl Future<Output = QueryResult<()>> + Send;
    fn update_role(&mut self, name: &RoleName, description: &str) -> impl Future<Output = QueryResult<usize>> + Send;
    fn delete_role(&mut self, name: &RoleName) -> impl Future<Output = QueryResult<usize>> + Send;
    fn insert_permission(
        &mut self,
        name: &Permission,
        description: &str,
        now: Timestamp,
    ) -> impl Future<Output = QueryResult<()>> + Send;
    fn update_permission(
        &mut self,
        name: &Permission,
        description: &str,
    ) -> impl Future<Output = QueryResult<usize>> + Send;
    fn delete_permission(&mut self, name: &Permission) -> impl Future<Output = QueryResult<usize>> + Send;
    /// False if the role has it already.
    fn insert_grant(
        &mut self,
        role: &RoleName,
        grant: &Grant,
        now: Timestamp,
    ) -> impl Future<Output = QueryResult<bool>> + Send;
    /// False if the role does not have it.
    fn delete_grant(&mut self, role: &RoleName, grant: &Grant) -> impl Future<Output = QueryResult<bool>> + Send;
    /// False if the role includes it already.
    fn insert_include(
        &mut self,
        role: &RoleName,
        other: &RoleName,
        now: Timestamp,
    ) -> impl Future<Output = QueryResult<bool>> + Send;
    /// False if the role does not include it.
    fn delete_include(&mut self, role: &RoleName, other: &RoleName) -> impl Future<Output = QueryResult<bool>> + Send;
    /// Who was assigned one of these roles directly.
    fn users_of_roles(&mut self, names: &[RoleName]) -> impl Future<Output = QueryResult<Vec<UserId>>> + Send;
    /// Whether anybody was assigned one of these roles directly.
    fn is_any_assigned(&mut self, names: &[RoleName]) -> impl Future<Output = QueryResult<bool>> + Send;
    /// False if the user has it already, and then who assigned it and when stay.
    fn insert_user_role(
        &mut self,
        user: UserId,
        role: &RoleName,
        by: Option<UserId>,
        now: Timestamp,
    ) -> impl Future<Output = QueryResult<bool>> + Send;
    /// False if the user does not have it.
    fn delete_user_role(&mut self, user: UserId, role: &RoleName) -> impl Future<Output = QueryResult<bool>> + Send;
}

fn texts(names: &[RoleName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

macro_rules! role_statements {
    ($($connection:ty),*) => {$(
        impl RoleStatements for $connection {
            async fn load_policy(&mut self) -> QueryResult<PolicyRows> {
                Ok(PolicyRows {
                    roles: roles::table
                        .select((roles::name, roles::description, roles::is_built_in))
                        .load(self)
                        .await?,
                    grants: role_permissions::table
                        .select((role_permissions::role_name, role_permissions::permission_name))
                        .load(self)
                        .await?,
                    wildcards: role_wildcards::table
                        .select((role_wildcards::role_name, role_wildcards::pattern))
                        .load(self)
                        .await?,
                    includes: role_includes::table
                        .select((role_includes::role_name, role_includes::included_name))
                        .load(self)
                        .await?,
                    permissions: permissions::table
                        .select((permissions::name, permissions::description, permissions::is_built_in))
                        .load(self)
                        .await?,
                })
            }

            async fn has_role_named(&mut self, name: &RoleName) -> QueryResult<bool> {
                let row = roles::table.find(name.to_string()).select(roles::name);
                diesel::select(diesel::dsl::exists(row)).get_result(self).await
            }

            async fn insert_role(&mut self, name: &RoleName, description: &str, now: Timestamp) -> QueryResult<()> {
                diesel::insert_into(roles::table)
                    .values((
                        roles::name.eq(name.to_string()),
                        roles::description.eq(description.to_owned()),
                        roles::is_built_in.eq(false),
                        roles::created_at.eq(DbTime::from(now)),
                    ))
                    .execute(self)
                    .await
                    .map(drop)
            }

            async fn update_role(&mut self, name: &RoleName, description: &str) -> QueryResult<usize> {
                diesel::update(roles::table.find(name.to_string()))
                    .set(roles::description.eq(description.to_owned()))
                    .execute(self)
                    .await
            }

            async fn delete_role(&mut self, name: &RoleName) -> QueryResult<usize> {
                diesel::delete(roles::table.find(name.to_string())).execute(self).await
            }

            async fn insert_permission(
                &mut self,
                name: &Permission,
                description: &str,
                now: Timestamp,
            ) -> QueryResult<()> {
                diesel::insert_into(permissions::table)
                    .values((
                        permissions::name.eq(name.to_string()),
                        permissions::description.eq(description.to_owned()),
                        permissions::is_built_in.eq(false),
                        permissions::created_at.eq(DbTime::from(now)),
                    ))
                    .execute(self)
                    .await
                    .map(drop)
            }

            async fn update_permission(&mut self, name: &Permission, description: &str) -> QueryResult<usize> {
                diesel::update(permissions::table.find(name.to_string()))
                    .set(permissions::description.eq(description.to_owned()))
                    .execute(self)
                    .await
            }

            async fn delete_permission(&mut self, name: &Permission) -> QueryResult<usize> {
                diesel::delete(permissions::table.find(name.to_string())).execute(self).await
            }

            async fn insert_grant(&mut self, role: &RoleName, grant: &Grant, now: Timestamp) -> QueryResult<bool> {
                let (role, text, now) = (role.to_string(), grant.to_string(), DbTime::from(now));
                let inserted = if grant.as_permission().is_some() {
                    let row = (
                        role_permissions::role_name.eq(role),
                        role_permissions::permission_name.eq(text),
                        role_permissions::granted_at.eq(now),
                    );
                    diesel::insert_into(role_permissions::table).values(row).on_conflict_do_nothing().execute(self).await?
                } else {
                    let row = (
                        role_wildcards::role_name.eq(role),
                        role_wildcards::pattern.eq(text),
                        role_wildcards::granted_at.eq(now),
                    );
                    diesel::insert_into(role_wildcards::table).values(row).on_conflict_do_nothing().execute(self).await?
                };
                Ok(inserted == 1)
            }

            async fn delete_grant(&mut self, role: &RoleName, grant: &Grant) -> QueryResult<bool> {
                let key = (role.to_string(), grant.to_string());
                let deleted = if grant.as_permission().is_some() {
                    diesel::delete(role_permissions::table.find(key)).execute(self).await?
                } else {
                    diesel::delete(role_wildcards::table.find(key)).execute(self).await?
                };
                Ok(deleted == 1)
            }

            async fn insert_include(
                &mut self,
                role: &RoleName,
                other: &RoleName,
                now: Timestamp,
            ) -> QueryResult<bool> {
                let inserted = diesel::insert_into(role_includes::table)
                    .values((
                        role_includes::role_name.eq(role.to_string()),
                        role_includes::included_name.eq(other.to_string()),
                        role_includes::included_at.eq(DbTime::from(now)),
                    ))
                    .on_conflict_do_nothing()
                    .execute(self)
                    .await?;
                Ok(inserted == 1)
            }

            async fn delete_include(&mut self, role: &RoleName, other: &RoleName) -> QueryResult<bool> {
                let row = role_includes::table.find((role.to_string(), other.to_string()));
                Ok(diesel::delete(row).execute(self).await? == 1)
            }

            async fn users_of_roles(&mut self, names: &[RoleName]) -> QueryResult<Vec<UserId>> {
                let users = user_roles::table
                    .filter(user_roles::role_name.eq_any(texts(names)))
                    .order(user_roles::user_id)
                    .select(user_roles::user_id)
                    .distinct()
                    .load::<DbId>(self)
                    .await?;
                Ok(users.into_iter().map(Into::into).collect())
            }

            async fn is_any_assigned(&mut self, names: &[RoleName]) -> QueryResult<bool> {
                let assigned = user_roles::table.filter(user_roles::role_name.eq_any(texts(names)));
                diesel::select(diesel::dsl::exists(assigned)).get_result(self).await
            }

            async fn insert_user_role(
                &mut self,
                user: UserId,
                role: &RoleName,
                by: Option<UserId>,
                now: Timestamp,
            ) -> QueryResult<bool> {
                let inserted = diesel::insert_into(user_roles::table)
                    .values((
                        user_roles::user_id.eq(DbId::from(user)),
                        user_roles::role_name.eq(role.to_string()),
                        user_roles::assigned_by.eq(by.map(DbId::from)),
                        user_roles::assigned_at.eq(DbTime::from(now)),
                    ))
                    .on_conflict_do_nothing()
                    .execute(self)
                    .await?;
                Ok(inserted == 1)
            }

            async fn delete_user_role(&mut self, user: UserId, role: &RoleName) -> QueryResult<bool> {
                let row = user_roles::table.find((DbId::from(user), role.to_string()));
                Ok(diesel::delete(row).execute(self).await? == 1)
            }

        }
    )*};
}

role_statements!(super::connect::AsyncSqlite, diesel_async::AsyncPgConnection);
