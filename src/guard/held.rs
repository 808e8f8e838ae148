//! From a request to its principal, with the store in the same process.

use std::sync::Arc;

use actix_web::HttpRequest;
use uuid::Uuid;

use super::bearer::bearer;
use super::{GuardSettings, Principal, loopback};
use crate::actors::{Authenticated, Rbac, Tokens};
use crate::domain::{Timestamp, User, UserId};
use crate::metrics::Metrics;
use crate::problem::ApiError;

/// The guards of an app that has the store: everything in one process.
pub(super) struct Held {
    tokens: Tokens,
    rbac: Rbac,
    settings: GuardSettings,
    metrics: Metrics,
    anonymous: Arc<User>,
}

impl Held {
    pub(super) fn new(tokens: Tokens, rbac: Rbac, settings: GuardSettings, metrics: Metrics) -> Self {
        let anonymous = Arc::new(anonymous());
        Self { tokens, rbac, settings, metrics, anonymous }
    }

    /// The principal, where everything needed to know is held. `None`: ask [`Held::authenticate`].
    pub(super) fn authenticate_held(&self, request: &HttpRequest) -> Option<Result<Principal, ApiError>> {
        if !self.settings.is_authentication_enabled {
            return Some(self.anonymous(request));
        }
        match bearer(request) {
            Ok(token) => {
                let held = self.tokens.authenticate_held(token)?;
                Some(self.count(held.map(|who| self.principal(who)).map_err(ApiError::from)))
            }
            Err(refusal) => Some(self.count(Err(refusal))),
        }
    }

    /// The principal of a request.
    pub(super) async fn authenticate(&self, request: &HttpRequest) -> Result<Principal, ApiError> {
        if let Some(held) = self.authenticate_held(request) {
            return held;
        }
        let who = self.tokens.authenticate(bearer(request)?).await;
        self.count(who.map(|who| self.principal(who)).map_err(ApiError::from))
    }

    fn principal(&self, who: Authenticated) -> Principal {
        Principal::held(who.user, Some(who.session), self.rbac.clone())
    }

    fn count(&self, outcome: Result<Principal, ApiError>) -> Result<Principal, ApiError> {
        if let Err(refusal) = &outcome {
            let reason = match refusal {
                ApiError::NotAuthenticated => "missing",
                ApiError::TokenExpired => "expired",
                ApiError::TokenRevoked => "revoked",
                ApiError::TokenInvalid(_) => "invalid",
                _ => return outcome,
            };
            self.metrics.tokens_refused.with_label_values(&[reason]).inc();
        }
        outcome
    }

    /// Without authentication everybody is a superuser, but only under a loopback name.
    fn anonymous(&self, request: &HttpRequest) -> Result<Principal, ApiError> {
        if self.settings.requires_loopback_host {
            loopback::check_host(request.headers())?;
        }
        Ok(Principal::held(Arc::clone(&self.anonymous), None, self.rbac.clone()))
    }
}

/// Who everybody is with `ENABLE_AUTHENTICATION=false`.
fn anonymous() -> User {
    User {
        id: UserId(Uuid::nil()),
        username: "anonymous".into(),
        email: None,
        email_verified: false,
        full_name: None,
        is_active: true,
        is_superuser: true,
        roles: Vec::new(),
        created_at: Timestamp::from_millis(0),
        updated_at: Timestamp::from_millis(0),
        last_login_at: None,
    }
}
