//! The compiled policy: which role gives what, ready for the read path.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Conflict, Grant, Permission, PermissionInfo, Role, RoleName, User};

/// Roles and permissions at one moment. A check is two look-ups: the role by
/// its name, the permission in all that the role gives; how many roles there
/// are, and how they include each other, does not matter.
#[derive(Debug, Default)]
pub struct Policy {
    roles: HashMap<RoleName, CompiledRole>,
    permissions: HashMap<Permission, PermissionInfo>,
    /// All permissions, sorted.
    all: Arc<[Permission]>,
}

/// A role with all that it brings: its own grants and those of the roles that
/// it includes, wildcards resolved.
#[derive(Debug)]
struct CompiledRole {
    role: Role,
    /// Itself and the roles that it includes, directly or not.
    closure: BTreeSet<RoleName>,
    /// The grants of all these, as they are written.
    grants: BTreeSet<Grant>,
    /// Whether one of them is `*`.
    gives_everything: bool,
    /// The permissions that the grants give.
    permissions: HashSet<Permission>,
    /// The same, sorted.
    listed: Arc<[Permission]>,
}

impl Policy {
    /// Compiles what the store holds.
    pub fn compile(roles: Vec<Role>, infos: Vec<PermissionInfo>) -> Self {
        let all: Arc<[Permission]> = sorted(infos.iter().map(|info| &info.name));
        let by_name: HashMap<&RoleName, &Role> = roles.iter().map(|role| (&role.name, role)).collect();
        let compiled: Vec<_> = roles.iter().map(|role| resolve(role, &by_name, &all)).collect();
        let roles = roles
            .into_iter()
            .zip(compiled)
            .map(|(role, resolved)| {
                let Resolved { closure, grants, listed } = resolved;
                let gives_everything = grants.iter().any(Grant::is_everything);
                let permissions = if gives_everything { HashSet::new() } else { listed.iter().cloned().collect() };
                let name = role.name.clone();
                (name, CompiledRole { role, closure, grants, gives_everything, permissions, listed })
            })
            .collect();
        let permissions = infos.into_iter().map(|info| (info.name.clone(), info)).collect();
        Self { roles, permissions, all }
    }

    /// Whether the user may: an active superuser always, an active user
    /// through any of their roles. A permission that does not exist is
    /// nobody's but theirs who have every one.
    pub fn has_permission(&self, user: &User, permission: &Permission) -> bool {
        user.is_active
            && (user.is_superuser
                || user.roles.iter().filter_map(|role| self.roles.get(role)).any(|role| role.gives(permission)))
    }

    /// Whether the user holds the role, directly or by one that includes it; a
    /// superuser passes every role check.
    pub fn has_role(&self, user: &User, role: &RoleName) -> bool {
        user.is_active
            && (user.is_superuser
                || user
                    .roles
                    .iter()
                    .any(|held| held == role || self.roles.get(held).is_some_and(|held| held.closure.contains(role))))
    }

    /// Whether the user has all that the grant gives, now and later.
    pub fn has_grant(&self, user: &User, grant: &Grant) -> bool {
        user.is_active
            && (user.is_superuser
                || user
                    .roles
                    .iter()
                    .filter_map(|role| self.roles.get(role))
                    .any(|role| role.grants.iter().any(|held| held.covers(grant))))
    }

    /// All that the user may, sorted; nothing for a deactivated one. Made anew
    /// only for users of several roles.
    pub fn permissions_of(&self, user: &User) -> Arc<[Permission]> {
        if !user.is_active {
            return Arc::default();
        }
        let mut held = user.roles.iter().filter_map(|role| self.roles.get(role));
        if user.is_superuser || held.clone().any(|role| role.gives_everything) {
            return Arc::clone(&self.all);
        }
        match (held.next(), held.next()) {
            (None, _) => Arc::default(),
            (Some(only), None) => Arc::clone(&only.listed),
            (Some(first), Some(second)) => {
                sorted([first, second].into_iter().chain(held).flat_map(|role| role.listed.iter()))
            }
        }
    }

    /// All that the user may, sorted, each with the assigned roles through
    /// which it comes, sorted: none where only being a superuser gives it.
    pub fn permissions_with_roles(&self, user: &User) -> BTreeMap<Permission, BTreeSet<RoleName>> {
        let mut found: BTreeMap<_, _> =
            self.permissions_of(user).iter().map(|name| (name.clone(), BTreeSet::new())).collect();
        for (name, role) in user.roles.iter().filter_map(|name| Some((name, self.roles.get(name)?))) {
            for permission in role.listed.iter() {
                if let Some(roles) = found.get_mut(permission) {
                    roles.insert(name.clone());
                }
            }
        }
        found
    }

    /// The roles that the user holds, directly or by inclusion, sorted; nothing for a deactivated one.
    pub fn roles_of(&self, user: &User) -> BTreeSet<RoleName> {
        if !user.is_active {
            return BTreeSet::new();
        }
        let included = user.roles.iter().filter_map(|role| self.roles.get(role)).flat_map(|role| &role.closure);
        user.roles.iter().chain(included).cloned().collect()
    }

