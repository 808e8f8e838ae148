//! Who is calling, as a handler's argument.

use std::collections::BTreeSet;
use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::future::{Either, LocalBoxFuture};

use super::authenticate::Guards;
use crate::actors::Rbac;
use crate::domain::{Authority, Permission, RoleName, SessionId, User, UserId};
use crate::problem::ApiError;

/// The authenticated caller. As a handler's argument it answers 401 where
/// there is none.
#[derive(Clone)]
pub struct Principal {
    user: Arc<User>,
    session: Option<SessionId>,
    rbac: Rbac,
}

impl Principal {
    pub(super) fn new(user: Arc<User>, session: Option<SessionId>, rbac: Rbac) -> Self {
        Self { user, session, rbac }
    }

    /// The caller's id.
    pub fn id(&self) -> UserId {
        self.user.id
    }

    /// The caller's name.
    pub fn username(&self) -> &Arc<str> {
        &self.user.username
    }

    /// The caller's account.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// The session of the caller's token; none without authentication.
    pub fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// As the one whose right a change is made by. Without authentication
    /// everybody acts for the system: there is no account to look up.
    pub fn authority(&self) -> Authority {
        if self.session.is_some() { Authority::User(self.user.id) } else { Authority::System }
    }

    /// The roles that the caller holds, directly or by inclusion, sorted.
    pub fn roles(&self) -> BTreeSet<RoleName> {
        self.rbac.policy().roles_of(&self.user)
    }

    /// Whether the caller may.
    pub fn has_permission(&self, permission: &Permission) -> bool {
        self.rbac.has_permission(&self.user, permission)
    }

    /// Whether the caller holds the role; a superuser passes every role check.
    pub fn has_role(&self, role: &RoleName) -> bool {
        self.rbac.has_role(&self.user, role)
    }

    /// For checks that depend on data, inside a handler.
    ///
    /// # Errors
    /// 403 `permission_required`.
    pub fn require(&self, permission: &Permission) -> Result<(), ApiError> {
        if self.has_permission(permission) { Ok(()) } else { Err(ApiError::PermissionRequired(permission.clone())) }
    }

    /// For checks that depend on data, inside a handler.
    ///
    /// # Errors
    /// 403 `role_required`.
    pub fn require_role(&self, role: &RoleName) -> Result<(), ApiError> {
        if self.has_role(role) { Ok(()) } else { Err(ApiError::RoleRequired(role.clone())) }
    }
}

impl std::fmt::Debug for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Principal").field("user", &self.user.id).field("session", &self.session).finish()
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
        Either::Right(Box::pin(async move { Guards::of(&request)?.authenticate(&request).await }))
    }
}
