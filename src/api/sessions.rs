//! The caller's own sessions.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, Route, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::Services;
use super::endpoint::{Endpoint, Needs};
use super::query::{MAX_OFFSET, Query};
use crate::domain::{Page, Session, SessionEnd, SessionId, Slice, Timestamp};
use crate::guard::{AuditNote, Principal};
use crate::problem::ApiError;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(|| Method::GET, "/auth/sessions", Needs::Account, "LIST_SESSIONS", || Route::new().to(list)),
        Endpoint::new(
            || Method::DELETE,
            "/auth/sessions",
            Needs::Account,
            "END_SESSION",
            || Route::new().to(end_others),
        )
        .about("session"),
        Endpoint::new(|| Method::DELETE, "/auth/sessions/{id}", Needs::Account, "END_SESSION", || Route::new().to(end))
            .about("session"),
    ]
}

/// One session.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionResponse {
    /// The `sid` of its tokens.
    #[schema(value_type = String, format = Uuid)]
    id: SessionId,
    /// When it was signed in.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last used, to the minute.
    #[schema(value_type = String, format = DateTime)]
    last_used_at: Timestamp,
    /// Where it was signed in from.
    #[schema(value_type = Option<String>, example = "203.0.113.7")]
    ip_address: Option<Arc<str>>,
    /// With what.
    #[schema(value_type = Option<String>, example = "curl/8.5.0")]
    user_agent: Option<Arc<str>>,
    /// Whether this request is of it.
    current: bool,
}

/// The sessions of a user.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionList {
    /// Newest first.
    items: Vec<SessionResponse>,
    /// At most so many.
    limit: u32,
    /// So many were left out before them.
    offset: u64,
    /// Whether older ones follow.
    has_more: bool,
    /// Null: these pages go by offset.
    next_cursor: Option<String>,
}

impl SessionList {
    pub(super) fn new(sessions: Slice<Session>, page: Page, caller: &Principal) -> Self {
        let minute = |time: Timestamp| Timestamp::from_millis(time.as_millis().div_euclid(60_000) * 60_000);
        let items = sessions
            .items
            .into_iter()
            .map(|session| SessionResponse {
                id: session.id,
                created_at: session.created_at,
                last_used_at: minute(session.last_used_at),
                ip_address: session.ip_address,
                user_agent: session.user_agent,
                current: caller.session() == Some(session.id),
            })
            .collect();
        Self { items, limit: page.limit, offset: page.offset, has_more: sessions.has_more, next_cursor: None }
    }
}

/// List the own sessions
///
/// **Permissions**: any user.
#[utoipa::path(get, path = "/auth/sessions", tag = "Account", params(
        ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
        ("offset" = Option<u64>, Query, description = "From 0")),
    responses((status = 200, description = "Newest first", body = SessionList)))]
async fn list(principal: Principal, services: web::Data<Services>, mut query: Query) -> Result<HttpResponse, ApiError> {
    let page = query.page(MAX_OFFSET);
    query.finish()?;
    let sessions = services.tokens.list_sessions(principal.id(), page).await?;
    Ok(HttpResponse::Ok().json(SessionList::new(sessions, page, &principal)))
}

/// End one of the own sessions
///
/// **Permissions**: any user, for their own.
#[utoipa::path(delete, path = "/auth/sessions/{id}", tag = "Account", params(("id" = String, Path, description = "The session's id")),
    responses((status = 204, description = "It has ended"), (status = 404, description = "`not_found`: the caller has no such session")))]
async fn end(
    principal: Principal,
    services: web::Data<Services>,
    path: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    const NO_SUCH: ApiError = ApiError::NotFound("No such session");
    let id: SessionId = path.parse().map_err(|_| NO_SUCH)?;
    let ended = services.tokens.end_sessions(principal.id(), SessionEnd::One(id)).await?;
    if ended.is_empty() { Err(NO_SUCH) } else { Ok(HttpResponse::NoContent().finish()) }
}

/// End all other sessions of the caller
///
/// **Permissions**: any user, for their own.
#[utoipa::path(delete, path = "/auth/sessions", tag = "Account", responses((status = 204, description = "All but the current one have ended")))]
async fn end_others(
    request: HttpRequest,
    principal: Principal,
    services: web::Data<Services>,
) -> Result<HttpResponse, ApiError> {
    let which = principal.session().map_or(SessionEnd::All, SessionEnd::AllBut);
    let ended = services.tokens.end_sessions(principal.id(), which).await?;
    AuditNote::on(&request, |note| {
        note.metadata("sessions_ended", ended.len());
    });
    Ok(HttpResponse::NoContent().finish())
}
