//! Users and their roles, for administrators.

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, Route, web};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Services;
use super::auth::{RegisterRequest, new_account};
use super::body::{Json, nullable, present};
use super::endpoint::{Endpoint, Needs};
use super::query::{MAX_OFFSET, Query};
use crate::actors::ServiceError;
use crate::domain::{
    Email, FieldCode, FieldError, FullName, Page, RoleName, Slice, User, UserChange, UserFilter, UserId,
};
use crate::guard::{AuditNote, Principal};
use crate::problem::ApiError;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let read = Needs::Permission("users:read");
    let manage = Needs::Permission("users:manage");
    vec![
        Endpoint::new(|| Method::GET, "/admin/users", read, "LIST_USERS", || Route::new().to(list)).about("user"),
        Endpoint::new(|| Method::GET, "/admin/users/{id}", read, "READ_USER", || Route::new().to(find)).about("user"),
        Endpoint::new(|| Method::PATCH, "/admin/users/{id}", manage, "UPDATE_USER", || Route::new().to(update))
            .about("user"),
        Endpoint::new(|| Method::POST, "/admin/users", manage, "CREATE_USER", || Route::new().to(create)).about("user"),
        Endpoint::new(
            || Method::DELETE,
            "/admin/users/{id}",
            Needs::Role(RoleName::ADMIN),
            "DELETE_USER",
            || Route::new().to(delete),
        )
        .about("user"),
    ]
}

const NO_SUCH_USER: ApiError = ApiError::NotFound("No such user");

/// An id in a path; what is no UUID is nobody's.
pub(super) fn parse_user_id(text: &str) -> Result<UserId, ApiError> {
    text.parse().map_err(|_| NO_SUCH_USER)
}

/// A page of users.
#[derive(Serialize, ToSchema)]
pub(super) struct UserList {
    /// Oldest first.
    items: Vec<User>,
    /// At most so many.
    limit: u32,
    /// So many were left out before them.
    offset: u64,
    /// Whether more follow.
    has_more: bool,
    /// Null: pages of users go by offset.
    next_cursor: Option<String>,
}

impl UserList {
    fn new(slice: Slice<User>, page: Page) -> Self {
        let Slice { items, has_more } = slice;
        Self { items, limit: page.limit, offset: page.offset, has_more, next_cursor: None }
    }
}

/// List users
///
/// **Permissions**: `users:read`.
#[utoipa::path(get, path = "/admin/users", tag = "Users", params(
        ("q" = Option<String>, Query, description = "A prefix of the username or email, without regard to case"),
        ("role" = Option<String>, Query, description = "Users who were assigned this role directly"),
        ("is_active" = Option<bool>, Query, description = "Active users, or deactivated ones"),
        ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
        ("offset" = Option<u64>, Query, description = "From 0")),
    responses((status = 200, description = "Oldest first", body = UserList)))]
async fn list(services: web::Data<Services>, mut query: Query) -> Result<HttpResponse, ApiError> {
    let filter = UserFilter {
        prefix: query.text("q").map(|prefix| prefix.to_lowercase()),
        role: query.parsed("role", "Not a role's name"),
        is_active: query.parsed("is_active", "Expected true or false"),
    };
    let page = query.page(MAX_OFFSET);
    query.finish()?;
    let users = services.accounts.list(filter, page).await?;
    Ok(HttpResponse::Ok().json(UserList::new(users, page)))
}

/// Read a user
///
/// **Permissions**: `users:read`.
#[utoipa::path(get, path = "/admin/users/{id}", tag = "Users", params(("id" = String, Path, description = "The user's id")),
    responses((status = 200, description = "The user", body = User), (status = 404, description = "`not_found`")))]
async fn find(services: web::Data<Services>, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let user = services.accounts.find(parse_user_id(&path)?).await?.ok_or(NO_SUCH_USER)?;
    Ok(HttpResponse::Ok().json(&*user))
}

