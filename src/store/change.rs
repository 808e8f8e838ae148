//! The frame of every change of users, roles and permissions: one at a time,
//! under the rules of authority and of the last administrator.

use std::sync::{Arc, OnceLock};

use super::clocks::ClockStatements;
use super::recorded::RecordStatements;
use super::role_statements::RoleStatements;
use super::row_locks::RowLocks;
use super::session_statements::SessionStatements;
use super::user_statements::UserStatements;
use super::{Clock, StoreError, StoreResult};
use crate::domain::{
    Authority, Denial, Needed, Permission, Policy, PolicyChange, PolicyDraft, PolicyEffect, RoleName, User, UserId,
};

/// Everything that a statement about users, roles and sessions needs.
pub(super) trait Statements:
    UserStatements + RoleStatements + SessionStatements + ClockStatements + RecordStatements + RowLocks
{
}

impl<C> Statements for C where
    C: UserStatements + RoleStatements + SessionStatements + ClockStatements + RecordStatements + RowLocks
{
}

/// What a change is noted as in the feed.
pub(super) enum Noted {
    /// Roles, permissions or grants.
    Policy,
    /// One user.
    User(UserId),
    /// So many users that all are read anew.
    AllUsers,
}

/// A change that has begun: what held when its lock was taken.
pub(super) struct Change {
    pub(super) draft: PolicyDraft,
    /// The draft, compiled once it is asked.
    policy: OnceLock<Arc<Policy>>,
    before: Arc<Policy>,
    /// None: the system, which may everything.
    caller: Option<User>,
    administrators: Administrators,
}

/// Whether an active superuser can sign in, and whether an active user can who passes the check for `admin`.
#[derive(Clone, Copy)]
struct Administrators {
    has_superuser: bool,
    has_admin: bool,
}

/// What administrators' changes need.
pub(super) fn users_manage() -> StoreResult<Needed> {
    let permission = Permission::parse("users:manage").map_err(|error| StoreError::Unavailable(error.message))?;
    Ok(Needed::Permission(permission))
}

impl Change {
    /// Takes the policy clock's lock, which serializes all such changes, and
    /// asks whether `by` still holds what is needed: who may not is told so
    /// before what there is.
    pub(super) async fn begin<C: Statements>(conn: &mut C, by: &Authority, needed: &Needed) -> StoreResult<Self> {
        conn.lock(Clock::Policy).await?;
        let draft = conn.load_policy().await?.draft();
        let policy = Arc::new(draft.compile());
        let caller = match by {
            Authority::System => None,
            Authority::User(id) => {
                let caller = conn.find_user(*id).await?.ok_or_else(|| needed.denial())?;
                Denial::check_needed(&policy, &caller, needed)?;
                Some(caller)
            }
        };
        let administrators = Administrators::find(conn, &policy).await?;
        Ok(Self { draft, policy: Arc::clone(&policy).into(), before: policy, caller, administrators })
    }

    /// Asks a rule about the caller.
    pub(super) fn check(&self, rule: impl FnOnce(&Policy, &User) -> Result<(), Denial>) -> StoreResult<()> {
        match &self.caller {
            None => Ok(()),
            Some(caller) => Ok(rule(self.policy(), caller)?),
        }
    }

    /// The user whom the change is about, if the caller may write to them.
    pub(super) async fn target<C: Statements>(&self, conn: &mut C, id: UserId) -> StoreResult<User> {
        let target = conn.find_user(id).await?.ok_or(StoreError::NoSuchUser)?;
        self.check(|policy, caller| Denial::check_write(policy, caller, &target))?;
        Ok(target)
    }

    /// The policy as the change has it by now.
    fn policy(&self) -> &Policy {
        self.policy.get_or_init(|| Arc::new(self.draft.compile()))
    }

    /// Makes one of the changes of roles and permissions on the draft.
    pub(super) fn apply(&mut self, change: &PolicyChange) -> StoreResult<PolicyEffect> {
        let effect = self.draft.apply(change)?;
        if effect.is_change() {
            self.policy.take();
        }
        Ok(effect)
    }

    /// Asks whether the caller may make the role smaller.
    pub(super) async fn check_shrink<C: Statements>(&self, conn: &mut C, role: &RoleName) -> StoreResult<()> {
        if self.caller.is_none() {
            return Ok(());
        }
        let is_held = conn.is_any_assigned(&self.policy().roles_bringing(role)).await?;
        self.check(|policy, caller| Denial::check_shrink(policy, caller, role, is_held))
    }

    /// Asks whether the caller may delete the permission.
    pub(super) async fn check_delete<C: Statements>(&self, conn: &mut C, name: &Permission) -> StoreResult<()> {
        if self.caller.is_none() {
            return Ok(());
        }
        let is_held = conn.is_any_assigned(&self.policy().roles_covering(name)).await?;
        self.check(|policy, caller| Denial::check_delete(policy, caller, name, is_held))
    }

    /// Whether who registers still gets a role that does not administer, where that was so.
    pub(super) fn check_default_role(&self, role: &RoleName) -> StoreResult<()> {
        Ok(self.policy().check_default_role(&self.before, role)?)
    }

    /// Who makes the change, for the row that it leaves.
    pub(super) fn made_by(&self) -> Option<UserId> {
        self.caller.as_ref().map(|caller| caller.id)
    }

    /// Whether an administrator remains, where there was one; and the change's entry in the feed.
    pub(super) async fn finish<C: Statements>(self, conn: &mut C, noted: Vec<Noted>) -> StoreResult<()> {
        let before = self.administrators;
        let after = Administrators::find(conn, self.policy()).await?;
        if (before.has_superuser && !after.has_superuser) || (before.has_admin && !after.has_admin) {
            return Err(Denial::LastAdmin.into());
        }
        let noted = noted.into_iter().map(|noted| match noted {
            Noted::Policy => ("policy", String::new()),
            Noted::User(id) => ("user", id.to_string()),
            Noted::AllUsers => ("user", "*".to_owned()),
        });
        Ok(conn.note_changes(Clock::Policy, noted.collect()).await?)
    }
}

impl Administrators {
    async fn find<C: Statements>(conn: &mut C, policy: &Policy) -> StoreResult<Self> {
        let bringing = policy.roles_bringing(&RoleName::admin());
        let (has_superuser, has_admin) = conn.administrators(&bringing).await?;
        Ok(Self { has_superuser, has_admin })
    }
}
