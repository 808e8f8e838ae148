//! Permissions, for administrators.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, Route, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Services;
use super::body::Json;
use super::endpoint::{Endpoint, Needs};
use super::query::{MAX_OFFSET, Query};
use super::roles::part;
use crate::domain::{FieldError, Permission, PermissionInfo, PolicyChange, parse_description};
use crate::guard::{AuditNote, Principal};
use crate::problem::ApiError;

pub(super) fn endpoints() -> Vec<Endpoint> {
    const ALL: &str = "/admin/permissions";
    let read = Needs::Permission("users:read");
    let manage = Needs::Permission("users:manage");
    vec![
        Endpoint::new(|| Method::GET, ALL, read, "LIST_PERMISSIONS", || Route::new().to(list)).about("permission"),
        Endpoint::new(|| Method::POST, ALL, manage, "CREATE_PERMISSION", || Route::new().to(create))
            .about("permission"),
        Endpoint::new(
            || Method::DELETE,
            "/admin/permissions/{permission}",
            manage,
            "DELETE_PERMISSION",
            || Route::new().to(delete),
        )
        .about("permission"),
    ]
}

/// A page of permissions.
#[derive(Serialize, ToSchema)]
pub(super) struct PermissionList {
    /// By name.
    items: Vec<PermissionInfo>,
    /// At most so many.
    limit: u32,
    /// So many were left out before them.
    offset: u64,
    /// Whether more follow.
    has_more: bool,
    /// Null: these pages go by offset.
    next_cursor: Option<String>,
}

/// List permissions
///
/// **Permissions**: `users:read`.
#[utoipa::path(get, path = "/admin/permissions", tag = "Roles", params(
        ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
        ("offset" = Option<u64>, Query, description = "From 0")),
    responses((status = 200, description = "By name", body = PermissionList)))]
async fn list(services: web::Data<Services>, mut query: Query) -> Result<HttpResponse, ApiError> {
    let page = query.page(MAX_OFFSET);
    query.finish()?;
    let policy = services.rbac.policy();
    let (permissions, has_more) = part(policy.permissions(), page);
    let items = permissions.into_iter().cloned().collect();
    let list = PermissionList { items, limit: page.limit, offset: page.offset, has_more, next_cursor: None };
    Ok(HttpResponse::Ok().json(list))
}

/// A new permission.
#[derive(Deserialize, ToSchema)]
pub(super) struct CreatePermissionRequest {
    /// `resource:action`; it never changes.
    #[schema(example = "invoices:approve", pattern = "^[a-z][a-z0-9_-]{0,63}:[a-z][a-z0-9_-]{0,63}$")]
    name: String,
    /// For people; at most 500 characters.
    #[schema(example = "Approve invoices", max_length = 500)]
    description: Option<String>,
}

/// Create a permission
///
/// Nobody has it but those who have every one, or a wildcard that covers it.
///
/// **Permissions**: `users:manage`.
#[utoipa::path(post, path = "/admin/permissions", tag = "Roles", request_body = CreatePermissionRequest,
    responses((status = 201, description = "The permission", body = PermissionInfo), (status = 409, description = "`permission_exists`")))]
async fn create(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    body: Json<CreatePermissionRequest>,
) -> Result<HttpResponse, ApiError> {
    let mut errors = Vec::new();
    let name = Permission::parse(&body.0.name);
    let name = name.map_err(|error| errors.push(FieldError { field: "name".into(), ..error })).ok();
    let description =
        parse_description(body.0.description.as_deref().unwrap_or_default()).map_err(|error| errors.push(error)).ok();
    if let Some(name) = &name {
        AuditNote::on(&request, |note| {
            note.resource_id(Some(name.to_string()));
        });
    }
    let (Some(name), Some(description)) = (name, description) else { return Err(ApiError::Validation(errors)) };
    let change = PolicyChange::CreatePermission(name.clone(), description.clone());
    services.rbac_service.change_one(change, principal.authority()).await?;
    AuditNote::on(&request, |note| {
        note.metadata("description", &*description);
    });
    Ok(HttpResponse::Created().json(PermissionInfo { name, description, is_built_in: false }))
}

/// Delete a permission
///
/// One that no role names.
///
/// **Permissions**: `users:manage`.
#[utoipa::path(delete, path = "/admin/permissions/{permission}", tag = "Roles",
    params(("permission" = String, Path, description = "`resource:action`")),
    responses((status = 204, description = "The permission is gone"), (status = 404, description = "`not_found`"),
        (status = 409, description = "`permission_in_use`, `built_in`")))]
async fn delete(
    principal: Principal,
    services: web::Data<Services>,
    path: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let name = Permission::parse(&path).map_err(|_| ApiError::NotFound("No such permission"))?;
    services.rbac_service.change_one(PolicyChange::DeletePermission(name), principal.authority()).await?;
    Ok(HttpResponse::NoContent().finish())
}
