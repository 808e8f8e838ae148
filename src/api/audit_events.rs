//! Events that callers put into the audit log.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, Route};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::body::Json;
use super::endpoint::{Endpoint, Needs};
use crate::domain::{CustomEvent, UserId};
use crate::guard::{AuditNote, Principal};
use crate::problem::ApiError;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![Endpoint::new(
        || Method::POST,
        "/audit/events",
        Needs::Account,
        "CREATE_AUDIT_EVENT",
        || Route::new().to(create_event),
    )]
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