/// A new account, made by an administrator.
#[derive(Deserialize, ToSchema)]
pub(super) struct CreateUserRequest {
    /// As at registration.
    #[schema(example = "johndoe", min_length = 3, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")]
    username: String,
    /// As at registration.
    #[schema(example = "john@example.com", max_length = 254, format = Email)]
    email: String,
    /// As at registration.
    #[schema(value_type = String, example = "securepassword123", format = Password)]
    password: SecretString,
    /// As at registration.
    #[schema(example = "John Doe", max_length = 200)]
    full_name: Option<String>,
    /// Its roles; the default role where absent.
    #[schema(example = json!(["analyst"]))]
    roles: Option<Vec<String>>,
}

/// Create a user
///
/// As at registration, which may be disabled; with the roles that are named.
///
/// **Permissions**: `users:manage`, and the roles that are named.
#[utoipa::path(post, path = "/admin/users", tag = "Users", request_body = CreateUserRequest,
    responses((status = 201, description = "The account", body = User, headers(("Location" = String, description = "Where the account is"))),
        (status = 403, description = "`permission_required`, `escalation`"), (status = 409, description = "`username_taken`, `email_taken`")))]
async fn create(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    body: Json<CreateUserRequest>,
) -> Result<HttpResponse, ApiError> {
    let CreateUserRequest { username, email, password, full_name, roles } = body.0;
    let roles = roles.map(|roles| parse_roles(&services, &roles)).transpose()?;
    // Where anybody gets the default role who asks, an administrator hands out nothing by it.
    let settings = &services.settings;
    let roles = roles.or_else(|| (!settings.is_registration_enabled).then(|| vec![settings.default_role.clone()]));
    let account = new_account(&services, RegisterRequest { username, email, password, full_name })?;
    let user = services.accounts.create_by(principal.authority(), account, roles).await?;
    AuditNote::on(&request, |note| {
        let roles: Vec<&str> = user.roles.iter().map(RoleName::as_str).collect();
        note.resource_id(Some(user.id.to_string())).metadata("username", &*user.username).metadata("roles", roles);
    });
    Ok(HttpResponse::Created().insert_header((header::LOCATION, format!("/admin/users/{}", user.id))).json(user))
}

/// Roles that there are.
fn parse_roles(services: &Services, names: &[String]) -> Result<Vec<RoleName>, ApiError> {
    let policy = services.rbac.policy();
    let mut roles = Vec::with_capacity(names.len());
    let mut errors = Vec::new();
    for (index, name) in names.iter().enumerate() {
        match RoleName::parse(name).ok().filter(|role| policy.role(role).is_some()) {
            Some(role) => roles.push(role),
            None => {
                errors.push(FieldError::new(format!("roles[{index}]"), FieldCode::Unknown, "There is no such role"))
            }
        }
    }
    if errors.is_empty() { Ok(roles) } else { Err(ApiError::Validation(errors)) }
}

/// Delete a user
///
/// Their sessions end; their audit records stay.
///
/// **Permissions**: the role `admin`, and all that the user holds.
#[utoipa::path(delete, path = "/admin/users/{id}", tag = "Users", params(("id" = String, Path, description = "The user's id")),
    responses((status = 204, description = "The account is gone"), (status = 403, description = "`role_required`, `escalation`"),
        (status = 404, description = "`not_found`"), (status = 409, description = "`last_admin`")))]
async fn delete(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    path: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = parse_user_id(&path)?;
    let (user, sessions_ended) = services.accounts.delete(principal.authority(), id).await?;
    AuditNote::on(&request, |note| {
        let roles: Vec<&str> = user.roles.iter().map(RoleName::as_str).collect();
        note.metadata("username", &*user.username).metadata("roles", roles);
        note.metadata("sessions_ended", sessions_ended);
    });
    Ok(HttpResponse::NoContent().finish())
}

