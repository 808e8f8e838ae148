//! From a request to its principal, with the store in the same process.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header;
use uuid::Uuid;

use super::bearer::bearer;
use super::{GuardSettings, Principal};
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

    /// Without authentication everybody is a superuser, but only under a
    /// loopback name: a page of another site that names our address (DNS
    /// rebinding) brings its own `Host`.
    fn anonymous(&self, request: &HttpRequest) -> Result<Principal, ApiError> {
        if self.settings.requires_loopback_host && !has_loopback_host(request) {
            return Err(ApiError::HostNotAllowed);
        }
        Ok(Principal::held(Arc::clone(&self.anonymous), None, self.rbac.clone()))
    }
}

/// By the `Host` header alone: what proxies say counts for nothing here.
fn has_loopback_host(request: &HttpRequest) -> bool {
    let mut hosts = request.headers().get_all(header::HOST);
    let is_loopback = hosts.next().and_then(|host| host.to_str().ok()).is_some_and(is_loopback);
    is_loopback && hosts.next().is_none()
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_loopback() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.1.2.3", "[::1]:8080", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["example.com", "localhost.example.com", "10.0.0.1:80", "", "[::2]:1", "127.0.0.1.example.com:1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
