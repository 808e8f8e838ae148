//! Roles and permissions, and who has them.

use super::change::{Change, Noted, Statements, users_manage};
use super::pool::{snapshot, transaction};
use super::role_statements::RoleStatements;
use super::{Applied, Misfit, NewRecords, Store, StoreResult};
use crate::domain::{
    Authority, Denial, PolicyChange, PolicyDraft, PolicyEffect, PolicyError, RoleName, Timestamp, UserId,
};

async fn assign<C: Statements>(
    conn: &mut C,
    by: &Authority,
    target: UserId,
    role: &RoleName,
    now: Timestamp,
) -> StoreResult<bool> {
    let change = begin_assignment(conn, by, target, role).await?;
    let is_changed = conn.insert_user_role(target, role, change.made_by(), now).await?;
    if is_changed {
        change.finish(conn, vec![Noted::User(target)]).await?;
    }
    Ok(is_changed)
}

async fn revoke<C: Statements>(conn: &mut C, by: &Authority, target: UserId, role: &RoleName) -> StoreResult<bool> {
    let change = begin_assignment(conn, by, target, role).await?;
    let is_changed = conn.delete_user_role(target, role).await?;
    if is_changed {
        change.finish(conn, vec![Noted::User(target)]).await?;
    }
    Ok(is_changed)
}

async fn begin_assignment<C: Statements>(
    conn: &mut C,
    by: &Authority,
    target: UserId,
    role: &RoleName,
) -> StoreResult<Change> {
    let change = Change::begin(conn, by, &users_manage()?).await?;
    conn.find_user(target).await?.ok_or(super::StoreError::NoSuchUser)?;
    if !change.draft.roles().contains_key(role) {
        return Err(PolicyError::NoSuchRole(role.clone()).into());
    }
    change.target(conn, target).await?;
    change.check(|policy, caller| Denial::check_hand_out(policy, caller, role))?;
    Ok(change)
}

/// All of the changes or none.
async fn change_policy<C: Statements>(
    conn: &mut C,
    by: &Authority,
    steps: &[PolicyChange],
    default_role: &RoleName,
    now: Timestamp,
) -> StoreResult<Vec<PolicyEffect>> {
    let change = Change::begin(conn, by, &users_manage()?).await?;
    make(conn, change, steps, default_role, now).await
}

/// What is planned under the lock is what is made.
async fn apply_policy<C: Statements>(
    conn: &mut C,
    wanted: &PolicyDraft,
    prunes: bool,
    default_role: &RoleName,
    records: impl FnOnce(&[PolicyChange], &[PolicyEffect]) -> NewRecords + Send,
    now: Timestamp,
) -> StoreResult<Result<Applied, Misfit>> {
    let change = Change::begin(conn, &Authority::System, &users_manage()?).await?;
    let steps = match change.draft.plan(wanted, prunes) {
        Ok((steps, _)) => steps,
        Err((step, error)) => return Ok(Err(Misfit { step, error })),
    };
    let effects = make(conn, change, &steps, default_role, now).await?;
    let unrecorded = conn.record(records(&steps, &effects)).await?;
    Ok(Ok(Applied { steps, effects, unrecorded }))
}

async fn make<C: Statements>(
    conn: &mut C,
    mut change: Change,
    steps: &[PolicyChange],
    default_role: &RoleName,
    now: Timestamp,
) -> StoreResult<Vec<PolicyEffect>> {
    let mut effects = Vec::with_capacity(steps.len());
    for step in steps {
        change.draft.check_exists(step)?;
        check_authority(conn, &change, step).await?;
        let mut effect = change.apply(step)?;
        if let PolicyEffect::RoleDeleted { role, users, .. } = &mut effect {
            *users = conn.users_of_roles(std::slice::from_ref(&role.name)).await?;
        }
        if effect.is_change() {
            write(conn, step, now).await?;
        }
        effects.push(effect);
    }
    change.check_default_role(default_role)?;
    let mut noted = Vec::new();
    if effects.iter().any(PolicyEffect::is_change) {
        noted.push(Noted::Policy);
    }
    // A later role of that name starts empty, also where its holders are remembered.
    if effects.iter().any(|effect| matches!(effect, PolicyEffect::RoleDeleted { .. })) {
        noted.push(Noted::AllUsers);
    }
    if !noted.is_empty() {
        change.finish(conn, noted).await?;
    }
    Ok(effects)
}