    /// The permissions that a role gives, sorted; `None` for an unknown role.
    pub fn permissions_of_role(&self, role: &RoleName) -> Option<Arc<[Permission]>> {
        self.roles.get(role).map(|role| Arc::clone(&role.listed))
    }

    /// The grants of a role and of all that it includes, as they are written; `None` for an unknown role.
    pub fn grants_of_role(&self, role: &RoleName) -> Option<&BTreeSet<Grant>> {
        self.roles.get(role).map(|role| &role.grants)
    }

    /// The roles that bring this one: itself, and those that include it, directly or not.
    pub fn roles_bringing(&self, role: &RoleName) -> Vec<RoleName> {
        self.roles.iter().filter(|(_, other)| other.closure.contains(role)).map(|(name, _)| name.clone()).collect()
    }

    /// The roles that give the permission by a wildcard, their own or that of a role which they include. The rule
    /// of `admin` is no wildcard.
    pub fn roles_covering(&self, permission: &Permission) -> Vec<RoleName> {
        let covers = |grant: &Grant| grant.as_permission().is_none() && grant.gives(permission);
        let is_covering = |name: &RoleName| self.role(name).is_some_and(|role| role.grants.iter().any(covers));
        let covering = self.roles.iter().filter(|(_, role)| role.closure.iter().any(is_covering));
        covering.map(|(name, _)| name.clone()).collect()
    }

    /// Whether the role that whoever registers gets is still fit for that, as far as it was in `before`.
    ///
    /// # Errors
    /// `DefaultRole`: it is gone, or gives `users:manage`.
    pub fn check_default_role(&self, before: &Self, role: &RoleName) -> Result<(), Conflict> {
        match self.default_role_problem(role) {
            Some(problem) if before.default_role_problem(role) != Some(problem) => {
                Err(Conflict::DefaultRole { role: role.clone(), problem })
            }
            _ => Ok(()),
        }
    }

    fn default_role_problem(&self, role: &RoleName) -> Option<&'static str> {
        match self.roles.get(role) {
            None => Some("would be gone"),
            Some(role) if role.listed.iter().any(|given| given.as_str() == "users:manage") => {
                Some("would give users:manage")
            }
            Some(_) => None,
        }
    }

    /// A role by its name.
    pub fn role(&self, name: &RoleName) -> Option<&Role> {
        self.roles.get(name).map(|compiled| &compiled.role)
    }

    /// A permission by its name.
    pub fn permission(&self, name: &Permission) -> Option<&PermissionInfo> {
        self.permissions.get(name)
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
}

impl CompiledRole {
    fn gives(&self, permission: &Permission) -> bool {
        self.gives_everything || self.permissions.contains(permission)
    }
}

struct Resolved {
    closure: BTreeSet<RoleName>,
    grants: BTreeSet<Grant>,
    listed: Arc<[Permission]>,
}

/// Follows what a role includes; each role once, so that not even a cycle,
/// which the store lets nobody make, would keep it busy.
fn resolve(role: &Role, by_name: &HashMap<&RoleName, &Role>, all: &Arc<[Permission]>) -> Resolved {
    let mut closure = BTreeSet::new();
    let mut grants = BTreeSet::new();
    let mut waiting = vec![role];
    while let Some(next) = waiting.pop() {
        if closure.insert(next.name.clone()) {
            grants.extend(next.effective_grants());
            waiting.extend(next.includes.iter().filter_map(|name| by_name.get(name).copied()));
        }
    }
    let listed = if grants.iter().any(Grant::is_everything) {
        Arc::clone(all)
    } else {
        let wildcards: Vec<_> = grants.iter().filter(|grant| grant.as_permission().is_none()).collect();
        let mut given: BTreeSet<Permission> = grants.iter().filter_map(Grant::as_permission).collect();
        if !wildcards.is_empty() {
            given.extend(all.iter().filter(|one| wildcards.iter().any(|grant| grant.gives(one))).cloned());
        }
        given.into_iter().collect()
    };
    Resolved { closure, grants, listed }
}

