//! Questions about the audit log.

use std::time::Duration;

use actix_web::http::Method;
use actix_web::{HttpResponse, Route, web};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Services;
use super::endpoint::{Endpoint, Needs};
use super::query::{MAX_AUDIT_OFFSET, Query};
use crate::domain::audit::{AuditRecord, Outcome};
use crate::domain::{
    AuditCount, AuditFilter, AuditPage, Bucket, CountedBy, FieldCode, Page, RecordId, UserId, canonical,
};
use crate::problem::ApiError;
use crate::proof::SignedCheckpoint;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let read = Needs::Permission("audit:read");
    vec![
        Endpoint::new(|| Method::GET, "/audit/logs", read, "LIST_AUDIT_LOGS", || Route::new().to(list)),
        Endpoint::new(|| Method::GET, "/audit/logs/{id}", read, "READ_AUDIT_LOG", || Route::new().to(find))
            .about("audit_log"),
        Endpoint::new(|| Method::GET, "/audit/stats", read, "READ_AUDIT_STATS", || Route::new().to(count)),
        Endpoint::new(
            || Method::GET,
            "/audit/checkpoint",
            read,
            "READ_AUDIT_CHECKPOINT",
            || Route::new().to(checkpoint),
        ),
    ]
}

/// A page of audit records.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditList {
    /// Newest first; there may be fewer than `limit` although more follow.
    items: Vec<AuditRecord>,
    /// At most so many.
    limit: u32,
    /// So many were left out before them.
    offset: u64,
    /// Whether older ones may follow.
    has_more: bool,
    /// What `cursor` is for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Get audit logs
///
/// Filters are exact and combine with AND. Records of everything that this
/// instance answered before the question are in it. A page may be short, or
/// empty, and still say `has_more`: go on with `next_cursor`.
///
/// **Permissions**: `audit:read`.
#[utoipa::path(get, path = "/audit/logs", tag = "Audit", params(
        ("user_id" = Option<String>, Query, description = "Filter by user ID"),
        ("username" = Option<String>, Query, description = "Filter by username, in any case"),
        ("action" = Option<String>, Query, description = "Filter by action (e.g., 'LOGIN', 'CREATE_PROJECT')"),
        ("resource_type" = Option<String>, Query, description = "Filter by resource type (e.g., 'project', 'run')"),
        ("resource_id" = Option<String>, Query, description = "Filter by resource ID"),
        ("outcome" = Option<Outcome>, Query, description = "Filter by how it ended"),
        ("method" = Option<String>, Query, description = "Filter by the request's method"),
        ("status" = Option<u16>, Query, description = "Filter by the answer's status"),
        ("path" = Option<String>, Query, description = "Filter by how the request's path begins"),
        ("ip_address" = Option<String>, Query, description = "Filter by address"),
        ("request_id" = Option<String>, Query, description = "Filter by the request's id"),
        ("since" = Option<String>, Query, description = "Not older than this (RFC 3339)"),
        ("until" = Option<String>, Query, description = "Older than this (RFC 3339)"),
        ("limit" = Option<u32>, Query, description = "Maximum number of results, 1 to 1000 (default: 100)"),
        ("offset" = Option<u64>, Query, description = "Offset for pagination, 0 to 10000 (default: 0); not with `cursor`"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")),
    responses((status = 200, description = "Newest first", body = AuditList)))]
async fn list(services: web::Data<Services>, mut query: Query) -> Result<HttpResponse, ApiError> {
    let filter = filter(&mut query);
    let Page { limit, offset } = query.page(MAX_AUDIT_OFFSET);
    let before = query.text("cursor").map(|cursor| Cursor::parse(&cursor));
    match before {
        Some(None) => query.refuse("cursor", FieldCode::Invalid, "Expected the next_cursor of a page"),
        Some(Some(_)) if query.has("offset") => {
            query.refuse("cursor", FieldCode::Invalid, "A cursor goes on from its page: it takes no offset");
        }
        _ => {}
    }
    query.finish()?;
    let slice = services.audit.list(filter, AuditPage { limit, offset, before: before.flatten() }).await?;
    Ok(HttpResponse::Ok().json(AuditList {
        items: slice.items,
        limit,
        offset,
        has_more: slice.next.is_some(),
        next_cursor: slice.next.map(Cursor::of),
    }))
}

/// Where the next page begins, for clients to hand back as it is.
struct Cursor;

