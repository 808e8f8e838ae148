//! Whether the service lives, can serve, and how it fares.

use std::time::Duration;

use actix_web::http::header::{CacheControl, CacheDirective, ETag, EntityTag, Header, IfNoneMatch};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, Route, web};
use futures_util::StreamExt;
use prometheus::{Encoder, TextEncoder};
use serde::Serialize;
use utoipa::ToSchema;

use super::Services;
use super::endpoint::Endpoint;
use crate::guard::{RequestId, X_REQUEST_ID};
use crate::problem::ApiError;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::unrecorded("/", || Route::new().to(health)),
        Endpoint::unrecorded("/healthz", || Route::new().to(alive)),
        Endpoint::unrecorded("/readyz", || Route::new().to(ready)),
        Endpoint::unrecorded("/metrics", || Route::new().to(metrics)),
        Endpoint::unrecorded("/.well-known/jwks.json", || Route::new().to(key_set)),
    ]
}

/// How the service fares.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok` or `degraded`.
    #[schema(example = "ok")]
    status: &'static str,
    /// The program's version.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// `ok` or `unreachable`.
    #[schema(example = "ok")]
    database: &'static str,
}

/// Health check
#[utoipa::path(get, path = "/", tag = "Service", responses((status = 200, description = "All is well", body = Health),
    (status = 503, description = "The database is unreachable", body = Health)))]
async fn health(services: web::Data<Services>) -> HttpResponse {
    match services.accounts.ping().await {
        Ok(()) => HttpResponse::Ok().json(Health { status: "ok", version: VERSION, database: "ok" }),
        Err(_) => HttpResponse::ServiceUnavailable().json(Health::degraded()),
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Health {
    fn degraded() -> Self {
        Self { status: "degraded", version: VERSION, database: "unreachable" }
    }
}

/// What is answered where there is no database yet: that the process lives, and to all else 503. There
/// is no audit journal either, so none of this is recorded.
pub fn configure_without_database(cfg: &mut web::ServiceConfig) {
    cfg.service(
        web::resource("/healthz")
            .route(web::get().to(alive_without_database))
            .route(web::head().to(alive_without_database))
            .default_service(web::to(away)),
    )
    .default_service(web::to(away));
}

async fn alive_without_database(request: HttpRequest) -> HttpResponse {
    under_its_id(&RequestId::of(request.headers()), alive().await)
}

fn under_its_id(id: &RequestId, mut answer: HttpResponse) -> HttpResponse {
    if let Some(id) = id.header() {
        answer.headers_mut().insert(X_REQUEST_ID.clone(), id);
    }
    answer
}

async fn away(request: HttpRequest, body: web::Payload) -> HttpResponse {
    // What is still unread when the connection closes could cost the client the answer.
    tokio::time::timeout(UNREAD_PATIENCE, skip(body)).await.ok();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let id = RequestId::of(request.headers());
    let answer = if request.path() == "/" && is_read {
        HttpResponse::ServiceUnavailable().json(Health::degraded())
    } else {
        ApiError::Unavailable("the database is away".into()).response(id.as_str())
    };
    under_its_id(&id, answer)
}

/// How long, and how far, a body is read that nobody wants.
const UNREAD_PATIENCE: Duration = Duration::from_secs(2);
const UNREAD_BYTES: usize = 64 << 10;

async fn skip(mut body: web::Payload) {
    let mut bytes = 0;
    while let Some(Ok(chunk)) = body.next().await {
        bytes += chunk.len();
        if bytes > UNREAD_BYTES {
            break;
        }
    }
}

/// Whether the process lives
#[utoipa::path(get, path = "/healthz", tag = "Service", responses((status = 200, description = "It does", body = String, content_type = "text/plain")))]
async fn alive() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

/// Whether the service can serve
#[utoipa::path(get, path = "/readyz", tag = "Service", responses((status = 200, description = "It can", body = String, content_type = "text/plain"),
    (status = 503, description = "`unavailable`: the database or the audit journal is away")))]
async fn ready(services: web::Data<Services>) -> Result<HttpResponse, ApiError> {
    services.accounts.ping().await?;
    if !services.freshness.is_fresh() {
        return Err(ApiError::Unavailable("the change feed can't be read".into()));
    }
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ready\n"))
}

/// Metrics for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "Service", responses((status = 200, description = "In Prometheus' text format", body = String, content_type = "text/plain")))]
async fn metrics(services: web::Data<Services>) -> Result<HttpResponse, ApiError> {
    let encoder = TextEncoder::new();
    let mut body = Vec::new();
    encoder
        .encode(&services.registry.gather(), &mut body)
        .map_err(|error| ApiError::Internal(format!("metrics: {error}")))?;
    Ok(HttpResponse::Ok().content_type(encoder.format_type()).body(body))
}

/// How long a client may go on with the keys that it has. A new key is
/// published at least that long before it signs (README, "Signing keys"), so
/// that whoever sees its first token knows it.
const KEY_SET_MAX_AGE_SECONDS: u32 = 300;

/// The public keys of access tokens
///
/// A JWK set (RFC 7517 §5); empty where tokens are signed with a shared secret.
/// Fetch it again when it is older than its `max-age`, or for an unknown `kid`.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "Service", responses((status = 200, description = "The key set", body = Object),
    (status = 304, description = "The key set of that `If-None-Match`")))]
async fn key_set(request: HttpRequest, services: web::Data<Services>) -> HttpResponse {
    let keys = services.tokens.keys();
    // The thumbprints of the keys name the set: nothing else in it changes.
    let tag = EntityTag::new_weak(keys.published_ids().join("."));
    let is_known = match IfNoneMatch::parse(&request) {
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        Ok(IfNoneMatch::Any) => true,
        Err(_) => false,
    };
    let status = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let mut answer = HttpResponse::build(status);
    answer.insert_header(ETag(tag));
    answer.insert_header(CacheControl(vec![CacheDirective::Public, CacheDirective::MaxAge(KEY_SET_MAX_AGE_SECONDS)]));
    if is_known {
        return answer.finish();
    }
    // Not `application/jwk-set+json` (RFC 7517 §8.5.2), which some clients refuse; all take this, as from
    // the big providers.
    answer.json(keys.published())
}
