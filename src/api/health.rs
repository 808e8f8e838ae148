//! Whether the service lives, can serve, and how it fares.

use actix_web::http::StatusCode;
use actix_web::http::header::{CacheControl, CacheDirective, ETag, EntityTag, Header, IfNoneMatch};
use actix_web::{HttpRequest, HttpResponse, Route, web};
use prometheus::{Encoder, TextEncoder};
use serde::Serialize;
use utoipa::ToSchema;

use super::Services;
use super::endpoint::Endpoint;
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
    let version = env!("CARGO_PKG_VERSION");
    match services.accounts.ping().await {
        Ok(()) => HttpResponse::Ok().json(Health { status: "ok", version, database: "ok" }),
        Err(_) => {
            HttpResponse::ServiceUnavailable().json(Health { status: "degraded", version, database: "unreachable" })
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