impl Cursor {
    fn of(next: RecordId) -> String {
        next.0.simple().to_string()
    }

    fn parse(text: &str) -> Option<RecordId> {
        let is_ours = text.len() == uuid::fmt::Simple::LENGTH;
        is_ours.then(|| Uuid::try_parse(text).ok().map(RecordId)).flatten()
    }
}

/// The filters that every question about the audit log takes.
pub(super) fn filter(query: &mut Query) -> AuditFilter {
    AuditFilter {
        user_id: query.parsed::<UserId>("user_id", "Expected a UUID"),
        username: query.text("username").map(|name| name.to_ascii_lowercase()),
        action: query.text("action"),
        resource_type: query.text("resource_type"),
        resource_id: query.text("resource_id").map(|id| canonical(id.into()).into_owned()),
        outcome: query.one_of("outcome", &["success", "denied", "failure", "error"]).map(|text| Outcome::parse(&text)),
        method: query.text("method"),
        status: query.status("status"),
        path: query.text("path"),
        ip_address: query
            .parsed::<std::net::IpAddr>("ip_address", "Expected an address, as 203.0.113.7")
            .map(|address| address.to_canonical()),
        request_id: query.text("request_id"),
        since: query.time("since"),
        until: query.time("until"),
    }
}

/// Get one audit record
///
/// **Permissions**: `audit:read`.
#[utoipa::path(get, path = "/audit/logs/{id}", tag = "Audit", params(("id" = String, Path, description = "The record's id")),
    responses((status = 200, description = "The record", body = AuditRecord), (status = 404, description = "`not_found`")))]
async fn find(services: web::Data<Services>, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    const NO_SUCH: ApiError = ApiError::NotFound("No such audit record");
    let id: RecordId = path.parse().map_err(|_| NO_SUCH)?;
    let record = services.audit.find(id).await?.ok_or(NO_SUCH)?;
    Ok(HttpResponse::Ok().json(record))
}

/// Counts of audit records.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditStats {
    /// Oldest first.
    items: Vec<AuditCount>,
}

/// Count audit records
///
/// For charts: how many there were in each hour or day, by action, outcome or user. The filters are
/// those of the list; without `since` it counts two days by the hour, or ninety days.
///
/// **Permissions**: `audit:read`.
#[utoipa::path(get, path = "/audit/stats", tag = "Audit", params(
        ("bucket" = Option<String>, Query, description = "`hour` or `day` (default), UTC"),
        ("by" = Option<String>, Query, description = "`action` (default), `outcome` or `user`"),
        ("since" = Option<String>, Query, description = "Not older than this (RFC 3339)"),
        ("until" = Option<String>, Query, description = "Older than this (RFC 3339)")),
    responses((status = 200, description = "Oldest first", body = AuditStats)))]
async fn count(services: web::Data<Services>, mut query: Query) -> Result<HttpResponse, ApiError> {
    let mut filter = filter(&mut query);
    let bucket = match query.one_of("bucket", &["hour", "day"]).as_deref() {
        Some("hour") => Bucket::Hour,
        _ => Bucket::Day,
    };
    let by = match query.one_of("by", &["action", "outcome", "user"]).as_deref() {
        Some("outcome") => CountedBy::Outcome,
        Some("user") => CountedBy::User,
        _ => CountedBy::Action,
    };
    query.finish()?;
    let days = if bucket == Bucket::Hour { 2 } else { 90 };
    let end = filter.until.unwrap_or_else(|| services.tokens.now());
    filter.since = filter.since.or_else(|| Some(end.minus(Duration::from_secs(days * 86_400))));
    let items = services.audit.count(filter, bucket, by).await?;
    Ok(HttpResponse::Ok().json(AuditStats { items }))
}

/// Get a signed checkpoint of the audit log
///
/// How far each writer had come, and the hash of its last record, signed with Ed25519. Keep it elsewhere:
/// `portcullis audit verify --checkpoint FILE` finds with it whether the log up to here was rewritten since,
/// even by somebody who has its keys.
///
/// **Permissions**: `audit:read`.
#[utoipa::path(get, path = "/audit/checkpoint", tag = "Audit",
    responses((status = 200, description = "The ends of all writers", body = SignedCheckpoint)))]
async fn checkpoint(services: web::Data<Services>) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(services.audit.checkpoint().await?))
}
