//! The caller's own account.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, Route, web};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Services;
use super::body::{Json, nullable, present};
use super::endpoint::{Endpoint, Needs};
use super::users::{Changes, parse_email, parse_full_name};
use crate::domain::{Permission, RoleName, Timestamp, User, UserChange, UserId};
use crate::guard::{AuditNote, Principal};
use crate::problem::ApiError;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(|| Method::GET, "/auth/me", Needs::Account, "READ_PROFILE", || Route::new().to(read)),
        Endpoint::new(|| Method::PATCH, "/auth/me", Needs::Account, "UPDATE_PROFILE", || Route::new().to(update)),
        Endpoint::new(
            || Method::POST,
            "/auth/password",
            Needs::Account,
            "PASSWORD_CHANGE",
            || Route::new().to(change_password),
        ),
    ]
}

/// The caller's account, with all that they may: a user's fields, and `permissions`.
// Written out rather than flattened: this is the answer that is asked for most.
#[derive(Serialize, ToSchema)]
pub(super) struct Profile<'a> {
    #[schema(value_type = String, format = Uuid, example = "0197e0a0-7c1e-7d3a-9b7e-0242ac120002")]
    id: UserId,
    #[schema(value_type = String, example = "johndoe")]
    username: &'a str,
    #[schema(example = "john@example.com")]
    email: Option<&'a str>,
    email_verified: bool,
    #[schema(example = "John Doe")]
    full_name: Option<&'a str>,
    is_active: bool,
    is_superuser: bool,
    #[schema(value_type = Vec<String>, example = json!(["viewer"]))]
    roles: &'a [RoleName],
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_login_at: Option<Timestamp>,
    /// Sorted.
    #[schema(value_type = Vec<String>, example = json!(["projects:read", "reports:read"]))]
    permissions: Arc<[Permission]>,
}

impl<'a> Profile<'a> {
    fn of(user: &'a User, permissions: Arc<[Permission]>) -> Self {
        Self {
            id: user.id,
            username: &user.username,
            email: user.email.as_deref(),
            email_verified: user.email_verified,
            full_name: user.full_name.as_deref(),
            is_active: user.is_active,
            is_superuser: user.is_superuser,
            roles: &user.roles,
            created_at: user.created_at,
            updated_at: user.updated_at,
            last_login_at: user.last_login_at,
            permissions,
        }
    }
}

/// Read the own account
///
/// **Permissions**: any user.
#[utoipa::path(get, path = "/auth/me", tag = "Account", responses((status = 200, description = "The account", body = Profile)))]
async fn read(principal: Principal, services: web::Data<Services>) -> Result<HttpResponse, ApiError> {
    let user = account(&principal)?;
    let permissions = services.rbac.policy().permissions_of(user);
    Ok(HttpResponse::Ok().json(Profile::of(user, permissions)))
}

/// The caller's account, which the process that has the store always knows.
pub(super) fn account(principal: &Principal) -> Result<&User, ApiError> {
    principal.user().ok_or_else(|| ApiError::Internal("the service's own principals have accounts".into()))
}

/// A change of the own account; what is absent stays.
#[derive(Deserialize, ToSchema)]
pub(super) struct UpdateProfileRequest {
    /// Null takes it away.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, example = "John Doe", max_length = 200)]
    full_name: Option<Option<String>>,
    /// Another address counts as unverified.
    #[serde(default, deserialize_with = "present")]
    #[schema(example = "john@example.com", max_length = 254)]
    email: Option<String>,
}

/// Change the own account
///
/// **Permissions**: any user.
#[utoipa::path(patch, path = "/auth/me", tag = "Account", request_body = UpdateProfileRequest,
    responses((status = 200, description = "The account", body = User), (status = 409, description = "`email_taken`")))]
async fn update(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    body: Json<UpdateProfileRequest>,
) -> Result<HttpResponse, ApiError> {
    let mut errors = Vec::new();
    let change = UserChange {
        full_name: parse_full_name(body.0.full_name, &mut errors),
        email: parse_email(body.0.email, &mut errors),
        ..UserChange::default()
    };
    if !errors.is_empty() {
        return Err(ApiError::Validation(errors));
    }
    let (before, after) = services.accounts.update_profile(principal.id(), change).await?;
    AuditNote::on(&request, |note| {
        note.resource("user", Some(after.id.to_string()));
        note.metadata("changed", Changes::between(&before, &after));
    });
    Ok(HttpResponse::Ok().json(after))
}

/// A change of the own password.
#[derive(Deserialize, ToSchema)]
pub(super) struct ChangePasswordRequest {
    /// The password as it is.
    #[schema(value_type = String, example = "securepassword123", format = Password)]
    current_password: SecretString,
    /// The password as it shall be.
    #[schema(value_type = String, example = "another-good-password", format = Password)]
    new_password: SecretString,
}

/// Change the own password
///
/// All other sessions end, this one stays.
///
/// **Permissions**: any user.
#[utoipa::path(post, path = "/auth/password", tag = "Account", request_body = ChangePasswordRequest,
    responses((status = 204, description = "The password is changed"), (status = 403, description = "`wrong_password`")))]
async fn change_password(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    body: Json<ChangePasswordRequest>,
) -> Result<HttpResponse, ApiError> {
    // Without authentication there is no account whose password could change.
    let session = principal.session().ok_or(ApiError::NotAuthenticated)?;
    let ChangePasswordRequest { current_password, new_password } = body.0;
    let policy = services.settings.password_policy;
    let ended = services
        .accounts
        .change_password(account(&principal)?, session, &current_password, &new_password, policy)
        .await
        .map_err(|error| super::users::rename_field(error, "password", "new_password"))?;
    AuditNote::on(&request, |note| {
        note.resource("user", Some(principal.id().to_string())).metadata("sessions_ended", ended);
    });
    Ok(HttpResponse::NoContent().finish())
}
