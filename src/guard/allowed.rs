//! Guards as handlers' arguments: a requirement that is a type.

use std::marker::PhantomData;
use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::LocalBoxFuture;

use super::{Principal, Requirement};
use crate::problem::ApiError;

/// A requirement as a type; make it with [`requirement!`](crate::requirement).
pub trait Require: 'static {
    /// What it requires.
    fn requirement() -> &'static Requirement;
}

/// A caller who has what `R` requires, as a handler's argument: 401 where there
/// is no caller, 403 where something is missing.
///
/// ```
/// use portcullis::guard::Allowed;
///
/// portcullis::requirement!(CreateProjects = permission "projects:create");
///
/// async fn create_project(caller: Allowed<CreateProjects>) -> String {
///     format!("made by {}", caller.username())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Allowed<R>(Principal, PhantomData<R>);

impl<R> Deref for Allowed<R> {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.0
    }
}

impl<R: Require> FromRequest for Allowed<R> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let principal = Principal::from_request(request, payload);
        Box::pin(async move {
            let principal = principal.await?;
            R::requirement().check(&principal).await?;
            Ok(Self(principal, PhantomData))
        })
    }
}

/// Makes a type of a requirement, for [`Allowed`](crate::guard::Allowed). A
/// permission or role that is none does not compile.
///
/// ```
/// portcullis::requirement!(pub CreateProjects = permission "projects:create");
/// portcullis::requirement!(pub Administrator = role "admin");
/// portcullis::requirement!(pub Edit = any "projects:create", "projects:update");
/// portcullis::requirement!(pub Publish = all "reports:read", "reports:export");
/// ```
///
/// ```compile_fail
/// portcullis::requirement!(pub CreateProjects = permission "projects-create");
/// ```
#[macro_export]
macro_rules! requirement {
    ($visibility:vis $name:ident = permission $permission:literal) => {
        $crate::requirement!(@make $visibility $name, $crate::guard::Requirement::permission($permission));
        const _: () = assert!($crate::domain::is_permission($permission), "a permission is resource:action");
    };
    ($visibility:vis $name:ident = role $role:literal) => {
        $crate::requirement!(@make $visibility $name, $crate::guard::Requirement::role($role));
        const _: () = assert!($crate::domain::is_identifier($role), "a role's name is of a-z, 0-9, _ and -");
    };
    ($visibility:vis $name:ident = any $($permission:literal),+) => {
        $crate::requirement!(@make $visibility $name, $crate::guard::Requirement::any([$($permission),+]));
        $(const _: () = assert!($crate::domain::is_permission($permission), "a permission is resource:action");)+
    };
    ($visibility:vis $name:ident = all $($permission:literal),+) => {
        $crate::requirement!(@make $visibility $name, $crate::guard::Requirement::all([$($permission),+]));
        $(const _: () = assert!($crate::domain::is_permission($permission), "a permission is resource:action");)+
    };
    (@make $visibility:vis $name:ident, $requirement:expr) => {
        /// A requirement.
        #[derive(Debug, Clone, Copy)]
        $visibility struct $name;

        impl $crate::guard::Require for $name {
            fn requirement() -> &'static $crate::guard::Requirement {
                static REQUIREMENT: std::sync::LazyLock<$crate::guard::Requirement> =
                    std::sync::LazyLock::new(|| $requirement);
                &REQUIREMENT
            }
        }
    };
}
