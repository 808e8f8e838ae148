//! Guards as middleware, for scopes, resources and routes.
//!
//! An actix `Guard` that says no is a 404; these answer 401, 403 and 503.

use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::EitherBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::{Error, HttpMessage};
use futures_util::TryFutureExt;
use futures_util::future::{Either, LocalBoxFuture, MapOk, Ready, ready};

use super::{Guards, Principal};
use crate::domain::{Permission, RoleName};
use crate::problem::ApiError;

/// What a caller needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// An account.
    Authentication,
    /// A permission.
    Permission(Permission),
    /// A role; a superuser passes.
    Role(RoleName),
}

impl Requirement {
    /// Whether the caller has it.
    ///
    /// # Errors
    /// 403 with what is missing.
    pub fn check(&self, principal: &Principal) -> Result<(), ApiError> {
        match self {
            Self::Authentication => Ok(()),
            Self::Permission(permission) => principal.require(permission),
            Self::Role(role) => principal.require_role(role),
        }
    }
}

/// The middleware; make it with [`require_permission`] and its siblings.
#[derive(Debug, Clone)]
pub struct Require(Rc<Requirement>);

impl Require {
    /// For what the caller needs.
    pub fn new(requirement: Requirement) -> Self {
        Self(Rc::new(requirement))
    }
}

/// Any account will do.
pub fn require_authentication() -> Require {
    Require::new(Requirement::Authentication)
}

/// Only callers who may: `require_permission("projects:create")`.
///
/// # Panics
/// The text is no `resource:action`: a typo stops the start, it does not
/// become an eternal 403.
#[expect(clippy::panic, reason = "a typo in a route's permission has to stop the start")]
pub fn require_permission(permission: &str) -> Require {
    match Permission::parse(permission) {
        Ok(permission) => Require::new(Requirement::Permission(permission)),
        Err(error) => panic!("require_permission({permission:?}): {}", error.message),
    }
}

/// Only callers with this role: `require_role("admin")`.
///
/// # Panics
/// The text is no role's name.
#[expect(clippy::panic, reason = "a typo in a route's role has to stop the start")]
pub fn require_role(role: &str) -> Require {
    match RoleName::parse(role) {
        Ok(role) => Require::new(Requirement::Role(role)),
        Err(error) => panic!("require_role({role:?}): {}", error.message),
    }
}

impl<S, B> Transform<S, ServiceRequest> for Require
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = RequireService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(RequireService { service: Rc::new(service), requirement: Rc::clone(&self.0) }))
    }
}

/// [`Require`] around a service.
#[derive(Debug)]
pub struct RequireService<S> {
    service: Rc<S>,
    requirement: Rc<Requirement>,
}

impl<S, B> Service<ServiceRequest> for RequireService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = Deciding<S, B>;

    fn poll_ready(&self, ctx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.service.poll_ready(ctx)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let held = match request.extensions().get::<Principal>() {
            Some(principal) => Some(Ok(principal.clone())),
            None => Guards::of(request.request())
                .map_or_else(|error| Some(Err(error)), |guards| guards.authenticate_held(request.request())),
        };
        if let Some(principal) = held {
            return match decide(&request, &self.requirement, principal) {
                Ok(()) => {
                    Either::Left(self.service.call(request).map_ok(ServiceResponse::map_into_left_body as fn(_) -> _))
                }
                Err(refusal) => Either::Right(Either::Left(ready(Ok(refuse(request, refusal))))),
            };
        }
        let service = Rc::clone(&self.service);
        let requirement = Rc::clone(&self.requirement);
        Either::Right(Either::Right(Box::pin(async move {
            let principal = match Guards::of(request.request()) {
                Ok(guards) => guards.authenticate(request.request()).await,
                Err(error) => Err(error),
            };
            match decide(&request, &requirement, principal) {
                Ok(()) => service.call(request).await.map(ServiceResponse::map_into_left_body),
                Err(refusal) => Ok(refuse(request, refusal)),
            }
        })))
    }
}

/// The answer of the guard, or of what it guards: without an allocation where
/// everything needed to know is held.
type Deciding<S, B> = Either<
    MapOk<<S as Service<ServiceRequest>>::Future, fn(ServiceResponse<B>) -> ServiceResponse<EitherBody<B>>>,
    Either<Ready<Guarded<B>>, LocalBoxFuture<'static, Guarded<B>>>,
>;

type Guarded<B> = Result<ServiceResponse<EitherBody<B>>, Error>;

fn decide(
    request: &ServiceRequest,
    requirement: &Requirement,
    principal: Result<Principal, ApiError>,
) -> Result<(), ApiError> {
    let principal = principal?;
    // Also a refused caller is known to the audit record.
    let checked = requirement.check(&principal);
    request.extensions_mut().insert(principal);
    checked
}

fn refuse<B>(request: ServiceRequest, refusal: ApiError) -> ServiceResponse<EitherBody<B>> {
    request.error_response(refusal).map_into_right_body()
}
