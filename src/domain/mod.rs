//! The words of the field, as pure types: no I/O, no framework.
//!
//! Input is parsed here, at the edge, and trusted inside: who holds a
//! [`Username`] or a [`Permission`] holds a valid one.

mod action;
pub mod audit;
mod audit_question;
mod authority;
mod conflict;
mod draft;
mod event;
mod field;
mod grant;
mod id;
mod identity;
mod page;
mod password;
mod permission;
mod policy;
mod policy_change;
mod provider;
mod redact;
mod role;
mod session;
mod time;
mod token;
mod user;

pub use action::is_reserved_action;
pub use audit_question::{AuditCount, AuditFilter, AuditPage, AuditSlice, Bucket, CountedBy};
pub use authority::{Authority, Denial, Needed};
pub use conflict::{Conflict, PolicyError};
pub use draft::PolicyDraft;
pub use event::{CustomEvent, MAX_METADATA_BYTES};
pub use field::{FieldCode, FieldError};
pub use grant::Grant;
pub use id::{IdentityId, RecordId, SessionId, UserId, WriterId, canonical};
pub use identity::{Identity, IdentityError, MAX_IDENTITIES, username_candidates};
pub use page::{MAX_LIMIT, Page, Slice};
pub use password::{MAX_PASSWORD_BYTES, NewPassword, PasswordPolicy, normalize_password};
pub use permission::{Permission, PermissionInfo, is_identifier, is_permission};
pub use policy::Policy;
pub use policy_change::{PolicyChange, PolicyEffect};
pub use provider::{Provider, ProviderIdentity, Refusal};
pub use redact::redact;
pub use role::{Role, RoleName, parse_description};
pub use session::{Session, SessionEnd};
pub use time::Timestamp;
pub use token::{AccessClaims, RefreshClaims, Rotation, TokenHash};
pub use user::{Email, FullName, User, UserChange, UserFilter, Username};

/// An active user with these roles.
#[cfg(test)]
pub(crate) fn test_user(roles: &[&str]) -> User {
    User {
        id: UserId::generate(),
        username: "somebody".into(),
        email: None,
        email_verified: false,
        full_name: None,
        is_active: true,
        is_superuser: false,
        roles: roles.iter().filter_map(|role| RoleName::parse(role).ok()).collect(),
        created_at: Timestamp::from_millis(0),
        updated_at: Timestamp::from_millis(0),
        last_login_at: None,
    }
}