fn sorted<'a>(permissions: impl Iterator<Item = &'a Permission>) -> Arc<[Permission]> {
    permissions.cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::test_user as user;

    fn policy() -> Policy {
        let infos = ["projects:read", "projects:delete", "reports:read", "users:manage"].map(|name| PermissionInfo {
            name: Permission::parse(name).unwrap(),
            description: String::new(),
            is_built_in: true,
        });
        let roles = [
            Role::sample("admin", &[], &[]),
            Role::sample("viewer", &["reports:read"], &[]),
            Role::sample("editor", &["projects:*"], &["viewer"]),
            Role::sample("boss", &[], &["editor", "admin"]),
            Role::sample("auditor", &["*"], &[]),
        ];
        Policy::compile(roles.to_vec(), infos.to_vec())
    }

    fn names<T: ToString>(of: impl IntoIterator<Item = T>) -> Vec<String> {
        of.into_iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn a_role_gives_what_it_includes_and_what_its_wildcards_cover() {
        let policy = policy();
        let may = |roles: &[&str], permission: &str| {
            policy.has_permission(&user(roles), &Permission::parse(permission).unwrap())
        };
        assert!(may(&["editor"], "projects:delete"));
        assert!(may(&["editor"], "reports:read"));
        assert!(!may(&["editor"], "users:manage"));
        assert!(!may(&["editor"], "projects:unheard-of"));
        assert!(may(&["boss"], "users:manage"));
        assert!(may(&["auditor"], "users:manage"));
        assert!(!may(&["nobody"], "reports:read"));
        assert_eq!(
            names(policy.permissions_of(&user(&["editor"])).iter()),
            ["projects:delete", "projects:read", "reports:read"]
        );
        assert_eq!(policy.permissions_of(&user(&["viewer", "boss"])).len(), 4);
    }

    #[test]
    fn included_roles_are_held() {
        let policy = policy();
        let holds = |roles: &[&str], role: &str| policy.has_role(&user(roles), &RoleName::parse(role).unwrap());
        assert!(holds(&["boss"], "viewer"));
        assert!(holds(&["boss"], "admin"));
        assert!(!holds(&["editor"], "admin"));
        assert!(!holds(&["auditor"], "viewer"));
        assert_eq!(names(policy.roles_of(&user(&["editor"]))), ["editor", "viewer"]);
        let mut bringing = names(policy.roles_bringing(&RoleName::parse("viewer").unwrap()));
        bringing.sort();
        assert_eq!(bringing, ["boss", "editor", "viewer"]);
    }

    #[test]
    fn a_wildcard_is_had_by_who_has_one_as_wide() {
        let policy = policy();
        let has = |roles: &[&str], grant: &str| policy.has_grant(&user(roles), &Grant::parse(grant).unwrap());
        assert!(has(&["editor"], "projects:*"));
        assert!(has(&["editor"], "projects:read"));
        assert!(!has(&["editor"], "*"));
        assert!(!has(&["viewer"], "reports:*"));
        assert!(has(&["admin"], "*"));
        assert!(has(&["boss"], "*"));
    }

    #[test]
    fn a_permission_names_the_assigned_roles_through_which_it_comes() {
        let policy = policy();
        let found = policy.permissions_with_roles(&user(&["editor", "viewer"]));
        let reports = Permission::parse("reports:read").unwrap();
        assert_eq!(names(&found[&reports]), ["editor", "viewer"]);
        let mut superuser = user(&["viewer"]);
        superuser.is_superuser = true;
        let found = policy.permissions_with_roles(&superuser);
        assert_eq!(found.len(), 4);
        assert_eq!(names(&found[&reports]), ["viewer"]);
        assert!(found[&Permission::parse("users:manage").unwrap()].is_empty());
        superuser.is_active = false;
        assert!(policy.permissions_with_roles(&superuser).is_empty());
    }

    #[test]
    fn a_wildcard_covers_for_those_too_who_include_it() {
        let policy = policy();
        let covering = |permission: &str| {
            let mut covering = names(policy.roles_covering(&Permission::parse(permission).unwrap()));
            covering.sort();
            covering
        };
        assert_eq!(covering("projects:read"), ["auditor", "boss", "editor"]);
        assert_eq!(covering("reports:read"), ["auditor"]);
    }

    #[test]
    fn who_registers_does_not_become_an_administrator() {
        let viewer = RoleName::parse("viewer").unwrap();
        let with = |roles: &[Role]| {
            let manage = PermissionInfo {
                name: Permission::parse("users:manage").unwrap(),
                description: String::new(),
                is_built_in: true,
            };
            Policy::compile(roles.to_vec(), vec![manage])
        };
        let boss = Role::sample("boss", &["users:manage"], &[]);
        let before = with(&[boss.clone(), Role::sample("viewer", &["reports:read"], &[])]);
        let gone = with(std::slice::from_ref(&boss));
        let refusal = |after: &Policy, before: &Policy| after.check_default_role(before, &viewer).err();
        for unsafe_role in [
            Role::sample("viewer", &["users:manage"], &[]),
            Role::sample("viewer", &["users:*"], &[]),
            Role::sample("viewer", &["*"], &[]),
            Role::sample("viewer", &[], &["boss"]),
        ] {
            let after = with(&[boss.clone(), unsafe_role]);
            let problem = "would give users:manage";
            assert_eq!(refusal(&after, &before), Some(Conflict::DefaultRole { role: viewer.clone(), problem }));
            assert!(refusal(&after, &gone).is_some());
            // Who has to mend it must be able to take the first step.
            assert_eq!(refusal(&after, &after), None);
            assert_eq!(refusal(&before, &after), None);
        }
        assert!(matches!(refusal(&gone, &before), Some(Conflict::DefaultRole { problem: "would be gone", .. })));
    }

    #[test]
    fn a_cycle_in_the_rows_ends() {
        let roles = vec![Role::sample("a", &["x:y"], &["b"]), Role::sample("b", &[], &["a"])];
        let policy = Policy::compile(roles, Vec::new());
        assert!(policy.has_role(&user(&["b"]), &RoleName::parse("a").unwrap()));
    }
}