/// What a change needs beyond the permission to administer.
async fn check_authority<C: Statements>(conn: &mut C, change: &Change, step: &PolicyChange) -> StoreResult<()> {
    match step {
        PolicyChange::Grant(_, grant) => change.check(|policy, caller| Denial::check_grant(policy, caller, grant)),
        PolicyChange::Include(_, other) => change.check(|policy, caller| Denial::check_hand_out(policy, caller, other)),
        PolicyChange::Revoke(role, _) | PolicyChange::Exclude(role, _) | PolicyChange::DeleteRole(role) => {
            change.check_shrink(conn, role).await
        }
        PolicyChange::DeletePermission(name) => change.check_delete(conn, name).await,
        PolicyChange::CreatePermission(..)
        | PolicyChange::DescribePermission(..)
        | PolicyChange::CreateRole(..)
        | PolicyChange::DescribeRole(..) => Ok(()),
    }
}

async fn write<C: Statements>(conn: &mut C, step: &PolicyChange, now: Timestamp) -> StoreResult<()> {
    match step {
        PolicyChange::CreatePermission(name, description) => conn.insert_permission(name, description, now).await?,
        PolicyChange::DescribePermission(name, description) => {
            conn.update_permission(name, description).await.map(drop)?;
        }
        PolicyChange::DeletePermission(name) => conn.delete_permission(name).await.map(drop)?,
        PolicyChange::CreateRole(name, description) => conn.insert_role(name, description, now).await?,
        PolicyChange::DescribeRole(name, description) => conn.update_role(name, description).await.map(drop)?,
        PolicyChange::DeleteRole(name) => conn.delete_role(name).await.map(drop)?,
        PolicyChange::Grant(role, grant) => conn.insert_grant(role, grant, now).await.map(drop)?,
        PolicyChange::Revoke(role, grant) => conn.delete_grant(role, grant).await.map(drop)?,
        PolicyChange::Include(role, other) => conn.insert_include(role, other, now).await.map(drop)?,
        PolicyChange::Exclude(role, other) => conn.delete_include(role, other).await.map(drop)?,
    }
    Ok(())
}

impl Store {
    /// All roles and permissions at one moment.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn load_policy(&self) -> StoreResult<PolicyDraft> {
        let pools = self.pools.clone();
        let rows = self.pools.run(async move { snapshot!(pools, |conn| RoleStatements::load_policy(conn)) }).await?;
        Ok(rows.draft())
    }

    /// Changes roles and permissions, all of it or nothing, under the rules of
    /// authority, of the last administrator and of the default role. Gives what each change came to.
    ///
    /// # Errors
    /// `NoSuchRole`, `NoSuchPermission`, `Conflict`, `Denied`, `Unavailable`.
    pub async fn change_policy(
        &self,
        by: Authority,
        steps: Vec<PolicyChange>,
        now: Timestamp,
    ) -> StoreResult<Vec<PolicyEffect>> {
        let pools = self.pools.clone();
        let work = async move {
            let role = &pools.settings.default_role;
            transaction!(pools, |conn| change_policy(conn, &by, &steps, role, now))
        };
        self.pools.run(work).await
    }

    /// Makes roles and permissions what is wanted, for the system: what has to change is found, changed and
    /// recorded in one transaction. With `prunes` what is not wanted goes, built-in ones apart.
    ///
    /// # Errors
    /// `Conflict`, `Denied`, `Unavailable`; and within, the first change that can't be made. Nothing is changed then.
    pub async fn apply_policy(
        &self,
        wanted: PolicyDraft,
        prunes: bool,
        records: impl FnOnce(&[PolicyChange], &[PolicyEffect]) -> NewRecords + Send + 'static,
        now: Timestamp,
    ) -> StoreResult<Result<Applied, Misfit>> {
        let pools = self.pools.clone();
        let work = async move {
            let role = &pools.settings.default_role;
            transaction!(pools, |conn| apply_policy(conn, &wanted, prunes, role, records, now))
        };
        self.pools.run(work).await
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
