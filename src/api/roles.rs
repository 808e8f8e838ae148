//! Roles, for administrators.

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, Route, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Services;
use super::body::Json;
use super::endpoint::{Endpoint, Needs};
use super::query::{MAX_OFFSET, Query};
use crate::domain::{FieldCode, FieldError, Grant, Page, PolicyChange, Role, RoleName, parse_description};
use crate::guard::{AuditNote, Principal};
use crate::problem::ApiError;

pub(super) fn endpoints() -> Vec<Endpoint> {
    const ALL: &str = "/admin/roles";
    const ONE: &str = "/admin/roles/{role}";
    let read = Needs::Permission("users:read");
    let manage = Needs::Permission("users:manage");
    vec![
        Endpoint::new(|| Method::GET, ALL, read, "LIST_ROLES", || Route::new().to(list)).about("role"),
        Endpoint::new(|| Method::POST, ALL, manage, "CREATE_ROLE", || Route::new().to(create)).about("role"),
        Endpoint::new(|| Method::GET, ONE, read, "READ_ROLE", || Route::new().to(find)).about("role"),
        Endpoint::new(|| Method::PATCH, ONE, manage, "UPDATE_ROLE", || Route::new().to(update)).about("role"),
        Endpoint::new(|| Method::DELETE, ONE, manage, "DELETE_ROLE", || Route::new().to(delete)).about("role"),
    ]
}

const NO_SUCH_ROLE: ApiError = ApiError::NotFound("No such role");

/// A name in a path; what is none of that form is no role's.
pub(super) fn parse_role_name(text: &str) -> Result<RoleName, ApiError> {
    RoleName::parse(text).map_err(|_| NO_SUCH_ROLE)
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
    #[schema(value_type = Vec<String>, example = json!(["projects:read", "runs:*"]))]
    permissions: Vec<Grant>,
    /// The roles that it includes directly.
    #[schema(value_type = Vec<String>)]
    includes: Vec<RoleName>,
}

impl From<&Role> for RoleResponse {
    fn from(role: &Role) -> Self {
        Self {
            name: role.name.clone(),
            description: role.description.clone(),
            is_built_in: role.is_built_in,
            permissions: role.effective_grants(),
            includes: role.includes.clone(),
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

/// The part of a whole list that a page shows, and whether more follows.
pub(super) fn part<T>(all: Vec<T>, page: Page) -> (Vec<T>, bool) {
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

/// Read a role
///
/// **Permissions**: `users:read`.
#[utoipa::path(get, path = "/admin/roles/{role}", tag = "Roles", params(("role" = String, Path, description = "The role's name")),
    responses((status = 200, description = "The role", body = RoleResponse), (status = 404, description = "`not_found`")))]
async fn find(services: web::Data<Services>, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let name = parse_role_name(&path)?;
    let role = services.rbac_service.role(&name).ok_or(NO_SUCH_ROLE)?;
    Ok(HttpResponse::Ok().json(RoleResponse::from(&role)))
}

/// A new role.
#[derive(Deserialize, ToSchema)]
pub(super) struct CreateRoleRequest {
    /// 1 to 64 of `a-z 0-9 _ -`, starting with a letter; it never changes.
    #[schema(example = "editor", pattern = "^[a-z][a-z0-9_-]{0,63}$")]
    name: String,
    /// For people; at most 500 characters.
    #[schema(example = "Edits projects", max_length = 500)]
    description: Option<String>,
    /// What it grants: permissions, and the wildcards `resource:*` and `*`.
    #[schema(example = json!(["projects:update", "runs:*"]))]
    permissions: Option<Vec<String>>,
}

/// Create a role
///
/// **Permissions**: `users:manage`, and all that the role grants.
#[utoipa::path(post, path = "/admin/roles", tag = "Roles", request_body = CreateRoleRequest,
    responses((status = 201, description = "The role", body = RoleResponse, headers(("Location" = String, description = "Where the role is"))),
        (status = 403, description = "`permission_required`, `escalation`"), (status = 409, description = "`role_exists`")))]
