//! The audit log: questions, and events of callers.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, Route, web};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Services;
use super::body::Json;
use super::endpoint::{Endpoint, Needs};
use super::query::{MAX_AUDIT_OFFSET, Query};
use crate::domain::audit::{AuditFilter, AuditRecord};
use crate::domain::{CustomEvent, UserId, canonical};
use crate::guard::{AuditNote, Principal};
use crate::problem::ApiError;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            || Method::GET,
            "/audit/logs",
            Needs::Permission("audit:read"),
            "LIST_AUDIT_LOGS",
            || Route::new().to(list),
        ),
        Endpoint::new(
            || Method::POST,
            "/audit/events",
            Needs::Account,
            "CREATE_AUDIT_EVENT",
            || Route::new().to(create_event),
        ),
    ]
}

/// A page of audit records.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditList {
    /// Newest first.
    items: Vec<AuditRecord>,
    /// At most so many.
    limit: u32,
    /// So many were left out before them.
    offset: u64,
    /// Whether older ones follow.
    has_more: bool,
    /// Null: these pages go by offset.
    next_cursor: Option<String>,
}

/// Get audit logs
///
/// Filters are exact and combine with AND. Records of everything that this
/// instance answered before the question are in it.
///
/// **Permissions**: `audit:read`.
#[utoipa::path(get, path = "/audit/logs", tag = "Audit", params(
        ("user_id" = Option<String>, Query, description = "Filter by user ID"),
        ("action" = Option<String>, Query, description = "Filter by action (e.g., 'LOGIN', 'CREATE_PROJECT')"),
        ("resource_type" = Option<String>, Query, description = "Filter by resource type (e.g., 'project', 'run')"),
        ("resource_id" = Option<String>, Query, description = "Filter by resource ID"),
        ("since" = Option<String>, Query, description = "Not older than this (RFC 3339)"),
        ("until" = Option<String>, Query, description = "Older than this (RFC 3339)"),
        ("limit" = Option<u32>, Query, description = "Maximum number of results, 1 to 1000 (default: 100)"),
        ("offset" = Option<u64>, Query, description = "Offset for pagination, 0 to 10000 (default: 0)")),
    responses((status = 200, description = "Newest first", body = AuditList)))]
async fn list(services: web::Data<Services>, mut query: Query) -> Result<HttpResponse, ApiError> {
    let filter = AuditFilter {
        user_id: query.parsed::<UserId>("user_id", "Expected a UUID"),
        action: query.text("action"),
        resource_type: query.text("resource_type"),
        resource_id: query.text("resource_id").map(|id| canonical(id.into()).into_owned()),
        since: query.time("since"),
        until: query.time("until"),
    };
    let page = query.page(MAX_AUDIT_OFFSET);
    query.finish()?;
    let slice = services.audit.list(filter, page).await.map_err(|error| ApiError::Unavailable(error.to_string()))?;
    Ok(HttpResponse::Ok().json(AuditList {
        items: slice.items,
        limit: page.limit,
        offset: page.offset,
        has_more: slice.has_more,
        next_cursor: None,
    }))
}

/// Something that the caller did.
#[derive(Deserialize, ToSchema)]
pub(super) struct CreateEventRequest {
    /// 1 to 64 of `A-Z a-z 0-9 _ . : -`; none of the service's own actions.
    #[schema(example = "CUSTOM_ACTION", min_length = 1, max_length = 64)]
    action: String,
    /// 1 to 64 of the same characters.
    #[schema(example = "project", max_length = 64)]
    resource_type: Option<String>,
    /// At most 256 characters.
    #[schema(example = "42", max_length = 256)]
    resource_id: Option<String>,
    /// At most 8 KiB of JSON.
    #[schema(value_type = Option<Object>, example = json!({"custom_field": "value"}))]
    metadata: Option<Map<String, Value>>,
}

/// The event as it is recorded.
#[derive(Serialize, ToSchema)]
pub(super) struct EventResponse {
    /// As sent.
    action: String,
    /// As sent.
    resource_type: Option<String>,
    /// As sent.
    resource_id: Option<String>,
    /// As sent.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// The caller.
    #[schema(value_type = String, format = Uuid)]
    user_id: UserId,
    /// The caller's name.
    username: String,
    /// `event`.
    source: &'static str,
}

/// Log a custom audit event
///
/// Stamped with the caller's identity; the record is the request's own.
///
/// **Permissions**: any user.
#[utoipa::path(post, path = "/audit/events", tag = "Audit", request_body = CreateEventRequest,
    responses((status = 201, description = "The event is recorded", body = EventResponse)))]
async fn create_event(
    request: HttpRequest,
    principal: Principal,
    body: Json<CreateEventRequest>,
) -> Result<HttpResponse, ApiError> {
    let CreateEventRequest { action, resource_type, resource_id, metadata } = body.0;
    let event = CustomEvent { action, resource_type, resource_id, metadata: metadata.unwrap_or_default() };
    event.validate().map_err(ApiError::Validation)?;
    AuditNote::on(&request, |note| {
        note.action(event.action.clone()).event(event.metadata.clone());
        if let Some(kind) = &event.resource_type {
            note.resource(kind.clone(), event.resource_id.clone());
        } else if event.resource_id.is_some() {
            note.resource_id(event.resource_id.clone());
        }
    });
    Ok(HttpResponse::Created().json(EventResponse {
        action: event.action,
        resource_type: event.resource_type,
        resource_id: event.resource_id,
        metadata: event.metadata,
        user_id: principal.id(),
        username: principal.username().to_string(),
        source: "event",
    }))
}
