//! What changes make of roles and permissions: the rules of what fits what there is.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use super::{
    Conflict, Grant, Permission, PermissionInfo, Policy, PolicyChange, PolicyEffect, PolicyError, Role, RoleName,
};

/// Roles and permissions that changes are tried on: the rules of what fits what there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyDraft {
    roles: BTreeMap<RoleName, Role>,
    permissions: BTreeMap<Permission, PermissionInfo>,
}

impl PolicyDraft {
    /// Of what the store holds.
    pub fn new(roles: Vec<Role>, permissions: Vec<PermissionInfo>) -> Self {
        Self {
            roles: roles.into_iter().map(|role| (role.name.clone(), role)).collect(),
            permissions: permissions.into_iter().map(|info| (info.name.clone(), info)).collect(),
        }
    }

    /// As a policy that answers.
    pub fn compile(&self) -> Policy {
        Policy::compile(self.roles.values().cloned().collect(), self.permissions.values().cloned().collect())
    }

    /// The roles, by name.
    pub fn roles(&self) -> &BTreeMap<RoleName, Role> {
        &self.roles
    }

    /// The permissions, by name.
    pub fn permissions(&self) -> &BTreeMap<Permission, PermissionInfo> {
        &self.permissions
    }

    /// Whether what the change is about is there.
    ///
    /// # Errors
    /// The role or permission that is not.
    pub fn check_exists(&self, change: &PolicyChange) -> Result<(), PolicyError> {
        match change {
            PolicyChange::CreatePermission(..) | PolicyChange::CreateRole(..) => Ok(()),
            PolicyChange::DescribePermission(name, _) | PolicyChange::DeletePermission(name) => {
                self.permission(name).map(drop)
            }
            PolicyChange::DescribeRole(role, _) | PolicyChange::DeleteRole(role) => self.role(role).map(drop),
            PolicyChange::Grant(role, grant) | PolicyChange::Revoke(role, grant) => {
                self.role(role)?;
                grant.as_permission().map_or(Ok(()), |name| self.permission(&name).map(drop))
            }
            PolicyChange::Include(role, other) | PolicyChange::Exclude(role, other) => {
                self.role(role)?;
                self.role(other).map(drop)
            }
        }
    }

    /// Makes the change; who were assigned a deleted role, only the store knows.
    ///
    /// # Errors
    /// Something is not there, or what there is does not allow it; then nothing has changed.
    pub fn apply(&mut self, change: &PolicyChange) -> Result<PolicyEffect, PolicyError> {
        self.check_exists(change)?;
        match change {
            PolicyChange::CreatePermission(name, description) => {
                if self.permissions.contains_key(name) {
                    return Err(Conflict::PermissionExists.into());
                }
                let info = PermissionInfo { name: name.clone(), description: description.clone(), is_built_in: false };
                self.permissions.insert(name.clone(), info);
                Ok(PolicyEffect::Changed)
            }
            PolicyChange::DescribePermission(name, description) => {
                let info = self.permissions.get_mut(name).ok_or_else(|| missing_permission(name))?;
                Ok(described(&mut info.description, description))
            }
            PolicyChange::DeletePermission(name) => self.delete_permission(name),
            PolicyChange::CreateRole(name, description) => {
                if self.roles.contains_key(name) {
                    return Err(Conflict::RoleExists.into());
                }
                let role = Role {
                    name: name.clone(),
                    description: description.clone(),
                    is_built_in: false,
                    grants: Vec::new(),
                    includes: Vec::new(),
                };
                self.roles.insert(name.clone(), role);
                Ok(PolicyEffect::Changed)
            }
            PolicyChange::DescribeRole(name, description) => {
                Ok(described(&mut self.role_mut(name)?.description, description))
            }
            PolicyChange::DeleteRole(name) => self.delete_role(name),
            // It has all by rule.
            PolicyChange::Grant(role, _) if role.is_admin() => Ok(PolicyEffect::Unchanged),
            PolicyChange::Grant(role, grant) => Ok(add(&mut self.role_mut(role)?.grants, grant)),
            PolicyChange::Revoke(role, _) if role.is_admin() => {
                Err(Conflict::BuiltIn("The role admin has every permission, by rule").into())
            }
            PolicyChange::Revoke(role, grant) => Ok(remove(&mut self.role_mut(role)?.grants, grant)),
            PolicyChange::Include(role, other) => {
                if let Some(back) = self.inclusion_path(other, role) {
                    let cycle = std::iter::once(role.clone()).chain(back).collect();
                    return Err(Conflict::RoleCycle(cycle).into());
                }
                Ok(add(&mut self.role_mut(role)?.includes, other))
            }
            PolicyChange::Exclude(role, other) => Ok(remove(&mut self.role_mut(role)?.includes, other)),
        }
    }

