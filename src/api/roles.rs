//! Roles and permissions, as administrators see them.

use actix_web::http::Method;
use actix_web::{HttpResponse, Route, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::Services;
use super::endpoint::{Endpoint, Needs};
use super::query::{MAX_OFFSET, Query};
use crate::domain::{Page, PermissionInfo, Role, RoleName};
use crate::problem::ApiError;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let read = Needs::Permission("users:read");
    vec![
        Endpoint::new(|| Method::GET, "/admin/roles", read, "LIST_ROLES", || Route::new().to(list)).about("role"),
        Endpoint::new(
            || Method::GET,
            "/admin/permissions",
            read,
            "LIST_PERMISSIONS",
            || Route::new().to(list_permissions),
        )
        .about("permission"),
    ]
}

/// A role.
#[derive(Serialize, ToSchema)]
pub(super) struct RoleResponse {
    /// Its name, for ever.
    #[schema(value_type = String, example = "viewer")]
    name: RoleName,
    /// For people.
    #[schema(example = "Read-only access to projects and reports")]
    description: String,
    /// One of the three that every installation has.
    is_built_in: bool,
    /// What it grants; `*` is every permission there is, now and later.
    #[schema(example = json!(["projects:read", "reports:read"]))]
    permissions: Vec<String>,
    /// The roles that it includes.
    includes: Vec<String>,
}

impl From<&Role> for RoleResponse {
    fn from(role: &Role) -> Self {
        let permissions = if role.name.is_admin() {
            vec!["*".to_owned()]
        } else {
            role.permissions.iter().map(ToString::to_string).collect()
        };
        Self {
            name: role.name.clone(),
            description: role.description.clone(),
            is_built_in: role.is_built_in,
            permissions,
            includes: Vec::new(),
        }
    }
}

/// A page of roles.
#[derive(Serialize, ToSchema)]
pub(super) struct RoleList {
    /// By name.
    items: Vec<RoleResponse>,
    /// At most so many.
    limit: u32,
    /// So many were left out before them.
    offset: u64,
    /// Whether more follow.
    has_more: bool,
    /// Null: these pages go by offset.
    next_cursor: Option<String>,
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

/// The part of a whole list that a page shows, and whether more follows.
fn part<T>(all: Vec<T>, page: Page) -> (Vec<T>, bool) {
    let offset = usize::try_from(page.offset).unwrap_or(usize::MAX);
    let has_more = all.len() > offset.saturating_add(page.limit as usize);
    (all.into_iter().skip(offset).take(page.limit as usize).collect(), has_more)
}

/// List roles
///
/// **Permissions**: `users:read`.
#[utoipa::path(get, path = "/admin/roles", tag = "Roles", params(
        ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
        ("offset" = Option<u64>, Query, description = "From 0")),
    responses((status = 200, description = "By name", body = RoleList)))]
async fn list(services: web::Data<Services>, mut query: Query) -> Result<HttpResponse, ApiError> {
    let page = query.page(MAX_OFFSET);
    query.finish()?;
    let policy = services.rbac.policy();
    let (roles, has_more) = part(policy.roles(), page);
    let items = roles.into_iter().map(RoleResponse::from).collect();
    Ok(HttpResponse::Ok().json(RoleList { items, limit: page.limit, offset: page.offset, has_more, next_cursor: None }))
}

/// List permissions
///
/// **Permissions**: `users:read`.
#[utoipa::path(get, path = "/admin/permissions", tag = "Roles", params(
        ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
        ("offset" = Option<u64>, Query, description = "From 0")),
    responses((status = 200, description = "By name", body = PermissionList)))]
async fn list_permissions(services: web::Data<Services>, mut query: Query) -> Result<HttpResponse, ApiError> {
    let page = query.page(MAX_OFFSET);
    query.finish()?;
    let policy = services.rbac.policy();
    let (permissions, has_more) = part(policy.permissions(), page);
    let items = permissions.into_iter().cloned().collect();
    let list = PermissionList { items, limit: page.limit, offset: page.offset, has_more, next_cursor: None };
    Ok(HttpResponse::Ok().json(list))
}
