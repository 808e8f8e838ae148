//! Role-based access control as code and endpoints use it: who may what, and
//! the changes of it. A change holds from the next request on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Rbac, ServiceError, ServiceResult};
use crate::clock::SharedClock;
use crate::domain::{Authority, Grant, Permission, PolicyChange, PolicyEffect, Role, RoleName, User, UserId};
use crate::store::Store;

/// Roles, permissions, and who has them. Cheap to clone.
///
/// Every change is made by an [`Authority`]: a user can hand out only what they
/// hold, [`Authority::System`] (code of the host application) everything.
#[derive(Clone)]
pub struct RbacService {
    store: Store,
    rbac: Rbac,
    clock: SharedClock,
}

impl RbacService {
    /// On a store and its cache.
    pub fn new(store: Store, rbac: Rbac, clock: SharedClock) -> Self {
        Self { store, rbac, clock }
    }

    /// Assigns a role to a user. False if they had it: then who assigned it, and when, stay.
    ///
    /// # Errors
    /// No such user or role, a rule forbids it, or the database is away.
    pub async fn assign_role(&self, user: UserId, role: &str, by: Authority) -> ServiceResult<bool> {
        let role = parse_role(role)?;
        let changed = self.store.assign_role(by, user, role, self.clock.now()).await?;
        self.rbac.forget_user(user).await?;
        Ok(changed)
    }

    /// Takes a role away from a user. False if they did not have it.
    ///
    /// # Errors
    /// No such user or role, a rule forbids it, or the database is away.
    pub async fn remove_role(&self, user: UserId, role: &str, by: Authority) -> ServiceResult<bool> {
        let changed = self.store.revoke_role(by, user, parse_role(role)?).await?;
        self.rbac.forget_user(user).await?;
        Ok(changed)
    }

    /// Grants a permission, or a wildcard, to a role. False if the role had it.
    ///
    /// # Errors
    /// No such role or permission, a rule forbids it, or the database is away.
    pub async fn grant_permission(&self, role: &str, permission: &str, by: Authority) -> ServiceResult<bool> {
        let grant = Grant::parse(permission).map_err(ServiceError::Field)?;
        self.change_one(PolicyChange::Grant(parse_role(role)?, grant), by).await.map(|effect| effect.is_change())
    }

    /// Takes a permission, or a wildcard, from a role. False if the role did not have it.
    ///
    /// # Errors
    /// No such role or permission, a rule forbids it, or the database is away.
    pub async fn revoke_permission(&self, role: &str, permission: &str, by: Authority) -> ServiceResult<bool> {
        let grant = Grant::parse(permission).map_err(ServiceError::Field)?;
        self.change_one(PolicyChange::Revoke(parse_role(role)?, grant), by).await.map(|effect| effect.is_change())
    }

    /// All that a user may, each with the assigned roles through which it comes.
    ///
    /// # Errors
    /// No such user, or the database is away.
    pub async fn get_user_permissions(&self, user: UserId) -> ServiceResult<BTreeMap<Permission, BTreeSet<RoleName>>> {
        let user = self.user(user).await?;
        Ok(self.rbac.policy().permissions_with_roles(&user))
    }

    /// Whether a user may.
    ///
    /// # Errors
    /// No such user, text that is no permission, or the database is away.
    pub async fn has_permission(&self, user: UserId, permission: &str) -> ServiceResult<bool> {
        let permission = Permission::parse(permission).map_err(ServiceError::Field)?;
        Ok(self.rbac.has_permission(&*self.user(user).await?, &permission))
    }

    /// Whether a user holds a role, directly or by one that includes it.
    ///
    /// # Errors
    /// No such user, text that is no role's name, or the database is away.
    pub async fn has_role(&self, user: UserId, role: &str) -> ServiceResult<bool> {
        Ok(self.rbac.has_role(&*self.user(user).await?, &parse_role(role)?))
    }

    /// A role with its grants; `None` if there is none of that name.
    pub fn role(&self, name: &RoleName) -> Option<Role> {
        self.rbac.policy().role(name).cloned()
    }

    /// Changes roles and permissions, all of it or nothing; gives what each change came to.
    ///
    /// # Errors
    /// No such role or permission, a conflict with what there is, a rule forbids
    /// it, or the database is away.
    pub async fn change(&self, changes: Vec<PolicyChange>, by: Authority) -> ServiceResult<Vec<PolicyEffect>> {
        let effects = self.store.change_policy(by, changes, self.clock.now()).await?;
        if effects.iter().any(|effect| matches!(effect, PolicyEffect::RoleDeleted { .. })) {
            self.rbac.forget_all_users().await?;
        }
        if effects.iter().any(PolicyEffect::is_change) {
            self.rbac.reload_policy().await?;
        }
        Ok(effects)
    }

    /// Makes one change.
    ///
    /// # Errors
    /// As [`RbacService::change`].
    pub async fn change_one(&self, change: PolicyChange, by: Authority) -> ServiceResult<PolicyEffect> {
        let mut effects = self.change(vec![change], by).await?;
        Ok(effects.pop().unwrap_or(PolicyEffect::Unchanged))
    }

    async fn user(&self, id: UserId) -> ServiceResult<Arc<User>> {
        self.rbac.find_user(id).await?.ok_or(ServiceError::NoSuchUser)
    }
}

fn parse_role(name: &str) -> ServiceResult<RoleName> {
    RoleName::parse(name).map_err(ServiceError::Field)
}
