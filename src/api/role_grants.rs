//! What a role grants and includes, for administrators.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, Route, web};

use super::Services;
use super::endpoint::{Endpoint, Needs};
use super::roles::parse_role_name;
use crate::domain::{Grant, PolicyChange, RoleName};
use crate::guard::{AuditNote, Principal};
use crate::problem::ApiError;

pub(super) fn endpoints() -> Vec<Endpoint> {
    const GRANT: &str = "/admin/roles/{role}/permissions/{permission}";
    const INCLUDE: &str = "/admin/roles/{role}/includes/{other}";
    let manage = Needs::Permission("users:manage");
    vec![
        Endpoint::new(|| Method::PUT, GRANT, manage, "GRANT_PERMISSION", || Route::new().to(grant)).about("role"),
        Endpoint::new(|| Method::DELETE, GRANT, manage, "REVOKE_PERMISSION", || Route::new().to(revoke)).about("role"),
        Endpoint::new(|| Method::PUT, INCLUDE, manage, "INCLUDE_ROLE", || Route::new().to(include)).about("role"),
        Endpoint::new(|| Method::DELETE, INCLUDE, manage, "EXCLUDE_ROLE", || Route::new().to(exclude)).about("role"),
    ]
}

/// Grant a permission
///
/// Or a wildcard: `resource:*`, `*`. Idempotent.
///
/// **Permissions**: `users:manage`, and all that the grant covers, now and later.
#[utoipa::path(put, path = "/admin/roles/{role}/permissions/{permission}", tag = "Roles",
    params(("role" = String, Path, description = "The role's name"), ("permission" = String, Path, description = "`resource:action`, `resource:*` or `*`")),
    responses((status = 204, description = "The role grants it"), (status = 403, description = "`permission_required`, `escalation`"),
        (status = 404, description = "`not_found`: no such role or permission"), (status = 409, description = "`default_role`")))]
async fn grant(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (role, grant) = parse_grant(&request, &path)?;
    change(&request, &principal, &services, PolicyChange::Grant(role, grant)).await
}

/// Revoke a permission
///
/// Idempotent.
///
/// **Permissions**: `users:manage`, and, if anybody holds the role, the role itself.
#[utoipa::path(delete, path = "/admin/roles/{role}/permissions/{permission}", tag = "Roles",
    params(("role" = String, Path, description = "The role's name"), ("permission" = String, Path, description = "`resource:action`, `resource:*` or `*`")),
    responses((status = 204, description = "The role does not grant it"), (status = 403, description = "`permission_required`, `escalation`"),
        (status = 404, description = "`not_found`: no such role or permission"), (status = 409, description = "`built_in`")))]
async fn revoke(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (role, grant) = parse_grant(&request, &path)?;
    change(&request, &principal, &services, PolicyChange::Revoke(role, grant)).await
}

/// Include a role
///
/// Who holds the first role holds the second. Idempotent.
///
/// **Permissions**: `users:manage`, the role that is included, and all that it gives.
#[utoipa::path(put, path = "/admin/roles/{role}/includes/{other}", tag = "Roles",
    params(("role" = String, Path, description = "The role's name"), ("other" = String, Path, description = "The name of the role that it includes")),
    responses((status = 204, description = "The role includes it"), (status = 403, description = "`permission_required`, `escalation`"),
        (status = 404, description = "`not_found`: no such role"), (status = 409, description = "`role_cycle`, with its path; `default_role`")))]
async fn include(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (role, other) = parse_include(&request, &path)?;
    change(&request, &principal, &services, PolicyChange::Include(role, other)).await
}

/// Include a role no more
///
/// Idempotent.
///
/// **Permissions**: `users:manage`, and, if anybody holds the first role, that role itself.
#[utoipa::path(delete, path = "/admin/roles/{role}/includes/{other}", tag = "Roles",
    params(("role" = String, Path, description = "The role's name"), ("other" = String, Path, description = "The name of the role that it includes")),
    responses((status = 204, description = "The role does not include it"), (status = 403, description = "`permission_required`, `escalation`"),
        (status = 404, description = "`not_found`: no such role"), (status = 409, description = "`last_admin`")))]
async fn exclude(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (role, other) = parse_include(&request, &path)?;
    change(&request, &principal, &services, PolicyChange::Exclude(role, other)).await
}

async fn change(
    request: &HttpRequest,
    principal: &Principal,
    services: &Services,
    change: PolicyChange,
) -> Result<HttpResponse, ApiError> {
    let effect = services.rbac_service.change_one(change.clone(), principal.authority()).await?;
    AuditNote::on(request, |note| {
        note.metadata_of(change.metadata(&effect));
    });
    Ok(HttpResponse::NoContent().finish())
}

fn parse_grant(request: &HttpRequest, (role, grant): &(String, String)) -> Result<(RoleName, Grant), ApiError> {
    let role = parse_role_name(role)?;
    let grant = Grant::parse(grant).map_err(|_| ApiError::NotFound("No such permission"))?;
    AuditNote::on(request, |note| {
        note.metadata("permission", grant.as_str());
    });
    Ok((role, grant))
}

fn parse_include(request: &HttpRequest, (role, other): &(String, String)) -> Result<(RoleName, RoleName), ApiError> {
    let (role, other) = (parse_role_name(role)?, parse_role_name(other)?);
    AuditNote::on(request, |note| {
        note.metadata("included", other.as_str());
    });
    Ok((role, other))
}
