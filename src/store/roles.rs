//! Roles, permissions, who has them, and the clocks of their change.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::pool::{read, transaction};
use super::schema::{change_clocks, changes, permissions, role_permissions, roles, user_roles};
use super::types::{DbId, DbTime};
use super::users::{Change, Statements};
use super::{Clock, Store, StoreResult};
use crate::domain::{
    Authority, Denial, Permission, PermissionInfo, Policy, Role, RoleName, SessionId, Timestamp, UserId,
};

/// Names from the database; one that is none of ours grants nothing.
pub(super) fn parse_names(names: Vec<String>) -> Vec<RoleName> {
    names
        .into_iter()
        .filter_map(|name| {
            RoleName::parse(&name).map_err(|_| log::error!("a role in the database has no valid name")).ok()
        })
        .collect()
}

type RoleRow = (String, String, bool);

/// Roles with their grants, and permissions, from rows that come sorted.
fn assemble(
    roles: Vec<RoleRow>,
    grants: Vec<(String, String)>,
    infos: Vec<RoleRow>,
) -> (Vec<Role>, Vec<PermissionInfo>) {
    let mut granted = std::collections::HashMap::<String, Vec<Permission>>::new();
    for (role, permission) in grants {
        if let Ok(permission) = Permission::parse(&permission) {
            granted.entry(role).or_default().push(permission);
        }
    }
    let roles = roles
        .into_iter()
        .filter_map(|(name, description, is_built_in)| {
            let permissions = granted.remove(&name).unwrap_or_default();
            Some(Role { name: RoleName::parse(&name).ok()?, description, is_built_in, permissions })
        })
        .collect();
    let infos = infos
        .into_iter()
        .filter_map(|(name, description, is_built_in)| {
            Some(PermissionInfo { name: Permission::parse(&name).ok()?, description, is_built_in })
        })
        .collect();
    (roles, infos)
}

/// The statements about roles, and about clocks, compiled for each database.
pub(super) trait RoleStatements: Send {
    fn load_policy(&mut self) -> impl Future<Output = QueryResult<(Vec<Role>, Vec<PermissionInfo>)>> + Send;
    /// The policy as far as these roles go.
    fn load_policy_of(&mut self, names: &[RoleName]) -> impl Future<Output = QueryResult<Policy>> + Send;
    fn find_role(&mut self, name: &RoleName) -> impl Future<Output = QueryResult<Option<Role>>> + Send;
    fn insert_user_role(
        &mut self,
        user: UserId,
        role: &RoleName,
        by: Option<UserId>,
        now: Timestamp,
    ) -> impl Future<Output = QueryResult<bool>> + Send;
    fn delete_user_role(&mut self, user: UserId, role: &RoleName) -> impl Future<Output = QueryResult<bool>> + Send;
    /// Locks a clock until the end of the transaction.
    fn lock(&mut self, clock: Clock) -> impl Future<Output = QueryResult<()>> + Send;
    /// Moves a clock by as many steps as there are changes, and notes these.
    fn note_changes(
        &mut self,
        clock: Clock,
        noted: Vec<(&'static str, String)>,
    ) -> impl Future<Output = QueryResult<()>> + Send;
    fn note_ended(&mut self, ended: &[SessionId]) -> impl Future<Output = QueryResult<()>> + Send;
}

macro_rules! role_statements {
    ($($connection:ty => $now:literal),*) => {$(
        impl RoleStatements for $connection {
            async fn load_policy(&mut self) -> QueryResult<(Vec<Role>, Vec<PermissionInfo>)> {
                let rows = roles::table
                    .order(roles::name)
                    .select((roles::name, roles::description, roles::is_built_in))
                    .load::<RoleRow>(self)
                    .await?;
                let grants = role_permissions::table
                    .order((role_permissions::role_name, role_permissions::permission_name))
                    .select((role_permissions::role_name, role_permissions::permission_name))
                    .load::<(String, String)>(self)
                    .await?;
                let infos = permissions::table
                    .order(permissions::name)
                    .select((permissions::name, permissions::description, permissions::is_built_in))
                    .load::<RoleRow>(self)
                    .await?;
                Ok(assemble(rows, grants, infos))
            }

            async fn load_policy_of(&mut self, names: &[RoleName]) -> QueryResult<Policy> {
                let names: Vec<String> = names.iter().map(|name| name.as_str().to_owned()).collect();
                let rows = roles::table
                    .filter(roles::name.eq_any(names.clone()))
                    .select((roles::name, roles::description, roles::is_built_in))
                    .load::<RoleRow>(self)
                    .await?;
                let grants = role_permissions::table
                    .filter(role_permissions::role_name.eq_any(names))
                    .select((role_permissions::role_name, role_permissions::permission_name))
                    .load::<(String, String)>(self)
                    .await?;
                let infos = permissions::table
                    .select((permissions::name, permissions::description, permissions::is_built_in))
                    .load::<RoleRow>(self)
                    .await?;
                let (roles, infos) = assemble(rows, grants, infos);
                Ok(Policy::compile(roles, infos))
            }

            async fn find_role(&mut self, name: &RoleName) -> QueryResult<Option<Role>> {
                let row = roles::table
                    .find(name.as_str().to_owned())
                    .select((roles::name, roles::description, roles::is_built_in))
                    .first::<RoleRow>(self)
                    .await
                    .optional()?;
                let Some(row) = row else { return Ok(None) };
                let grants = role_permissions::table
                    .filter(role_permissions::role_name.eq(name.as_str().to_owned()))
                    .order(role_permissions::permission_name)
                    .select((role_permissions::role_name, role_permissions::permission_name))
                    .load::<(String, String)>(self)
                    .await?;
                Ok(assemble(vec![row], grants, Vec::new()).0.pop())
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
                        user_roles::role_name.eq(role.as_str().to_owned()),
                        user_roles::assigned_by.eq(by.map(DbId::from)),
                        user_roles::assigned_at.eq(DbTime::from(now)),
                    ))
                    .on_conflict_do_nothing()
                    .execute(self)
                    .await?;
                Ok(inserted == 1)
            }

            async fn delete_user_role(&mut self, user: UserId, role: &RoleName) -> QueryResult<bool> {
                let row = user_roles::table.find((DbId::from(user), role.as_str().to_owned()));
                Ok(diesel::delete(row).execute(self).await? == 1)
            }

            async fn lock(&mut self, clock: Clock) -> QueryResult<()> {
                diesel::update(change_clocks::table.find(clock.name()))
                    .set(change_clocks::version.eq(change_clocks::version))
                    .execute(self)
                    .await
                    .map(drop)
            }

            async fn note_changes(&mut self, clock: Clock, noted: Vec<(&'static str, String)>) -> QueryResult<()> {
                let steps = i64::try_from(noted.len()).unwrap_or(i64::MAX);
                if steps == 0 {
                    return Ok(());
                }
                let last: i64 = diesel::update(change_clocks::table.find(clock.name()))
                    .set(change_clocks::version.eq(change_clocks::version + steps))
                    .returning(change_clocks::version)
                    .get_result(self)
                    .await?;
                for (version, (kind, key)) in (last - steps + 1..).zip(noted) {
                    diesel::insert_into(changes::table)
                        .values((
                            changes::clock.eq(clock.name()),
                            changes::version.eq(version),
                            changes::kind.eq(kind),
                            changes::key.eq(key),
                            changes::created_at.eq(diesel::dsl::sql::<super::types::Instant>($now)),
                        ))
                        .execute(self)
                        .await?;
                }
                Ok(())
            }

            async fn note_ended(&mut self, ended: &[SessionId]) -> QueryResult<()> {
                self.note_changes(Clock::Sessions, ended.iter().map(|id| ("session", id.to_string())).collect()).await
            }
        }
    )*};
}

