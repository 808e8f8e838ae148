//! What a caller needs: a permission, a role, or several of them.

use super::Principal;
use crate::domain::{Permission, RoleName};
use crate::problem::ApiError;

/// What a caller needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Requirement {
    /// An account.
    Authentication,
    /// A permission.
    Permission(Permission),
    /// A role; a superuser passes.
    Role(RoleName),
    /// One of these.
    Any(Vec<Requirement>),
    /// All of these.
    All(Vec<Requirement>),
}

impl Requirement {
    /// `resource:action`.
    ///
    /// # Panics
    /// The text is no permission: a typo stops the start, it does not become an eternal 403.
    #[expect(clippy::panic, reason = "a typo in a route's permission has to stop the start")]
    pub fn permission(text: &str) -> Self {
        match Permission::parse(text) {
            Ok(permission) => Self::Permission(permission),
            Err(error) => panic!("permission {text:?}: {}", error.message),
        }
    }

    /// A role by its name.
    ///
    /// # Panics
    /// The text is no role's name.
    #[expect(clippy::panic, reason = "a typo in a route's role has to stop the start")]
    pub fn role(text: &str) -> Self {
        match RoleName::parse(text) {
            Ok(role) => Self::Role(role),
            Err(error) => panic!("role {text:?}: {}", error.message),
        }
    }

    /// One of these permissions.
    ///
    /// # Panics
    /// One of them is none.
    pub fn any<'a>(permissions: impl IntoIterator<Item = &'a str>) -> Self {
        Self::Any(permissions.into_iter().map(Self::permission).collect())
    }

    /// All of these permissions.
    ///
    /// # Panics
    /// One of them is none.
    pub fn all<'a>(permissions: impl IntoIterator<Item = &'a str>) -> Self {
        Self::All(permissions.into_iter().map(Self::permission).collect())
    }

    /// Whether the caller has it.
    ///
    /// # Errors
    /// 403 with what is missing; 503 where that can't be known.
    pub async fn check(&self, principal: &Principal) -> Result<(), ApiError> {
        match self.check_held(principal) {
            Some(outcome) => outcome,
            None => {
                principal.ask(self).await?;
                // What was just answered is held; if not even that, nobody is let in.
                self.check_held(principal)
                    .unwrap_or_else(|| Err(ApiError::Unavailable("no answer about what the caller may".into())))
            }
        }
    }

    /// The same by what is held; `None` if that is not enough to know.
    pub(super) fn check_held(&self, principal: &Principal) -> Option<Result<(), ApiError>> {
        Some(if self.holds(principal)? { Ok(()) } else { Err(self.refusal(principal)) })
    }

    fn holds(&self, principal: &Principal) -> Option<bool> {
        match self {
            Self::Authentication => Some(true),
            Self::Permission(_) | Self::Role(_) => principal.holds(self),
            Self::Any(several) => {
                let mut is_known = Some(false);
                for one in several {
                    match one.holds(principal) {
                        Some(true) => return Some(true),
                        Some(false) => {}
                        None => is_known = None,
                    }
                }
                is_known
            }
            Self::All(several) => {
                let mut is_known = Some(true);
                for one in several {
                    match one.holds(principal) {
                        Some(false) => return Some(false),
                        Some(true) => {}
                        None => is_known = None,
                    }
                }
                is_known
            }
        }
    }

    /// Of several that all have to hold, the first that does not; of several
    /// of which one has to hold, all of them.
    fn refusal(&self, principal: &Principal) -> ApiError {
        match self {
            Self::Authentication => ApiError::NotAuthenticated,
            Self::Permission(permission) => ApiError::PermissionRequired(permission.clone()),
            Self::Role(role) => ApiError::RoleRequired(role.clone()),
            Self::Any(several) => ApiError::AnyRequired(several.iter().map(Self::name).collect()),
            Self::All(several) => {
                let missing = several.iter().find(|one| one.holds(principal) != Some(true));
                missing.map_or(ApiError::NotAuthenticated, |missing| missing.refusal(principal))
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Authentication => "an account".into(),
            Self::Permission(permission) => permission.to_string(),
            Self::Role(role) => format!("role {role}"),
            Self::Any(several) => several.iter().map(Self::name).collect::<Vec<_>>().join(" or "),
            Self::All(several) => several.iter().map(Self::name).collect::<Vec<_>>().join(" and "),
        }
    }

    /// The permissions and roles that it is made of.
    pub(super) fn leaves(&self) -> Vec<&Self> {
        match self {
            Self::Authentication => Vec::new(),
            Self::Permission(_) | Self::Role(_) => vec![self],
            Self::Any(several) | Self::All(several) => several.iter().flat_map(Self::leaves).collect(),
        }
    }
}
