//! Who may change whom: no one hands out, or takes over, what they lack.
//!
//! The store asks these rules inside the transaction that changes, with what
//! the database holds at that moment, under the lock that all such changes take.

use super::{Permission, Policy, RoleName, User};

/// Why a change was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The caller's own right was taken away meanwhile.
    #[error("Permission required: {0}")]
    PermissionRequired(Permission),
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
    /// A user, who must hold the permission that the change needs.
    User(super::UserId),
    /// Whoever may start the program: the command line.
    System,
}

impl Denial {
    /// Whether `caller`, who must hold `needed`, may write to `target`:
    /// all that the target may and is must be among what the caller may and
    /// is, and a superuser's account is written only by a superuser.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn check_write(policy: &Policy, caller: &User, needed: &Permission, target: &User) -> Result<(), Self> {
        Self::check_permission(policy, caller, needed)?;
        if caller.is_superuser {
            return Ok(());
        }
        if target.is_superuser {
            return Err(Self::Escalation("Only a superuser changes a superuser's account"));
        }
        // What a deactivated user would have again counts too.
        let target = User { is_active: true, ..target.clone() };
        let is_within = policy.permissions_of(&target).iter().all(|held| policy.has_permission(caller, held))
            && target.roles.iter().all(|role| Self::counts_as_holding(policy, caller, role));
        if is_within { Ok(()) } else { Err(Self::Escalation("This user holds permissions or roles that you lack")) }
    }

    /// Whether `caller` may assign or take away `role`: needs that role, or
    /// role `admin`, or superuser, as well as every permission in it.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn check_hand_out(policy: &Policy, caller: &User, role: &RoleName) -> Result<(), Self> {
        let holds_all = policy
            .permissions_of_role(role)
            .is_some_and(|grants| grants.iter().all(|granted| policy.has_permission(caller, granted)));
        if caller.is_active && Self::counts_as_holding(policy, caller, role) && holds_all {
            Ok(())
        } else {
            Err(Self::Escalation("Only who holds a role, with all its permissions, hands it out or takes it away"))
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

    /// Whether `caller` still holds `needed`.
    ///
    /// # Errors
    /// It was taken away.
    pub fn check_permission(policy: &Policy, caller: &User, needed: &Permission) -> Result<(), Self> {
        if policy.has_permission(caller, needed) { Ok(()) } else { Err(Self::PermissionRequired(needed.clone())) }
    }

    fn counts_as_holding(policy: &Policy, caller: &User, role: &RoleName) -> bool {
        policy.has_role(caller, role) || policy.has_role(caller, &RoleName::admin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{PermissionInfo, Role, Timestamp, UserId};

    fn permission(name: &str) -> Permission {
        Permission::parse(name).unwrap()
    }

    fn policy() -> Policy {
        let role = |name: &str, grants: &[&str]| Role {
            name: RoleName::parse(name).unwrap(),
            description: String::new(),
            is_built_in: false,
            permissions: grants.iter().map(|grant| permission(grant)).collect(),
        };
        let names = ["users:manage", "users:read", "projects:read", "reports:read", "projects:delete"];
        let infos = names
            .map(|name| PermissionInfo { name: permission(name), description: String::new(), is_built_in: true })
            .to_vec();
        Policy::compile(
            vec![
                role("admin", &[]),
                role("viewer", &["projects:read", "reports:read"]),
                role("support", &["users:manage", "users:read"]),
                role("editor", &["projects:delete"]),
            ],
            infos,
        )
    }

    fn user(roles: &[&str]) -> User {
        User {
            id: UserId::generate(),
            username: "somebody".into(),
            email: None,
            email_verified: false,
            full_name: None,
            is_active: true,
            is_superuser: false,
            roles: roles.iter().map(|role| RoleName::parse(role).unwrap()).collect(),
            created_at: Timestamp::from_millis(0),
            updated_at: Timestamp::from_millis(0),
            last_login_at: None,
        }
    }

    #[test]
    fn nobody_writes_to_who_holds_more() {
        let policy = policy();
        let manage = permission("users:manage");
        let superuser = User { is_superuser: true, ..user(&[]) };
        let check = |caller: &User, target: &User| Denial::check_write(&policy, caller, &manage, target).is_ok();
        assert!(check(&user(&["support", "viewer"]), &user(&["viewer"])));
        assert!(!check(&user(&["support"]), &user(&["viewer"])));
        assert!(!check(&user(&["support", "viewer"]), &user(&["admin"])));
        assert!(!check(&user(&["admin"]), &superuser));
        assert!(check(&superuser, &superuser));
        assert!(check(&user(&["admin"]), &user(&["editor", "support"])));
        assert!(!check(&user(&["viewer"]), &user(&[])));
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
        assert!(!check(&user(&["support"]), "viewer"));
        assert!(check(&user(&["admin"]), "editor"));
        assert!(check(&User { is_superuser: true, ..user(&[]) }, "admin"));
        assert!(!check(&User { is_active: false, ..user(&["admin"]) }, "viewer"));
        assert!(!check(&user(&["admin"]), "nobody"));
    }
}
