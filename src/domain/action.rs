//! The actions that only the service itself writes into the audit log.

/// What callers may not call their own events, in any case.
const RESERVED: &[&str] = &[
    "REGISTER",
    "LOGIN",
    "OAUTH_LOGIN",
    "TOKEN_REFRESH",
    "REFRESH_TOKEN_REUSE",
    "LOGOUT",
    "PASSWORD_CHANGE",
    "READ_PROFILE",
    "UPDATE_PROFILE",
    "LIST_SESSIONS",
    "END_SESSION",
    "VERIFY",
    "CHECK",
    "LIST_IDENTITIES",
    "LINK_IDENTITY",
    "UNLINK_IDENTITY",
    "OAUTH_AUTHORIZE",
    "OAUTH_CALLBACK",
    "UNLOCK_USER",
    "CREATE_AUDIT_EVENT",
    "READ_USER",
    "CREATE_USER",
    "UPDATE_USER",
    "DELETE_USER",
    "LIST_USERS",
    "READ_ROLE",
    "CREATE_ROLE",
    "UPDATE_ROLE",
    "DELETE_ROLE",
    "LIST_ROLES",
    "READ_PERMISSION",
    "CREATE_PERMISSION",
    "UPDATE_PERMISSION",
    "DELETE_PERMISSION",
    "LIST_PERMISSIONS",
    "READ_USER_PERMISSIONS",
    "ASSIGN_ROLE",
    "REVOKE_ROLE",
    "GRANT_PERMISSION",
    "REVOKE_PERMISSION",
    "INCLUDE_ROLE",
    "EXCLUDE_ROLE",
    "LIST_AUDIT_LOGS",
    "READ_AUDIT_LOG",
    "EXPORT_AUDIT_LOGS",
    "READ_AUDIT_STATS",
    "READ_AUDIT_CHECKPOINT",
    "UNKNOWN_ROUTE",
];

/// Whether an action is one of the service's own: what a caller sends can
/// never pass for what the system saw.
pub fn is_reserved_action(action: &str) -> bool {
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(action))
}
