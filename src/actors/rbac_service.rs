//! Role-based access control as code and endpoints use it: who may what, and
//! the changes of it. A change holds from the next request on.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Audit, Rbac, ServiceError, ServiceResult};
use crate::clock::SharedClock;
use crate::domain::audit::{AuditEntry, Outcome, Source, metadata_text};
use crate::domain::{Authority, Denial, Grant, Permission, PolicyChange, PolicyEffect, Role, RoleName, User, UserId};
use crate::store::{Store, StoreResult};

/// Roles, permissions, and who has them. Cheap to clone.
///
/// Every change is made by an [`Authority`]: a user can hand out only what they
/// hold, [`Authority::System`] (code of the host application) everything.
#[derive(Clone)]
pub struct RbacService {
    store: Store,
    rbac: Rbac,
    clock: SharedClock,
    audit: Option<Audit>,
}

impl RbacService {
    /// On a store and its cache. Changes leave no audit record of their own:
    /// for endpoints, whose requests are recorded.
    pub fn new(store: Store, rbac: Rbac, clock: SharedClock) -> Self {
        Self { store, rbac, clock, audit: None }
    }

    /// The same with a record of each change, refused ones too: for code that no request is recorded for.
    pub fn recorded(&self, audit: Audit) -> Self {
        Self { audit: Some(audit), ..self.clone() }
    }

    /// Assigns a role to a user. False if they had it: then who assigned it, and when, stay.
    ///
    /// # Errors
    /// No such user or role, a rule forbids it, or the database is away.
    pub async fn assign_role(&self, user: UserId, role: &str, by: Authority) -> ServiceResult<bool> {
        let role = parse_role(role)?;
        let made = self.store.assign_role(by.clone(), user, role.clone(), self.clock.now()).await;
        self.assigned("ASSIGN_ROLE", &by, user, &role, made).await
    }

    /// Takes a role away from a user. False if they did not have it.
    ///
    /// # Errors
    /// No such user or role, a rule forbids it, or the database is away.
    pub async fn remove_role(&self, user: UserId, role: &str, by: Authority) -> ServiceResult<bool> {
        let role = parse_role(role)?;
        let made = self.store.revoke_role(by.clone(), user, role.clone()).await;
        self.assigned("REVOKE_ROLE", &by, user, &role, made).await
    }

    async fn assigned(
        &self,
        action: &'static str,
        by: &Authority,
        user: UserId,
        role: &RoleName,
        made: StoreResult<bool>,
    ) -> ServiceResult<bool> {
        let made = made.map_err(ServiceError::from);
        let taken_up = if made.is_ok() { self.rbac.forget_user(user).await } else { Ok(()) };
        let metadata = Map::from_iter([
            ("role".to_owned(), Value::from(role.as_str())),
            ("changed".to_owned(), Value::from(made.as_ref().is_ok_and(|changed| *changed))),
        ]);
        self.record(by, action, ("user", &user.to_string()), metadata, &made).await?;
        taken_up.and(made)
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
        let made = self.store.change_policy(by.clone(), changes.clone(), self.clock.now()).await;
        let effects = match made.map_err(ServiceError::from) {
            Ok(effects) => effects,
            Err(error) => {
                let refused = Err::<(), _>(error);
                for change in &changes {
                    let metadata = change.metadata(&PolicyEffect::Unchanged);
                    self.record(&by, change.action(), change.resource(), metadata, &refused).await?;
                }
                return refused.map(|()| Vec::new());
            }
        };
        // What is made is recorded, whether or not it can be read again by now.
        let taken_up = self.take_up(&effects).await;
        for (change, effect) in changes.iter().zip(&effects) {
            let metadata = change.metadata(effect);
            self.record(&by, change.action(), change.resource(), metadata, &Ok(())).await?;
        }
        taken_up.map(|()| effects)
    }

    /// Makes the change hold for the next request.
    async fn take_up(&self, effects: &[PolicyEffect]) -> ServiceResult<()> {
        if effects.iter().any(|effect| matches!(effect, PolicyEffect::RoleDeleted { .. })) {
            self.rbac.forget_all_users().await?;
        }
        if effects.iter().any(PolicyEffect::is_change) {
            self.rbac.reload_policy().await?;
        }
        Ok(())
    }

    async fn record<T>(
        &self,
        by: &Authority,
        action: &'static str,
        (kind, id): (&'static str, &str),
        metadata: Map<String, Value>,
        made: &ServiceResult<T>,
    ) -> ServiceResult<()> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let (user_id, username) = match by {
            // No username has a colon.
            Authority::System => (None, Some("app:system".to_owned())),
            // The change is made: that nobody can say the name by now is no reason not to record it.
            Authority::User(id) => {
                (Some(*id), self.rbac.find_user(*id).await.ok().flatten().map(|user| user.username.to_string()))
            }
        };
        let outcome = match made {
            Ok(_) => Outcome::Success,
            Err(ServiceError::Denied(Denial::LastAdmin)) => Outcome::Failure,
            Err(ServiceError::Denied(_)) => Outcome::Denied,
            Err(ServiceError::Unavailable(_)) => Outcome::Error,
            Err(_) => Outcome::Failure,
        };
        let entry = AuditEntry {
            user_id,
            username: username.map(Cow::Owned),
            action: Cow::Borrowed(action),
            resource_type: Some(Cow::Borrowed(kind)),
            resource_id: Some(Cow::Owned(id.to_owned())),
            ip_address: None,
            user_agent: None,
            request_method: None,
            request_path: None,
            response_status: None,
            outcome,
            duration_ms: 0,
            request_id: None,
            metadata: metadata_text(metadata).map(Cow::Owned),
            source: Source::Event,
        };
        audit.log(entry).await
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
