//! Decisions for others: gateways ask by headers, services by JSON.

use std::collections::BTreeSet;

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, Route, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Services;
use super::body::{Json, Object};
use super::endpoint::{Endpoint, Needs};
use super::profile::account;
use super::query::Query;
use crate::domain::{FieldCode, FieldError, Permission, Policy, RoleName, UserId};
use crate::guard::{AuditNote, Principal, Requirement};
use crate::problem::ApiError;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::any_method("/auth/verify", Needs::Account, "VERIFY", || Route::new().to(verify)),
        Endpoint::any_method("/auth/verify/{path:.*}", Needs::Account, "VERIFY", || Route::new().to(verify_token)),
        Endpoint::new(
            || actix_web::http::Method::POST,
            "/authz/check",
            Needs::Account,
            "CHECK",
            || Route::new().to(check),
        ),
    ]
}

/// How much is asked at once at most.
const MAX_QUESTIONS: usize = 100;

/// Reads the name of a permission that there is.
fn known_permission(policy: &Policy, field: &str, text: &str) -> Result<Requirement, FieldError> {
    let permission = Permission::parse(text).map_err(|error| FieldError { field: field.into(), ..error })?;
    if policy.permission(&permission).is_some() {
        Ok(Requirement::Permission(permission))
    } else {
        Err(FieldError::new(field, FieldCode::Unknown, "There is no such permission"))
    }
}

/// Reads the name of a role that there is.
fn known_role(policy: &Policy, field: &str, text: &str) -> Result<Requirement, FieldError> {
    let role = RoleName::parse(text).map_err(|error| FieldError { field: field.into(), ..error })?;
    if policy.role(&role).is_some() {
        Ok(Requirement::Role(role))
    } else {
        Err(FieldError::new(field, FieldCode::Unknown, "There is no such role"))
    }
}

/// Decide for a gateway
///
/// For forward authentication by nginx, Caddy, Traefik or Envoy; any method.
/// `permission` and `role` repeat: all must hold.
///
/// **Permissions**: any user; those that the query names decide.
#[utoipa::path(get, path = "/auth/verify", tag = "Decisions", params(
        ("permission" = Option<Vec<String>>, Query, description = "Permissions that must hold"),
        ("role" = Option<Vec<String>>, Query, description = "Roles that must hold")),
    responses((status = 200, description = "Let the request through", headers(
            ("X-User-Id" = String, description = "The user's id"),
            ("X-Username" = String, description = "The user's name"),
            ("X-User-Roles" = String, description = "The user's roles, sorted, comma-separated"))),
        (status = 403, description = "`permission_required`, `role_required`")))]
async fn verify(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    query: Query,
) -> Result<HttpResponse, ApiError> {
    if query.pairs().len() > MAX_QUESTIONS {
        return Err(ApiError::field(FieldError::new("query", FieldCode::TooLong, "Expected at most 100 names")));
    }
    let mut errors = Vec::new();
    let mut requirements = Vec::new();
    {
        let policy = services.rbac.policy();
        for (key, value) in query.pairs() {
            let requirement = match key.as_str() {
                "permission" => known_permission(&policy, key, value),
                "role" => known_role(&policy, key, value),
                _ => Err(FieldError::new(key, FieldCode::Unknown, "Only permission and role decide here")),
            };
            match requirement {
                Ok(requirement) => requirements.push(requirement),
                Err(error) => errors.push(error),
            }
        }
    }
    if !errors.is_empty() {
        return Err(ApiError::Validation(errors));
    }
    if !requirements.is_empty() {
        let asked: BTreeSet<String> = query.pairs().iter().map(|(_, value)| value.clone()).collect();
        let asked: Vec<String> = asked.into_iter().collect();
        AuditNote::on(&request, |note| {
            note.metadata("required", asked);
        });
    }
    for requirement in &requirements {
        requirement.check(&principal).await?;
    }
    identified(&principal)
}

/// As Envoy asks: behind `/auth/verify/` path and query are the client's, so only the token decides.
#[utoipa::path(get, path = "/auth/verify/{path}", tag = "Decisions",
    summary = "Decide for a gateway that appends its client's path",
    description = "As Envoy asks. The path, of any number of parts, and the query are the client's: both are ignored, and only the token decides.\n\n**Permissions**: any user.",
    params(("path" = String, Path, description = "The client's path")),
    responses((status = 200, description = "Let the request through", headers(
            ("X-User-Id" = String, description = "The user's id"),
            ("X-Username" = String, description = "The user's name"),
            ("X-User-Roles" = String, description = "The user's roles, sorted, comma-separated")))))]