    fn delete_permission(&mut self, name: &Permission) -> Result<PolicyEffect, PolicyError> {
        if self.permission(name)?.is_built_in {
            return Err(Conflict::BuiltIn("The fifteen default permissions stay").into());
        }
        let grant = Grant::from(name.clone());
        let granting = self.roles.values().filter(|role| role.grants.contains(&grant));
        let granting: Vec<_> = granting.map(|role| role.name.clone()).collect();
        if !granting.is_empty() {
            return Err(Conflict::PermissionInUse(granting).into());
        }
        self.permissions.remove(name);
        Ok(PolicyEffect::Changed)
    }

    fn delete_role(&mut self, name: &RoleName) -> Result<PolicyEffect, PolicyError> {
        if self.role(name)?.is_built_in {
            return Err(Conflict::BuiltIn("The three default roles stay").into());
        }
        let role = self.roles.remove(name).ok_or_else(|| PolicyError::NoSuchRole(name.clone()))?;
        let mut included_by = Vec::new();
        for other in self.roles.values_mut() {
            if remove(&mut other.includes, name).is_change() {
                included_by.push(other.name.clone());
            }
        }
        Ok(PolicyEffect::RoleDeleted { role, users: Vec::new(), included_by })
    }

    /// The shortest way from one role to another along what each includes,
    /// both ends named; `None` where there is none.
    fn inclusion_path(&self, from: &RoleName, to: &RoleName) -> Option<Vec<RoleName>> {
        let mut paths = VecDeque::from([vec![from]]);
        let mut seen = HashSet::from([from]);
        while let Some(path) = paths.pop_front() {
            let last = *path.last()?;
            if last == to {
                return Some(path.into_iter().cloned().collect());
            }
            for next in self.roles.get(last).into_iter().flat_map(|role| &role.includes) {
                if seen.insert(next) {
                    paths.push_back(path.iter().copied().chain([next]).collect());
                }
            }
        }
        None
    }

    fn role(&self, name: &RoleName) -> Result<&Role, PolicyError> {
        self.roles.get(name).ok_or_else(|| PolicyError::NoSuchRole(name.clone()))
    }

    fn role_mut(&mut self, name: &RoleName) -> Result<&mut Role, PolicyError> {
        self.roles.get_mut(name).ok_or_else(|| PolicyError::NoSuchRole(name.clone()))
    }

    fn permission(&self, name: &Permission) -> Result<&PermissionInfo, PolicyError> {
        self.permissions.get(name).ok_or_else(|| missing_permission(name))
    }

    /// The changes of [`PolicyDraft::changes_to`], each tried out, and what they make of this.
    ///
    /// # Errors
    /// The first that can't be made, and why.
    pub fn plan(&self, other: &Self, prunes: bool) -> Result<(Vec<PolicyChange>, Self), (PolicyChange, PolicyError)> {
        let changes = self.changes_to(other, prunes);
        let mut after = self.clone();
        for change in &changes {
            after.apply(change).map_err(|error| (change.clone(), error))?;
        }
        Ok((changes, after))
    }

