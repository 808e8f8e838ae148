//! The caller's own accounts at sign-in providers.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, Route, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::Services;
use super::body::Json;
use super::endpoint::{Endpoint, Needs};
use super::oauth::{OauthLoginRequest, note_identity, note_reason, result_of};
use crate::domain::{Identity, IdentityId, Page, SessionEnd, Timestamp};
use crate::guard::{AuditNote, Principal};
use crate::problem::ApiError;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(|| Method::GET, "/auth/identities", Needs::Account, "LIST_IDENTITIES", || Route::new().to(list))
            .about("identity"),
        Endpoint::new(|| Method::POST, "/auth/identities", Needs::Account, "LINK_IDENTITY", || Route::new().to(link))
            .about("identity"),
        Endpoint::new(
            || Method::DELETE,
            "/auth/identities/{id}",
            Needs::Account,
            "UNLINK_IDENTITY",
            || Route::new().to(unlink),
        )
        .about("identity"),
    ]
}

/// An account at a provider that signs the user in.
#[derive(Serialize, ToSchema)]
pub(super) struct IdentityResponse {
    #[schema(value_type = String, format = Uuid)]
    id: IdentityId,
    #[schema(example = "google")]
    provider: &'static str,
    /// Who says so, as a URL.
    #[schema(example = "https://accounts.google.com")]
    issuer: String,
    /// Who it is there.
    #[schema(example = "110169484474386276334")]
    subject: String,
    /// Its address when it was linked, where the provider had verified it.
    #[schema(example = "john@example.com")]
    email: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    linked_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_login_at: Option<Timestamp>,
}

impl From<Identity> for IdentityResponse {
    fn from(identity: Identity) -> Self {
        let Identity { id, provider, issuer, subject, email, linked_at, last_login_at } = identity;
        Self { id, provider: provider.as_str(), issuer, subject, email, linked_at, last_login_at }
    }
}

/// The provider accounts of a user.
#[derive(Serialize, ToSchema)]
pub(super) struct IdentityList {
    /// Oldest first; all of them, for a user has no more than 20.
    items: Vec<IdentityResponse>,
    /// At most so many.
    limit: u32,
    /// None were left out before them.
    offset: u64,
    /// Always false: these are all.
    has_more: bool,
    /// Null: these are all.
    next_cursor: Option<String>,
}

/// List the own provider accounts
///
/// **Permissions**: any user.
#[utoipa::path(get, path = "/auth/identities", tag = "Account",
    responses((status = 200, description = "Oldest first", body = IdentityList)))]
async fn list(principal: Principal, services: web::Data<Services>) -> Result<HttpResponse, ApiError> {
    let items = services.identities.list(principal.id()).await?.into_iter().map(Into::into).collect();
    let Page { limit, offset } = Page::default();
    Ok(HttpResponse::Ok().json(IdentityList { items, limit, offset, has_more: false, next_cursor: None }))
}

/// Link a provider account to the own account
///
/// With a token of the provider, as for a sign-in. From then on it signs this user in.
///
/// **Permissions**: any user.
#[utoipa::path(post, path = "/auth/identities", tag = "Account", request_body = OauthLoginRequest,
    responses((status = 201, description = "It is linked", body = IdentityResponse),
        (status = 200, description = "It was linked before", body = IdentityResponse),
        (status = 401, description = "`invalid_provider_token`, with its reason; or `not_authenticated`, `token_expired`, `token_revoked`, `token_invalid`"),
        (status = 409, description = "`identity_taken`: it is another user's; `too_many_identities`: 20 are linked"),
        (status = 422, description = "`unknown_provider`, `provider_not_configured`"),
        (status = 503, description = "`provider_unavailable`")))]
async fn link(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    body: Json<OauthLoginRequest>,
) -> Result<HttpResponse, ApiError> {
    let credential = body.0.into_credential()?;
    let provider = credential.provider;
    let verified = services.identities.verify(credential).await.map_err(|error| {
        let error = ApiError::from(error);
        note_reason(&request, provider, result_of(&error));
        error
    })?;
    note_identity(&request, &verified.identity);
    let (identity, is_new) = services.identities.link(principal.id(), verified).await.map_err(|error| {
        let error = ApiError::from(error);
        note_reason(&request, provider, result_of(&error));
        error
    })?;
    AuditNote::on(&request, |note| {
        note.resource_id(Some(identity.id.to_string())).metadata("changed", is_new);
    });
    let mut response = if is_new { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.json(IdentityResponse::from(identity)))
}

/// Unlink one of the own provider accounts
///
/// All other sessions of the caller end: it may have begun one of them.
///
/// **Permissions**: any user, for their own.
#[utoipa::path(delete, path = "/auth/identities/{id}", tag = "Account", params(("id" = String, Path, description = "The identity's id")),
    responses((status = 204, description = "It signs nobody in any more"),
        (status = 404, description = "`not_found`: the caller has no such one"),
        (status = 409, description = "`last_credential`: there is no password and no other provider account")))]
async fn unlink(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
    path: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id: IdentityId = path.parse().map_err(|_| ApiError::NotFound("No such identity"))?;
    let others = principal.session().map_or(SessionEnd::All, SessionEnd::AllBut);
    let gone = services.identities.unlink(principal.id(), id, others).await?;
    AuditNote::on(&request, |note| {
        note.metadata("provider", gone.provider.as_str())
            .metadata("issuer", gone.issuer)
            .metadata("subject", gone.subject);
    });
    Ok(HttpResponse::NoContent().finish())
}