async fn verify_token(principal: Principal) -> Result<HttpResponse, ApiError> {
    identified(&principal)
}

fn identified(principal: &Principal) -> Result<HttpResponse, ApiError> {
    let roles = principal.roles().unwrap_or_default();
    let roles: Vec<&str> = roles.iter().map(RoleName::as_str).collect();
    let mut response = HttpResponse::Ok();
    for (name, value) in [
        ("x-user-id", principal.id().to_string()),
        ("x-username", principal.username().to_string()),
        ("x-user-roles", roles.join(",")),
    ] {
        let value = HeaderValue::from_str(&value)
            .map_err(|_| ApiError::Internal(format!("a user's {name} is no header value")))?;
        response.insert_header((HeaderName::from_static(name), value));
    }
    Ok(response.finish())
}

/// Up to a hundred questions about one user.
#[derive(Deserialize, ToSchema)]
pub(super) struct CheckRequest {
    /// Whom it is about; the caller where absent.
    #[schema(format = Uuid)]
    user_id: Option<String>,
    /// 1 to 100 questions.
    #[schema(min_items = 1, max_items = 100)]
    #[schema(value_type = Vec<Check>)]
    checks: Vec<Object<Check>>,
}

/// One question: a permission or a role.
#[derive(Deserialize, ToSchema)]
pub(super) struct Check {
    /// May they?
    #[schema(example = "projects:create")]
    permission: Option<String>,
    /// Do they hold it?
    #[schema(example = "admin")]
    role: Option<String>,
}

/// The answers.
#[derive(Serialize, ToSchema)]
pub(super) struct CheckResponse {
    /// In the order of the questions.
    results: Vec<bool>,
}

/// Check permissions and roles
///
/// **Permissions**: any user for themselves; `users:read` for another.
#[utoipa::path(post, path = "/authz/check", tag = "Decisions", request_body = CheckRequest,
    responses((status = 200, description = "In the order of the questions", body = CheckResponse),
        (status = 403, description = "`permission_required`"), (status = 404, description = "`not_found`: no such user")))]
async fn check(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    body: Json<CheckRequest>,
) -> Result<HttpResponse, ApiError> {
    let CheckRequest { user_id, checks } = body.0;
    let requirements = parse_checks(&services.rbac.policy(), &checks)?;
    let user = match user_id {
        None => None,
        Some(text) => {
            let id: UserId = text
                .parse()
                .map_err(|_| ApiError::field(FieldError::new("user_id", FieldCode::Invalid, "Expected a UUID")))?;
            (id != principal.id()).then_some(id)
        }
    };
    let results = match user {
        None => decide(&services, account(&principal)?, &requirements),
        Some(id) => {
            // Own permissions are everybody's to ask, those of others are not.
            principal.require("users:read").await?;
            AuditNote::on(&request, |note| {
                note.resource("user", Some(id.to_string()));
            });
            let user = services.accounts.find(id).await?.ok_or(ApiError::NotFound("No such user"))?;
            decide(&services, &user, &requirements)
        }
    };
    Ok(HttpResponse::Ok().json(CheckResponse { results }))
}

fn parse_checks(policy: &Policy, checks: &[Object<Check>]) -> Result<Vec<Requirement>, ApiError> {
    if !(1..=MAX_QUESTIONS).contains(&checks.len()) {
        let code = if checks.is_empty() { FieldCode::TooShort } else { FieldCode::TooLong };
        return Err(ApiError::field(FieldError::new("checks", code, "Expected 1 to 100 checks")));
    }
    let mut errors = Vec::new();
    let mut requirements = Vec::with_capacity(checks.len());
    for (index, Object(check)) in checks.iter().enumerate() {
        let requirement = match (&check.permission, &check.role) {
            (Some(permission), None) => known_permission(policy, &format!("checks[{index}].permission"), permission),
            (None, Some(role)) => known_role(policy, &format!("checks[{index}].role"), role),
            _ => Err(FieldError::new(
                format!("checks[{index}]"),
                FieldCode::Invalid,
                "Expected either a permission or a role",
            )),
        };
        match requirement {
            Ok(requirement) => requirements.push(requirement),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(requirements) } else { Err(ApiError::Validation(errors)) }
}

fn decide(services: &Services, user: &crate::domain::User, requirements: &[Requirement]) -> Vec<bool> {
    requirements
        .iter()
        .map(|requirement| match requirement {
            Requirement::Authentication => user.is_active,
            Requirement::Permission(permission) => services.rbac.has_permission(user, permission),
            Requirement::Role(role) => services.rbac.has_role(user, role),
            // No question is made of several.
            Requirement::Any(_) | Requirement::All(_) => false,
        })
        .collect()
}