async fn create(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    body: Json<CreateRoleRequest>,
) -> Result<HttpResponse, ApiError> {
    let CreateRoleRequest { name, description, permissions } = body.0;
    let (description, permissions) = (description.unwrap_or_default(), permissions.unwrap_or_default());
    let mut errors = Vec::new();
    let name = RoleName::parse(&name).map_err(|error| errors.push(FieldError { field: "name".into(), ..error })).ok();
    let description = parse_description(&description).map_err(|error| errors.push(error)).ok();
    let grants = parse_grants(&services, &permissions, &mut errors);
    if let Some(name) = &name {
        AuditNote::on(&request, |note| {
            note.resource_id(Some(name.to_string()));
        });
    }
    let (Some(name), Some(description), true) = (name, description, errors.is_empty()) else {
        return Err(ApiError::Validation(errors));
    };
    let mut steps = vec![PolicyChange::CreateRole(name.clone(), description.clone())];
    steps.extend(grants.into_iter().map(|grant| PolicyChange::Grant(name.clone(), grant)));
    services.rbac_service.change(steps, principal.authority()).await?;
    AuditNote::on(&request, |note| {
        note.metadata("description", description).metadata("permissions", permissions);
    });
    let role = services.rbac_service.role(&name).ok_or(NO_SUCH_ROLE)?;
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, format!("/admin/roles/{name}")))
        .json(RoleResponse::from(&role)))
}

/// Grants of permissions that there are.
fn parse_grants(services: &Services, texts: &[String], errors: &mut Vec<FieldError>) -> Vec<Grant> {
    let policy = services.rbac.policy();
    let mut grants = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let field = format!("permissions[{index}]");
        match Grant::parse(text) {
            Err(error) => errors.push(FieldError { field, ..error }),
            Ok(grant) if grant.as_permission().is_some_and(|name| policy.permission(&name).is_none()) => {
                errors.push(FieldError::new(field, FieldCode::Unknown, "There is no such permission"));
            }
            Ok(grant) => grants.push(grant),
        }
    }
    grants
}

/// A change of a role.
#[derive(Deserialize, ToSchema)]
pub(super) struct UpdateRoleRequest {
    /// For people; at most 500 characters.
    #[schema(example = "Edits projects", max_length = 500)]
    description: Option<String>,
}

/// Change a role
///
/// Its description; names never change.
///
/// **Permissions**: `users:manage`.
#[utoipa::path(patch, path = "/admin/roles/{role}", tag = "Roles", params(("role" = String, Path, description = "The role's name")),
    request_body = UpdateRoleRequest,
    responses((status = 200, description = "The role", body = RoleResponse), (status = 404, description = "`not_found`")))]
async fn update(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    path: web::Path<String>,
    body: Json<UpdateRoleRequest>,
) -> Result<HttpResponse, ApiError> {
    let name = parse_role_name(&path)?;
    let description = body.0.description.as_deref().map(parse_description).transpose().map_err(ApiError::field)?;
    let change = description.map(|description| PolicyChange::DescribeRole(name.clone(), description));
    let steps = change.iter().cloned().collect();
    let effects = services.rbac_service.change(steps, principal.authority()).await?;
    if let (Some(change), [effect]) = (change, effects.as_slice()) {
        AuditNote::on(&request, |note| {
            note.metadata_of(change.metadata(effect));
        });
    }
    let role = services.rbac_service.role(&name).ok_or(NO_SUCH_ROLE)?;
    Ok(HttpResponse::Ok().json(RoleResponse::from(&role)))
}

/// Delete a role
///
/// Its assignments and inclusions go with it; a later role of that name starts empty.
///
/// **Permissions**: `users:manage`, and, if anybody holds it, the role itself.
#[utoipa::path(delete, path = "/admin/roles/{role}", tag = "Roles", params(("role" = String, Path, description = "The role's name")),
    responses((status = 204, description = "The role is gone"), (status = 403, description = "`permission_required`, `escalation`"),
        (status = 404, description = "`not_found`"), (status = 409, description = "`built_in`, `default_role`, `last_admin`")))]
async fn delete(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    path: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let name = parse_role_name(&path)?;
    let change = PolicyChange::DeleteRole(name);
    let effect = services.rbac_service.change_one(change.clone(), principal.authority()).await?;
    AuditNote::on(&request, |note| {
        note.metadata_of(change.metadata(&effect));
    });
    Ok(HttpResponse::NoContent().finish())
}
