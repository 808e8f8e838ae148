//! What a user has: roles, permissions, sessions; for administrators.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, Route, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::Services;
use super::endpoint::{Endpoint, Needs};
use super::query::{MAX_OFFSET, Query};
use super::sessions::SessionList;
use super::users::parse_user_id;
use crate::domain::{Permission, RoleName, UserId};
use crate::guard::{AuditNote, Principal};
use crate::problem::ApiError;

pub(super) fn endpoints() -> Vec<Endpoint> {
    const ROLE: &str = "/admin/users/{id}/roles/{role}";
    const SESSIONS: &str = "/admin/users/{id}/sessions";
    let read = Needs::Permission("users:read");
    let manage = Needs::Permission("users:manage");
    vec![
        Endpoint::new(|| Method::PUT, ROLE, manage, "ASSIGN_ROLE", || Route::new().to(assign_role)).about("user"),
        Endpoint::new(|| Method::DELETE, ROLE, manage, "REVOKE_ROLE", || Route::new().to(revoke_role)).about("user"),
        Endpoint::new(
            || Method::GET,
            "/admin/users/{id}/permissions",
            read,
            "READ_USER_PERMISSIONS",
            || Route::new().to(list_permissions),
        )
        .about("user"),
        Endpoint::new(|| Method::GET, SESSIONS, read, "LIST_SESSIONS", || Route::new().to(list_sessions)).about("user"),
        Endpoint::new(|| Method::DELETE, SESSIONS, manage, "END_SESSION", || Route::new().to(end_sessions))
            .about("user"),
        Endpoint::new(|| Method::POST, "/admin/users/{id}/unlock", manage, "UNLOCK_USER", || Route::new().to(unlock))
            .about("user"),
    ]
}

/// Assign a role
///
/// Idempotent: a repeat keeps who assigned it and when.
///
/// **Permissions**: `users:manage`, the role itself, and all that the user holds.
#[utoipa::path(put, path = "/admin/users/{id}/roles/{role}", tag = "Users",
    params(("id" = String, Path, description = "The user's id"), ("role" = String, Path, description = "The role's name")),
    responses((status = 204, description = "The user has the role"), (status = 403, description = "`permission_required`, `escalation`"),
        (status = 404, description = "`not_found`: no such user or role")))]
async fn assign_role(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (user, role) = parse_assignment(&request, &path)?;
    let is_changed = services.rbac_service.assign_role(user, role.as_str(), principal.authority()).await?;
    AuditNote::on(&request, |note| {
        note.metadata("changed", is_changed);
    });
    Ok(HttpResponse::NoContent().finish())
}

/// Take a role away
///
/// Idempotent.
///
/// **Permissions**: `users:manage`, the role itself, and all that the user holds.
#[utoipa::path(delete, path = "/admin/users/{id}/roles/{role}", tag = "Users",
    params(("id" = String, Path, description = "The user's id"), ("role" = String, Path, description = "The role's name")),
    responses((status = 204, description = "The user has not the role"), (status = 403, description = "`permission_required`, `escalation`"),
        (status = 404, description = "`not_found`: no such user or role"), (status = 409, description = "`last_admin`")))]
async fn revoke_role(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (user, role) = parse_assignment(&request, &path)?;
    let is_changed = services.rbac_service.remove_role(user, role.as_str(), principal.authority()).await?;
    AuditNote::on(&request, |note| {
        note.metadata("changed", is_changed);
    });
    Ok(HttpResponse::NoContent().finish())
}

fn parse_assignment(request: &HttpRequest, (user, role): &(String, String)) -> Result<(UserId, RoleName), ApiError> {
    let named = RoleName::parse(role).map_err(|_| ApiError::NotFound("No such role"));
    if let Ok(role) = &named {
        AuditNote::on(request, |note| {
            note.metadata("role", role.as_str());
        });
    }
    Ok((parse_user_id(user)?, named?))
}

/// A permission of a user.
#[derive(Serialize, ToSchema)]
pub(super) struct UserPermission {
    /// What they may.
    #[schema(value_type = String, example = "projects:read")]
    permission: Permission,
    /// The assigned roles through which it comes, sorted; none where only
    /// being a superuser gives it.
    #[schema(value_type = Vec<String>, example = json!(["viewer"]))]
    roles: Vec<RoleName>,
}

/// The permissions of a user.
#[derive(Serialize, ToSchema)]
pub(super) struct UserPermissionList {
    /// By name, wildcards expanded.
    items: Vec<UserPermission>,
}

/// List a user's permissions
///
/// With the assigned roles through which each comes.
///
/// **Permissions**: `users:read`.
#[utoipa::path(get, path = "/admin/users/{id}/permissions", tag = "Users",
    params(("id" = String, Path, description = "The user's id")),
    responses((status = 200, description = "By name", body = UserPermissionList), (status = 404, description = "`not_found`")))]
async fn list_permissions(services: web::Data<Services>, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let found = services.rbac_service.get_user_permissions(parse_user_id(&path)?).await?;
    let items = found
        .into_iter()
        .map(|(permission, roles)| UserPermission { permission, roles: roles.into_iter().collect() })
        .collect();
    Ok(HttpResponse::Ok().json(UserPermissionList { items }))
}

/// List a user's sessions
///
/// **Permissions**: `users:read`.
#[utoipa::path(get, path = "/admin/users/{id}/sessions", tag = "Users", params(
        ("id" = String, Path, description = "The user's id"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
        ("offset" = Option<u64>, Query, description = "From 0")),
    responses((status = 200, description = "Newest first", body = SessionList), (status = 404, description = "`not_found`")))]
async fn list_sessions(
    principal: Principal,
    services: web::Data<Services>,
    path: web::Path<String>,
    mut query: Query,
) -> Result<HttpResponse, ApiError> {
    let user = parse_user_id(&path)?;
    let page = query.page(MAX_OFFSET);
    query.finish()?;
    let sessions = services.accounts.list_sessions(user, page).await?;
    Ok(HttpResponse::Ok().json(SessionList::new(sessions, page, &principal)))
}

/// End a user's sessions
///
/// All of them; their access tokens are refused from the next request on.
///
/// **Permissions**: `users:manage`, and all that the user holds.
#[utoipa::path(delete, path = "/admin/users/{id}/sessions", tag = "Users",
    params(("id" = String, Path, description = "The user's id")),
    responses((status = 204, description = "They have ended"), (status = 403, description = "`permission_required`, `escalation`"),
        (status = 404, description = "`not_found`")))]
async fn end_sessions(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    path: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let ended = services.accounts.end_sessions(principal.authority(), parse_user_id(&path)?).await?;
    AuditNote::on(&request, |note| {
        note.metadata("sessions_ended", ended);
    });
    Ok(HttpResponse::NoContent().finish())
}

/// Unlock a user
///
/// Lifts whatever keeps the user from trying to sign in.
///
/// **Permissions**: `users:manage`, and all that the user holds.
#[utoipa::path(post, path = "/admin/users/{id}/unlock", tag = "Users",
    params(("id" = String, Path, description = "The user's id")),
    responses((status = 204, description = "The user may try"), (status = 403, description = "`permission_required`, `escalation`"),
        (status = 404, description = "`not_found`")))]
async fn unlock(
    principal: Principal,
    services: web::Data<Services>,
    path: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    services.accounts.check_write(principal.authority(), parse_user_id(&path)?).await?;
    Ok(HttpResponse::NoContent().finish())
}
