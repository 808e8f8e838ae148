//! Who may change whom: no one hands out, or takes over, what they lack.
//!
//! The store asks these rules inside the transaction that changes, with what
//! the database holds at that moment, under the lock that all such changes take.

use super::{Grant, Permission, Policy, RoleName, User};

/// Why a change was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The caller's own right was taken away meanwhile.
    #[error("Permission required: {0}")]
    PermissionRequired(Permission),
    /// The caller's own role was taken away meanwhile.
    #[error("Role required: {0}")]
    RoleRequired(RoleName),
    /// The change would give, or take over, what the caller lacks.
    #[error("{0}")]
    Escalation(&'static str),
    /// The change would leave no one to administer the system.
    #[error("This would leave no active administrator who can sign in")]
    LastAdmin,
}

/// Whose right a change is made by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// A user, who must hold what the change needs.
    User(super::UserId),
    /// Whoever may start the program: the command line, the code of a host application.
    System,
}

/// What whoever changes must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needed {
    /// A permission.
    Permission(Permission),
    /// A role.
    Role(RoleName),
}

impl Needed {
    /// What it is called to lack it.
    pub fn denial(&self) -> Denial {
        match self {
            Self::Permission(permission) => Denial::PermissionRequired(permission.clone()),
            Self::Role(role) => Denial::RoleRequired(role.clone()),
        }
    }
}

impl Denial {
    /// Whether `caller` still holds what the change needs.
    ///
    /// # Errors
    /// It was taken away.
    pub fn check_needed(policy: &Policy, caller: &User, needed: &Needed) -> Result<(), Self> {
        let holds = match needed {
            Needed::Permission(permission) => policy.has_permission(caller, permission),
            Needed::Role(role) => policy.has_role(caller, role),
        };
        if holds { Ok(()) } else { Err(needed.denial()) }
    }

