//! What the guards of an app ask.

use std::sync::Arc;

use actix_web::{HttpRequest, web};

use super::Principal;
#[cfg(feature = "service")]
use super::{GuardSettings, held::Held};
#[cfg(feature = "remote")]
use super::{RemoteSettings, remote::Remote};
#[cfg(feature = "service")]
use crate::actors::{Rbac, Tokens};
#[cfg(feature = "service")]
use crate::metrics::Metrics;
use crate::problem::ApiError;

/// What the guards ask: mount it as `web::Data<Guards>`. Cheap to clone.
#[derive(Clone)]
pub struct Guards(Kind);

#[derive(Clone)]
enum Kind {
    #[cfg(feature = "service")]
    Held(Arc<Held>),
    #[cfg(feature = "remote")]
    Remote(Arc<Remote>),
}

impl Guards {
    /// On the handles of the same process.
    #[cfg(feature = "service")]
    pub fn new(tokens: Tokens, rbac: Rbac, settings: GuardSettings, metrics: Metrics) -> Self {
        Self(Kind::Held(Arc::new(Held::new(tokens, rbac, settings, metrics))))
    }

    /// On a service elsewhere: tokens are checked by its published keys, grants
    /// are asked of it with the caller's own token and held for
    /// [`RemoteSettings::max_age`], which is also how long a revocation may take.
    ///
    /// # Errors
    /// The settings can't be used: says why.
    #[cfg(feature = "remote")]
    pub fn remote(settings: RemoteSettings) -> Result<Self, String> {
        Ok(Self(Kind::Remote(Arc::new(Remote::new(settings)?))))
    }

    /// The guards of the app that the request came to.
    pub(super) fn of(request: &HttpRequest) -> Result<&Self, ApiError> {
        request
            .app_data::<web::Data<Self>>()
            .map(web::Data::get_ref)
            .ok_or_else(|| ApiError::Internal("the app has no web::Data<Guards>".into()))
    }

    /// The principal, where everything needed to know is held. `None`: ask [`Guards::authenticate`].
    pub(super) fn authenticate_held(&self, request: &HttpRequest) -> Option<Result<Principal, ApiError>> {
        match &self.0 {
            #[cfg(feature = "service")]
            Kind::Held(held) => held.authenticate_held(request),
            #[cfg(feature = "remote")]
            Kind::Remote(remote) => remote.authenticate_held(request),
        }
    }

    /// The principal of a request.
    ///
    /// # Errors
    /// 401, or 503 where what is needed to know can't be had.
    pub async fn authenticate(&self, request: &HttpRequest) -> Result<Principal, ApiError> {
        match &self.0 {
            #[cfg(feature = "service")]
            Kind::Held(held) => held.authenticate(request).await,
            #[cfg(feature = "remote")]
            Kind::Remote(remote) => remote.authenticate(request).await,
        }
    }
}