    /// The changes that make this what the other is, in an order in which each is possible.
    /// Roles and permissions that the other does not have stay, unless `prunes`; built-in ones stay in any case.
    pub fn changes_to(&self, other: &Self, prunes: bool) -> Vec<PolicyChange> {
        let mut changes = Vec::new();
        for (name, info) in &other.permissions {
            match self.permissions.get(name) {
                None => changes.push(PolicyChange::CreatePermission(name.clone(), info.description.clone())),
                Some(present) if present.description != info.description => {
                    changes.push(PolicyChange::DescribePermission(name.clone(), info.description.clone()));
                }
                Some(_) => {}
            }
        }
        let surplus = self.roles.values().filter(|role| !role.is_built_in && !other.roles.contains_key(&role.name));
        let surplus: BTreeSet<_> =
            if prunes { surplus.map(|role| role.name.clone()).collect() } else { BTreeSet::new() };
        // What is taken away goes first: an inclusion turned round would else be a cycle on the way.
        for (name, wanted) in &other.roles {
            let Some(present) = self.roles.get(name) else { continue };
            let gone = present.includes.iter().filter(|role| !wanted.includes.contains(role));
            // A deleted role takes its inclusions with it.
            let gone = gone.filter(|role| !surplus.contains(role));
            changes.extend(gone.map(|role| PolicyChange::Exclude(name.clone(), role.clone())));
            if !name.is_admin() {
                let gone = present.grants.iter().filter(|grant| !wanted.grants.contains(grant));
                changes.extend(gone.map(|grant| PolicyChange::Revoke(name.clone(), grant.clone())));
            }
        }
        changes.extend(surplus.into_iter().map(PolicyChange::DeleteRole));
        for (name, wanted) in &other.roles {
            match self.roles.get(name) {
                None => changes.push(PolicyChange::CreateRole(name.clone(), wanted.description.clone())),
                Some(present) if present.description != wanted.description => {
                    changes.push(PolicyChange::DescribeRole(name.clone(), wanted.description.clone()));
                }
                Some(_) => {}
            }
        }
        for (name, wanted) in &other.roles {
            let present = self.roles.get(name);
            let has_grant = |grant: &Grant| present.is_some_and(|role| role.grants.contains(grant));
            let has_include = |role: &RoleName| present.is_some_and(|present| present.includes.contains(role));
            if !name.is_admin() {
                let new = wanted.grants.iter().filter(|grant| !has_grant(grant));
                changes.extend(new.map(|grant| PolicyChange::Grant(name.clone(), grant.clone())));
            }
            let new = wanted.includes.iter().filter(|role| !has_include(role));
            changes.extend(new.map(|role| PolicyChange::Include(name.clone(), role.clone())));
        }
        if prunes {
            let surplus = self.permissions.values().filter(|info| !info.is_built_in);
            let surplus = surplus.filter(|info| !other.permissions.contains_key(&info.name));
            changes.extend(surplus.map(|info| PolicyChange::DeletePermission(info.name.clone())));
        }
        changes
    }
}

fn missing_permission(name: &Permission) -> PolicyError {
    PolicyError::NoSuchPermission(name.clone())
}

fn described(present: &mut String, description: &str) -> PolicyEffect {
    if present == description {
        return PolicyEffect::Unchanged;
    }
    PolicyEffect::Described { from: std::mem::replace(present, description.to_owned()) }
}

fn add<T: Ord + Clone>(had: &mut Vec<T>, new: &T) -> PolicyEffect {
    match had.binary_search(new) {
        Ok(_) => PolicyEffect::Unchanged,
        Err(place) => {
            had.insert(place, new.clone());
            PolicyEffect::Changed
        }
    }
}

