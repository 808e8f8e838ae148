//! Changes of roles and permissions, and what the audit log says of them.

use serde_json::{Map, Value, json};

use super::{Grant, Permission, Role, RoleName, UserId};

/// One change of roles or permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyChange {
    /// A new permission.
    CreatePermission(Permission, String),
    /// Another description of a permission.
    DescribePermission(Permission, String),
    /// A permission goes.
    DeletePermission(Permission),
    /// A new role, empty.
    CreateRole(RoleName, String),
    /// Another description of a role.
    DescribeRole(RoleName, String),
    /// A role goes, with its assignments and inclusions.
    DeleteRole(RoleName),
    /// A role gives more.
    Grant(RoleName, Grant),
    /// A role gives less.
    Revoke(RoleName, Grant),
    /// The first role includes the second.
    Include(RoleName, RoleName),
    /// The first role includes the second no more.
    Exclude(RoleName, RoleName),
}

/// What a change came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyEffect {
    /// It was so already.
    Unchanged,
    /// It is so now.
    Changed,
    /// It is described so now, and was described so before.
    Described {
        /// The description before.
        from: String,
    },
    /// The role is gone, and with it what is named here.
    RoleDeleted {
        /// The role as it was.
        role: Role,
        /// Those who were assigned it directly.
        users: Vec<UserId>,
        /// The roles that included it directly.
        included_by: Vec<RoleName>,
    },
}

impl PolicyEffect {
    /// Whether anything is another way now.
    pub fn is_change(&self) -> bool {
        *self != Self::Unchanged
    }
}

impl PolicyChange {
    /// What the audit log calls it.
    pub fn action(&self) -> &'static str {
        match self {
            Self::CreatePermission(..) => "CREATE_PERMISSION",
            Self::DescribePermission(..) => "UPDATE_PERMISSION",
            Self::DeletePermission(_) => "DELETE_PERMISSION",
            Self::CreateRole(..) => "CREATE_ROLE",
            Self::DescribeRole(..) => "UPDATE_ROLE",
            Self::DeleteRole(_) => "DELETE_ROLE",
            Self::Grant(..) => "GRANT_PERMISSION",
            Self::Revoke(..) => "REVOKE_PERMISSION",
            Self::Include(..) => "INCLUDE_ROLE",
            Self::Exclude(..) => "EXCLUDE_ROLE",
        }
    }

    /// What it is about: the kind, and the name.
    pub fn resource(&self) -> (&'static str, &str) {
        match self {
            Self::CreatePermission(name, _) | Self::DescribePermission(name, _) | Self::DeletePermission(name) => {
                ("permission", name.as_str())
            }
            Self::CreateRole(role, _)
            | Self::DescribeRole(role, _)
            | Self::DeleteRole(role)
            | Self::Grant(role, _)
            | Self::Revoke(role, _)
            | Self::Include(role, _)
            | Self::Exclude(role, _) => ("role", role.as_str()),
        }
    }

    /// What the audit log says of it beside that: what changed, from what to what.
    pub fn metadata(&self, effect: &PolicyEffect) -> Map<String, Value> {
        let value = match (self, effect) {
            (Self::CreatePermission(_, description) | Self::CreateRole(_, description), _) => {
                json!({ "description": description })
            }
            (Self::DescribePermission(_, to) | Self::DescribeRole(_, to), PolicyEffect::Described { from }) => {
                json!({ "changed": { "description": { "from": from, "to": to } } })
            }
            (Self::DescribePermission(..) | Self::DescribeRole(..), _) => json!({ "changed": {} }),
            (Self::Grant(_, grant) | Self::Revoke(_, grant), _) => {
                json!({ "permission": grant, "changed": effect.is_change() })
            }
            (Self::Include(_, other) | Self::Exclude(_, other), _) => {
                json!({ "included": other, "changed": effect.is_change() })
            }
            (Self::DeleteRole(_), PolicyEffect::RoleDeleted { role, users, included_by }) => json!({
                "permissions": role.grants, "includes": role.includes, "users": users, "included_by": included_by,
            }),
            (Self::DeleteRole(_) | Self::DeletePermission(_), _) => json!({}),
        };
        match value {
            Value::Object(metadata) => metadata,
            _ => Map::new(),
        }
    }
}