/// A change of a user; what is absent stays.
#[derive(Deserialize, ToSchema)]
pub(super) struct UpdateUserRequest {
    /// Another address; it counts as unverified unless `email_verified` says otherwise.
    #[serde(default, deserialize_with = "present")]
    #[schema(example = "john@example.com", max_length = 254)]
    email: Option<String>,
    /// Whether the address is known to be the user's.
    #[serde(default, deserialize_with = "present")]
    email_verified: Option<bool>,
    /// Null takes it away.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, example = "John Doe", max_length = 200)]
    full_name: Option<Option<String>>,
    /// False ends all sessions of the user.
    #[serde(default, deserialize_with = "present")]
    is_active: Option<bool>,
    /// Only a superuser may write this.
    #[serde(default, deserialize_with = "present")]
    is_superuser: Option<bool>,
    /// Ends all sessions of the user.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<SecretString>,
}

/// Change a user
///
/// **Permissions**: `users:manage`, and all that the user holds.
#[utoipa::path(patch, path = "/admin/users/{id}", tag = "Users", params(("id" = String, Path, description = "The user's id")),
    request_body = UpdateUserRequest,
    responses((status = 200, description = "The user", body = User), (status = 403, description = "`permission_required`, `escalation`"),
        (status = 404, description = "`not_found`"), (status = 409, description = "`email_taken`, `last_admin`")))]
async fn update(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    path: web::Path<String>,
    body: Json<UpdateUserRequest>,
) -> Result<HttpResponse, ApiError> {
    let id = parse_user_id(&path)?;
    let body = body.0;
    let mut errors = Vec::new();
    let change = UserChange {
        email: parse_email(body.email, &mut errors),
        email_verified: body.email_verified,
        full_name: parse_full_name(body.full_name, &mut errors),
        is_active: body.is_active,
        is_superuser: body.is_superuser,
        password_hash: None,
    };
    if !errors.is_empty() {
        return Err(ApiError::Validation(errors));
    }
    let is_password_set = body.password.is_some();
    let password = body.password.map(|password| (password, services.settings.password_policy));
    let (before, after) = services.accounts.update(principal.authority(), id, change, password).await?;
    AuditNote::on(&request, |note| {
        note.metadata("changed", Changes::between(&before, &after));
        if is_password_set {
            note.metadata("password_set", true);
        }
    });
    Ok(HttpResponse::Ok().json(after))
}

pub(super) fn parse_email(email: Option<String>, errors: &mut Vec<FieldError>) -> Option<Email> {
    Email::parse(&email?).map_err(|error| errors.push(error)).ok()
}

pub(super) fn parse_full_name(name: Option<Option<String>>, errors: &mut Vec<FieldError>) -> Option<Option<FullName>> {
    match name? {
        None => Some(None),
        Some(name) => FullName::parse(&name).map_err(|error| errors.push(error)).ok().map(Some),
    }
}

/// The same fault under the name that the field has in this request.
pub(super) fn rename_field(error: ServiceError, from: &str, to: &str) -> ApiError {
    match error {
        ServiceError::Field(fault) if fault.field == from => ApiError::field(FieldError { field: to.into(), ..fault }),
        other => other.into(),
    }
}

/// What changed, from what to what: `{"is_active": {"from": true, "to": false}}`.
pub(super) struct Changes;

impl Changes {
    pub(super) fn between(before: &User, after: &User) -> Value {
        let (Ok(Value::Object(before)), Ok(Value::Object(after))) =
            (serde_json::to_value(before), serde_json::to_value(after))
        else {
            return Value::Null;
        };
        let changed = after
            .into_iter()
            .filter(|(field, _)| field != "updated_at")
            .filter_map(|(field, to)| {
                let from = before.get(&field).cloned().unwrap_or(Value::Null);
                (from != to).then(|| (field, serde_json::json!({ "from": from, "to": to })))
            })
            .collect::<Map<_, _>>();
        Value::Object(changed)
    }
}