fn remove<T: Ord>(had: &mut Vec<T>, old: &T) -> PolicyEffect {
    match had.binary_search(old) {
        Ok(place) => {
            had.remove(place);
            PolicyEffect::Changed
        }
        Err(_) => PolicyEffect::Unchanged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str) -> RoleName {
        RoleName::parse(name).unwrap()
    }

    fn grant(text: &str) -> Grant {
        Grant::parse(text).unwrap()
    }

    fn draft() -> PolicyDraft {
        let info = |name: &str| PermissionInfo {
            name: Permission::parse(name).unwrap(),
            description: String::new(),
            is_built_in: name != "extra:read",
        };
        let mut admin = Role::sample("admin", &[], &[]);
        admin.is_built_in = true;
        PolicyDraft::new(
            vec![
                admin,
                Role::sample("a", &["projects:read"], &["b"]),
                Role::sample("b", &[], &["c"]),
                Role::sample("c", &["extra:read"], &[]),
            ],
            vec![info("projects:read"), info("extra:read")],
        )
    }

    #[test]
    fn a_cycle_is_refused_with_its_path() {
        let mut draft = draft();
        let path =
            |names: &[&str]| PolicyError::from(Conflict::RoleCycle(names.iter().map(|name| role(name)).collect()));
        let before = draft.clone();
        assert_eq!(draft.apply(&PolicyChange::Include(role("c"), role("a"))), Err(path(&["c", "a", "b", "c"])));
        assert_eq!(draft.apply(&PolicyChange::Include(role("a"), role("a"))), Err(path(&["a", "a"])));
        assert_eq!(draft, before);
    }

    #[test]
    fn what_is_built_in_or_in_use_stays() {
        let mut draft = draft();
        let refused = |draft: &mut PolicyDraft, change| draft.apply(&change).unwrap_err();
        assert!(matches!(
            refused(&mut draft, PolicyChange::DeleteRole(role("admin"))),
            PolicyError::Conflict(Conflict::BuiltIn(_))
        ));
        assert!(matches!(
            refused(&mut draft, PolicyChange::Revoke(role("admin"), grant("*"))),
            PolicyError::Conflict(Conflict::BuiltIn(_))
        ));
        let extra = Permission::parse("extra:read").unwrap();
        let in_use = Conflict::PermissionInUse(vec![role("c")]);
        assert_eq!(refused(&mut draft, PolicyChange::DeletePermission(extra.clone())), in_use.into());
        draft.apply(&PolicyChange::Revoke(role("c"), grant("extra:read"))).unwrap();
        assert_eq!(draft.apply(&PolicyChange::DeletePermission(extra)).unwrap(), PolicyEffect::Changed);
    }

    #[test]
    fn a_deleted_role_takes_its_inclusions_with_it() {
        let mut draft = draft();
        let effect = draft.apply(&PolicyChange::DeleteRole(role("b"))).unwrap();
        assert!(matches!(effect, PolicyEffect::RoleDeleted { included_by, .. } if included_by == [role("a")]));
        assert!(draft.roles()[&role("a")].includes.is_empty());
    }

    #[test]
    fn the_same_again_changes_nothing() {
        let mut draft = draft();
        let change = PolicyChange::Grant(role("b"), grant("projects:*"));
        assert_eq!(draft.apply(&change).unwrap(), PolicyEffect::Changed);
        assert_eq!(draft.apply(&change).unwrap(), PolicyEffect::Unchanged);
        assert_eq!(draft.apply(&PolicyChange::Grant(role("admin"), grant("*"))).unwrap(), PolicyEffect::Unchanged);
    }

    #[test]
    fn the_changes_from_one_to_another_can_be_made_in_their_order() {
        let mut present = draft();
        let mut wanted = draft();
        // The inclusion turned round, a role fewer, one more, and a permission fewer.
        wanted.roles.remove(&role("b"));
        wanted.permissions.remove(&Permission::parse("extra:read").unwrap());
        wanted.roles.insert(role("a"), Role::sample("a", &[], &[]));
        wanted.roles.insert(role("c"), Role::sample("c", &["*"], &["a", "d"]));
        wanted.roles.insert(role("d"), Role::sample("d", &["projects:*"], &[]));
        for change in present.changes_to(&wanted, true) {
            assert!(present.apply(&change).unwrap().is_change(), "{change:?}");
        }
        assert_eq!(present, wanted);
        assert_eq!(present.changes_to(&wanted, true), vec![]);
    }

    #[test]
    fn a_plan_names_the_change_that_can_not_be_made() {
        let present = draft();
        let mut wanted = draft();
        wanted.roles.insert(role("c"), Role::sample("c", &["extra:read"], &["d"]));
        let include = PolicyChange::Include(role("c"), role("d"));
        assert_eq!(present.plan(&wanted, false), Err((include.clone(), PolicyError::NoSuchRole(role("d")))));
        wanted.roles.insert(role("d"), Role::sample("d", &[], &[]));
        let (changes, after) = present.plan(&wanted, false).unwrap();
        assert_eq!((changes.last(), after), (Some(&include), wanted));
    }
}
