//! Who is calling, as a handler's argument.

use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::future::{Either, LocalBoxFuture};

#[cfg(feature = "remote")]
use super::remote::Account;
use super::{Guards, Requirement};
#[cfg(feature = "service")]
use crate::actors::Rbac;
#[cfg(feature = "service")]
use crate::domain::{Authority, RoleName, User};
use crate::domain::{FieldError, Permission, SessionId, UserId};
use crate::problem::ApiError;

/// The authenticated caller. As a handler's argument it answers 401 where
/// there is none.
#[derive(Clone)]
pub struct Principal(Kind);

#[derive(Clone)]
enum Kind {
    #[cfg(feature = "service")]
    Held { user: Arc<User>, session: Option<SessionId>, rbac: Rbac },
    #[cfg(feature = "remote")]
    Remote(Arc<Account>),
}

impl Principal {
    #[cfg(feature = "service")]
    pub(super) fn held(user: Arc<User>, session: Option<SessionId>, rbac: Rbac) -> Self {
        Self(Kind::Held { user, session, rbac })
    }

    #[cfg(feature = "remote")]
    pub(super) fn remote(account: Arc<Account>) -> Self {
        Self(Kind::Remote(account))
    }

    /// The caller's id.
    pub fn id(&self) -> UserId {
        match &self.0 {
            #[cfg(feature = "service")]
            Kind::Held { user, .. } => user.id,
            #[cfg(feature = "remote")]
            Kind::Remote(account) => account.id(),
        }
    }

    /// The caller's name.
    pub fn username(&self) -> &Arc<str> {
        match &self.0 {
            #[cfg(feature = "service")]
            Kind::Held { user, .. } => &user.username,
            #[cfg(feature = "remote")]
            Kind::Remote(account) => account.username(),
        }
    }

    /// The session of the caller's token; none without authentication.
    pub fn session(&self) -> Option<SessionId> {
        match &self.0 {
            #[cfg(feature = "service")]
            Kind::Held { session, .. } => *session,
            #[cfg(feature = "remote")]
            Kind::Remote(account) => Some(account.session()),
        }
    }

    /// For checks that depend on data, inside a handler: `principal.require("projects:delete").await?`.
    ///
    /// # Errors
    /// 403 `permission_required`; 500 for text that is no permission; 503 where
    /// the answer can't be had.
    pub async fn require(&self, permission: &str) -> Result<(), ApiError> {
        let permission = Permission::parse(permission).map_err(misnamed)?;
        Requirement::Permission(permission).check(self).await
    }

    /// For checks that depend on data, inside a handler; a superuser passes every role check.
    ///
    /// # Errors
    /// 403 `role_required`; 500 for text that is no role's name; 503 where the
    /// answer can't be had.
    pub async fn require_role(&self, role: &str) -> Result<(), ApiError> {
        let role = crate::domain::RoleName::parse(role).map_err(misnamed)?;
        Requirement::Role(role).check(self).await
    }

    /// Whether the caller may: where that does not decide over the whole request.
    ///
    /// # Errors
    /// 500 for text that is no permission; 503 where the answer can't be had.
    pub async fn has_permission(&self, permission: &str) -> Result<bool, ApiError> {
        match self.require(permission).await {
            Ok(()) => Ok(true),
            Err(ApiError::PermissionRequired(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the caller has the permission or role; `None` where that has to be asked first.
    pub(super) fn holds(&self, leaf: &Requirement) -> Option<bool> {
        match &self.0 {
            #[cfg(feature = "service")]
            Kind::Held { user, rbac, .. } => Some(match leaf {
                Requirement::Permission(permission) => rbac.has_permission(user, permission),
                Requirement::Role(role) => rbac.has_role(user, role),
                Requirement::Authentication | Requirement::Any(_) | Requirement::All(_) => false,
            }),
            #[cfg(feature = "remote")]
            Kind::Remote(account) => account.holds(leaf),
        }
    }

    /// Asks what is not held.
    pub(super) async fn ask(&self, requirement: &Requirement) -> Result<(), ApiError> {
        match &self.0 {
            #[cfg(feature = "service")]
            Kind::Held { .. } => {
                let _ = requirement;
                Ok(())
            }
            #[cfg(feature = "remote")]
            Kind::Remote(account) => account.ask(requirement).await,
        }
    }
}

/// What only the process that has the store knows of the caller.
#[cfg(feature = "service")]
impl Principal {
    /// The caller's account; `None` in an app that only verifies.
    pub fn user(&self) -> Option<&User> {
        match &self.0 {
            Kind::Held { user, .. } => Some(user),
            #[cfg(feature = "remote")]
            Kind::Remote(_) => None,
        }
    }

    /// As the one whose right a change is made by. Without authentication
    /// everybody acts for the system: there is no account to look up.
    pub fn authority(&self) -> Authority {
        if self.session().is_some() { Authority::User(self.id()) } else { Authority::System }
    }

    /// The roles that the caller holds, directly or by inclusion, sorted;
    /// `None` in an app that only verifies.
    pub fn roles(&self) -> Option<std::collections::BTreeSet<RoleName>> {
        match &self.0 {
            Kind::Held { user, rbac, .. } => Some(rbac.policy().roles_of(user)),
            #[cfg(feature = "remote")]
            Kind::Remote(_) => None,
        }
    }
}

/// A name written in code that is none: the developer's fault, never the caller's.
fn misnamed(error: FieldError) -> ApiError {
    ApiError::Internal(format!("a check names no {}: {}", error.field, error.message))
}

impl std::fmt::Debug for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Principal").field("user", &self.id()).field("session", &self.session()).finish()
    }
}

impl FromRequest for Principal {
    type Error = ApiError;
    type Future = Either<Ready<Result<Self, ApiError>>, LocalBoxFuture<'static, Result<Self, ApiError>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        if let Some(principal) = request.extensions().get::<Self>() {
            return Either::Left(ready(Ok(principal.clone())));
        }
        let request = request.clone();
        Either::Right(Box::pin(async move {
            let principal = Guards::of(&request)?.authenticate(&request).await?;
            // For the audit record, and for whoever asks next.
            request.extensions_mut().insert(principal.clone());
            Ok(principal)
        }))
    }
}
