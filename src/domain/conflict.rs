//! Why a change of roles or permissions does not fit what there is.

use super::{Permission, RoleName};

/// What there is does not allow the change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// There is a role of that name.
    #[error("Role already exists")]
    RoleExists,
    /// There is a permission of that name.
    #[error("Permission already exists")]
    PermissionExists,
    /// Roles name the permission.
    #[error("Permission is granted by: {}", join(.0, ", "))]
    PermissionInUse(Vec<RoleName>),
    /// A role would include itself, along this way.
    #[error("Role would include itself: {}", join(.0, " -> "))]
    RoleCycle(Vec<RoleName>),
    /// What every installation has stays.
    #[error("{0}")]
    BuiltIn(&'static str),
    /// Whoever registers would administer, or could not register.
    #[error("Role {role} is DEFAULT_ROLE, which whoever registers gets: it {problem}")]
    DefaultRole {
        /// The role.
        role: RoleName,
        /// What would be wrong with it.
        problem: &'static str,
    },
}

/// Why a change of roles or permissions can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// There is no such role.
    #[error("no such role: {0}")]
    NoSuchRole(RoleName),
    /// There is no such permission.
    #[error("no such permission: {0}")]
    NoSuchPermission(Permission),
    /// What there is does not allow it.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

fn join(names: &[RoleName], between: &str) -> String {
    names.iter().map(RoleName::as_str).collect::<Vec<_>>().join(between)
}