role_statements!(
    super::connect::AsyncSqlite => "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)",
    diesel_async::AsyncPgConnection => "clock_timestamp()"
);

async fn assign<C: Statements>(
    conn: &mut C,
    by: &Authority,
    target: UserId,
    role: &RoleName,
    now: Timestamp,
) -> StoreResult<bool> {
    let rule = |policy: &Policy, caller: &crate::domain::User| Denial::check_hand_out(policy, caller, role);
    let change = Change::begin(conn, by, target, Some(role), rule).await?;
    let assigned_by = match by {
        Authority::User(id) => Some(*id),
        Authority::System => None,
    };
    let is_changed = conn.insert_user_role(target, role, assigned_by, now).await?;
    if is_changed {
        change.finish(conn).await?;
    }
    Ok(is_changed)
}

async fn revoke<C: Statements>(conn: &mut C, by: &Authority, target: UserId, role: &RoleName) -> StoreResult<bool> {
    let rule = |policy: &Policy, caller: &crate::domain::User| Denial::check_hand_out(policy, caller, role);
    let change = Change::begin(conn, by, target, Some(role), rule).await?;
    let is_changed = conn.delete_user_role(target, role).await?;
    if is_changed {
        change.finish(conn).await?;
    }
    Ok(is_changed)
}

impl Store {
    /// All roles with their grants, and all permissions.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn load_policy(&self) -> StoreResult<(Vec<Role>, Vec<PermissionInfo>)> {
        let pools = self.pools.clone();
        self.pools.run(async move { read!(pools, |conn| RoleStatements::load_policy(conn)) }).await
    }

    /// Assigns a role; false if the user has it already, and then who assigned
    /// it and when stay.
    ///
    /// # Errors
    /// `NoSuchUser`, `NoSuchRole`, `Denied`, `Unavailable`.
    pub async fn assign_role(
        &self,
        by: Authority,
        target: UserId,
        role: RoleName,
        now: Timestamp,
    ) -> StoreResult<bool> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| assign(conn, &by, target, &role, now)) }).await
    }

    /// Takes a role away; false if the user did not have it.
    ///
    /// # Errors
    /// `NoSuchUser`, `NoSuchRole`, `Denied`, `Unavailable`.
    pub async fn revoke_role(&self, by: Authority, target: UserId, role: RoleName) -> StoreResult<bool> {
        let pools = self.pools.clone();
        self.pools.run(async move { transaction!(pools, |conn| revoke(conn, &by, target, &role)) }).await
    }
}
