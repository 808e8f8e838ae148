//! The compiled policy: which role grants what, ready for the read path.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Permission, PermissionInfo, Role, RoleName, User};

/// Roles and permissions at one moment. A check is two look-ups: the role by
/// its name, the permission in the role's set; how many roles there are does
/// not matter.
#[derive(Debug, Default)]
pub struct Policy {
    roles: HashMap<RoleName, CompiledRole>,
    permissions: HashMap<Permission, PermissionInfo>,
    /// All permissions, sorted.
    all: Arc<[Permission]>,
}

#[derive(Debug)]
struct CompiledRole {
    role: Role,
    grants: HashSet<Permission>,
    /// The grants, sorted.
    listed: Arc<[Permission]>,
}

impl Policy {
    /// Compiles what the store holds.
    pub fn compile(roles: Vec<Role>, permissions: Vec<PermissionInfo>) -> Self {
        let roles = roles
            .into_iter()
            .map(|role| {
                let grants = role.permissions.iter().cloned().collect();
                let listed = sorted(role.permissions.iter());
                (role.name.clone(), CompiledRole { role, grants, listed })
            })
            .collect();
        let all = sorted(permissions.iter().map(|info| &info.name));
        let permissions = permissions.into_iter().map(|info| (info.name.clone(), info)).collect();
        Self { roles, permissions, all }
    }

    /// Whether the user may: an active superuser always, an active user
    /// through any of their roles. A permission that does not exist is
    /// nobody's but a superuser's and `admin`'s.
    pub fn has_permission(&self, user: &User, permission: &Permission) -> bool {
        user.is_active && (user.is_superuser || user.roles.iter().any(|role| self.role_grants(role, permission)))
    }

    /// Whether the user holds the role; a superuser passes every role check.
    pub fn has_role(&self, user: &User, role: &RoleName) -> bool {
        user.is_active && (user.is_superuser || user.roles.contains(role))
    }

    fn role_grants(&self, role: &RoleName, permission: &Permission) -> bool {
        role.is_admin() || self.roles.get(role).is_some_and(|role| role.grants.contains(permission))
    }

    /// All that the user may, sorted; nothing for a deactivated one. Made anew
    /// only for users of several roles.
    pub fn permissions_of(&self, user: &User) -> Arc<[Permission]> {
        if !user.is_active {
            return Arc::default();
        }
        if user.is_superuser || user.roles.iter().any(RoleName::is_admin) {
            return Arc::clone(&self.all);
        }
        match user.roles.as_slice() {
            [only] => self.roles.get(only).map(|role| Arc::clone(&role.listed)).unwrap_or_default(),
            several => sorted(several.iter().filter_map(|role| self.roles.get(role)).flat_map(|role| &role.grants)),
        }
    }

    /// What a role grants; `None` for an unknown role.
    pub fn permissions_of_role(&self, role: &RoleName) -> Option<Arc<[Permission]>> {
        if role.is_admin() {
            return Some(Arc::clone(&self.all));
        }
        self.roles.get(role).map(|role| Arc::clone(&role.listed))
    }

    /// The roles, by name.
    pub fn roles(&self) -> Vec<&Role> {
        let mut roles: Vec<_> = self.roles.values().map(|compiled| &compiled.role).collect();
        roles.sort_by(|a, b| a.name.cmp(&b.name));
        roles
    }

    /// The permissions, by name.
    pub fn permissions(&self) -> Vec<&PermissionInfo> {
        let mut permissions: Vec<_> = self.permissions.values().collect();
        permissions.sort_by(|a, b| a.name.cmp(&b.name));
        permissions
    }

    /// Whether there is such a role.
    pub fn has_role_named(&self, role: &RoleName) -> bool {
        self.roles.contains_key(role)
    }

    /// Whether there is such a permission.
    pub fn has_permission_named(&self, permission: &Permission) -> bool {
        self.permissions.contains_key(permission)
    }
}

fn sorted<'a>(permissions: impl Iterator<Item = &'a Permission>) -> Arc<[Permission]> {
    permissions.cloned().collect::<BTreeSet<_>>().into_iter().collect()
}