    /// Whether `caller` may write to `target`: all that the target may and is
    /// must be among what the caller may and is, now and later, and a
    /// superuser's account is written only by a superuser.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn check_write(policy: &Policy, caller: &User, target: &User) -> Result<(), Self> {
        if caller.is_superuser && caller.is_active {
            return Ok(());
        }
        if target.is_superuser {
            return Err(Self::Escalation("Only a superuser changes a superuser's account"));
        }
        // What a deactivated user would have again counts too.
        let is_within = target.roles.iter().all(|role| Self::holds_with_all(policy, caller, role));
        if is_within { Ok(()) } else { Err(Self::Escalation("This user holds permissions or roles that you lack")) }
    }

    /// Whether `caller` may assign `role`, include it, or take it away: needs
    /// that role, or role `admin`, or superuser, as well as all that it gives,
    /// now and later.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn check_hand_out(policy: &Policy, caller: &User, role: &RoleName) -> Result<(), Self> {
        if Self::holds_with_all(policy, caller, role) {
            Ok(())
        } else {
            Err(Self::Escalation("Only who holds a role, with all its permissions, hands it out or takes it away"))
        }
    }

    /// Whether `caller` may put `grant` into a role: needs all that it covers, now and later.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn check_grant(policy: &Policy, caller: &User, grant: &Grant) -> Result<(), Self> {
        if policy.has_grant(caller, grant) {
            Ok(())
        } else {
            Err(Self::Escalation("Only who has a permission, with all that it covers, grants it"))
        }
    }

    /// Whether `caller` may make `role` smaller, or delete it: needs the right
    /// to hand it out, unless nobody holds it. Else a bigger account could be
    /// made small first, and then be taken over.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn check_shrink(policy: &Policy, caller: &User, role: &RoleName, is_held: bool) -> Result<(), Self> {
        if is_held { Self::check_hand_out(policy, caller, role) } else { Ok(()) }
    }

    /// Whether `caller` may delete `permission`: needs to have it where others have it by a wildcard (`is_held`),
    /// for it is taken from them.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn check_delete(policy: &Policy, caller: &User, permission: &Permission, is_held: bool) -> Result<(), Self> {
        if !is_held || policy.has_permission(caller, permission) {
            Ok(())
        } else {
            Err(Self::Escalation("Only who has a permission takes it from those who have it by a wildcard"))
        }
    }

    /// Whether `caller` may write `is_superuser`.
    ///
    /// # Errors
    /// The caller is no superuser.
    pub fn check_superuser_flag(caller: &User) -> Result<(), Self> {
        if caller.is_active && caller.is_superuser {
            Ok(())
        } else {
            Err(Self::Escalation("Only a superuser makes or unmakes superusers"))
        }
    }

    /// Whether the user holds the role, or counts as holding it, and has all that it gives.
    fn holds_with_all(policy: &Policy, caller: &User, role: &RoleName) -> bool {
        let holds = policy.has_role(caller, role) || policy.has_role(caller, &RoleName::admin());
        let grants = policy.grants_of_role(role);
        holds && grants.is_some_and(|grants| grants.iter().all(|grant| policy.has_grant(caller, grant)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Role, test_user as user};

    fn policy() -> Policy {
        let roles = [
            Role::sample("admin", &[], &[]),
            Role::sample("viewer", &["projects:read", "reports:read"], &[]),
            Role::sample("support", &["users:manage", "users:read"], &[]),
            Role::sample("editor", &["projects:delete"], &["viewer"]),
            Role::sample("owner", &["projects:*"], &[]),
            Role::sample("one-by-one", &["projects:read", "projects:delete"], &[]),
        ];
        let infos = ["users:manage", "users:read", "projects:read", "reports:read", "projects:delete"].map(|name| {
            crate::domain::PermissionInfo {
                name: Permission::parse(name).unwrap(),
                description: String::new(),
                is_built_in: true,
            }
        });
        Policy::compile(roles.to_vec(), infos.to_vec())
    }

    fn superuser() -> User {
        User { is_superuser: true, ..user(&[]) }
    }

    #[test]
    fn nobody_writes_to_who_holds_more() {
        let policy = policy();
        let check = |caller: &User, target: &User| Denial::check_write(&policy, caller, target).is_ok();
        assert!(check(&user(&["support", "viewer"]), &user(&["viewer"])));
        assert!(check(&user(&["support", "editor"]), &user(&["viewer"])));
        assert!(!check(&user(&["support"]), &user(&["viewer"])));
        assert!(!check(&user(&["support", "viewer"]), &user(&["admin"])));
        assert!(!check(&user(&["admin"]), &superuser()));
        assert!(check(&superuser(), &superuser()));
        assert!(check(&user(&["admin"]), &user(&["editor", "support"])));
        let asleep = User { is_active: false, ..user(&["editor"]) };
        assert!(!check(&user(&["support", "viewer"]), &asleep));
    }

    #[test]
    fn nobody_hands_out_what_they_lack() {
        let policy = policy();
        let check = |caller: &User, role: &str| {
            Denial::check_hand_out(&policy, caller, &RoleName::parse(role).unwrap()).is_ok()
        };
        assert!(check(&user(&["support", "viewer"]), "viewer"));
        assert!(check(&user(&["editor"]), "viewer"));
        assert!(!check(&user(&["support"]), "viewer"));
        assert!(check(&user(&["admin"]), "editor"));
        assert!(check(&superuser(), "admin"));
        assert!(!check(&User { is_active: false, ..user(&["admin"]) }, "viewer"));
        assert!(!check(&user(&["admin"]), "nobody"));
    }

    #[test]
    fn a_wildcard_is_granted_only_by_who_has_all_that_it_will_cover() {
        let policy = policy();
        let check = |roles: &[&str], grant: &str| {
            Denial::check_grant(&policy, &user(roles), &Grant::parse(grant).unwrap()).is_ok()
        };
        assert!(check(&["owner"], "projects:*"));
        assert!(check(&["owner"], "projects:delete"));
        assert!(!check(&["one-by-one"], "projects:*"));
        assert!(!check(&["owner"], "*"));
        assert!(check(&["admin"], "*"));
    }

    #[test]
    fn a_role_that_somebody_holds_is_not_made_smaller_by_who_lacks_it() {
        let policy = policy();
        let owner = RoleName::parse("owner").unwrap();
        assert!(Denial::check_shrink(&policy, &user(&["support"]), &owner, false).is_ok());
        assert!(Denial::check_shrink(&policy, &user(&["support"]), &owner, true).is_err());
        assert!(Denial::check_shrink(&policy, &user(&["owner"]), &owner, true).is_ok());
    }

    #[test]
    fn a_permission_that_somebody_has_by_a_wildcard_is_deleted_by_who_has_it() {
        let policy = policy();
        let delete = Permission::parse("projects:delete").unwrap();
        let check = |roles: &[&str], is_held| Denial::check_delete(&policy, &user(roles), &delete, is_held).is_ok();
        assert!(check(&["support"], false));
        assert!(!check(&["support"], true));
        assert!(check(&["support", "editor"], true));
        assert!(check(&["owner"], true));
        assert!(check(&["admin"], true));
    }
}
