//! Guards as middleware, for scopes, resources and routes.
//!
//! An actix `Guard` that says no is a 404; these answer 401, 403 and 503.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::EitherBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::{Error, HttpMessage};
use futures_util::TryFutureExt;
use futures_util::future::{Either, LocalBoxFuture, MapOk, Ready, ready};

use super::{Guards, Principal, Requirement};
use crate::problem::ApiError;

/// The middleware; make it with [`require_permission`] and its siblings.
#[derive(Debug, Clone)]
pub struct RequireMiddleware(Rc<Requirement>);

impl RequireMiddleware {
    /// For what the caller needs.
    pub fn new(requirement: Requirement) -> Self {
        Self(Rc::new(requirement))
    }
}

/// Any account will do.
pub fn require_authentication() -> RequireMiddleware {
    RequireMiddleware::new(Requirement::Authentication)
}

/// Only callers who may: `require_permission("projects:create")`.
///
/// # Panics
/// The text is no `resource:action`: a typo stops the start, it does not
/// become an eternal 403.
pub fn require_permission(permission: &str) -> RequireMiddleware {
    RequireMiddleware::new(Requirement::permission(permission))
}

/// Only callers with this role: `require_role("admin")`.
///
/// # Panics
/// The text is no role's name.
pub fn require_role(role: &str) -> RequireMiddleware {
    RequireMiddleware::new(Requirement::role(role))
}

/// Only callers with one of these permissions: `require_any(["projects:create", "projects:update"])`.
///
/// # Panics
/// One of them is no `resource:action`.
pub fn require_any<'a>(permissions: impl IntoIterator<Item = &'a str>) -> RequireMiddleware {
    RequireMiddleware::new(Requirement::any(permissions))
}

/// Only callers with all of these permissions: `require_all(["projects:read", "reports:export"])`.
///
/// # Panics
/// One of them is no `resource:action`.
pub fn require_all<'a>(permissions: impl IntoIterator<Item = &'a str>) -> RequireMiddleware {
    RequireMiddleware::new(Requirement::all(permissions))
}

thread_local! {
    /// What the routes that were made on this thread require, until it is asked for.
    static REQUIRED: RefCell<Vec<Rc<Requirement>>> = const { RefCell::new(Vec::new()) };
}

/// What the routes require that were made on this thread since it was last asked.
#[cfg(feature = "service")]
pub(super) fn take_required() -> Vec<Rc<Requirement>> {
    REQUIRED.take()
}

impl<S, B> Transform<S, ServiceRequest> for RequireMiddleware
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
        REQUIRED.with_borrow_mut(|required| required.push(Rc::clone(&self.0)));
        ready(Ok(RequireService { service: Rc::new(service), requirement: Rc::clone(&self.0) }))
    }
}

/// [`RequireMiddleware`] around a service.
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
        let decided = match held {
            Some(Ok(principal)) => {
                let decided = self.requirement.check_held(&principal);
                // Also a refused caller is known to the audit record.
                request.extensions_mut().insert(principal);
                decided
            }
            Some(Err(refusal)) => Some(Err(refusal)),
            None => None,
        };
        match decided {
            Some(Ok(())) => {
                return Either::Left(
                    self.service.call(request).map_ok(ServiceResponse::map_into_left_body as fn(_) -> _),
                );
            }
            Some(Err(refusal)) => return Either::Right(Either::Left(ready(Ok(refuse(request, refusal))))),
            None => {}
        }
        let service = Rc::clone(&self.service);
        let requirement = Rc::clone(&self.requirement);
        Either::Right(Either::Right(Box::pin(async move {
            match decide(&request, &requirement).await {
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

async fn decide(request: &ServiceRequest, requirement: &Requirement) -> Result<(), ApiError> {
    let known = request.extensions().get::<Principal>().cloned();
    let principal = match known {
        Some(principal) => principal,
        None => Guards::of(request.request())?.authenticate(request.request()).await?,
    };
    request.extensions_mut().insert(principal.clone());
    requirement.check(&principal).await
}

fn refuse<B>(request: ServiceRequest, refusal: ApiError) -> ServiceResponse<EitherBody<B>> {
    request.error_response(refusal).map_into_right_body()
}
