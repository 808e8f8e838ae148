//! The refresh token in a cookie, for pages in browsers: no script can read it, and no other site can use it.
//!
//! What the cookie lets do is done only for pages of this service's own origin and of the allowed ones (OWASP
//! ASVS 5, 3.5: the browser itself says which page asks).

use actix_web::HttpRequest;
use std::borrow::Cow;

use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header;
use secrecy::{ExposeSecret, SecretString};

use super::ApiSettings;
use crate::actors::TokenPair;
use crate::problem::ApiError;

/// Its prefix makes browsers refuse it where it does not come over TLS, or from this machine (RFC 6265bis §4.1.3).
const NAME: &str = "__Secure-portcullis-refresh";

/// Where it is sent: to what refreshes and ends sessions.
const PATH: &str = "/auth";

fn cookie(value: String, lifetime: Duration) -> Cookie<'static> {
    Cookie::build(NAME, value)
        .http_only(true)
        .secure(true)
        .same_site(SameSite::Strict)
        .path(PATH)
        .max_age(lifetime)
        .finish()
}

/// With a pair's refresh token, for as long as that lives.
pub(super) fn of(pair: &TokenPair) -> Cookie<'static> {
    let lifetime = i64::try_from(pair.refresh_expires_in.as_secs()).unwrap_or(i64::MAX);
    cookie(pair.refresh_token.expose_secret().to_owned(), Duration::seconds(lifetime))
}

/// One that takes it away.
pub(super) fn removal() -> Cookie<'static> {
    cookie(String::new(), Duration::ZERO)
}

/// Whether the request has one.
pub(super) fn is_in(request: &HttpRequest) -> bool {
    request.cookie(NAME).is_some()
}

/// The refresh token of the request's cookie, where there is one.
///
/// # Errors
/// `OriginNotAllowed`: there is one, and another site's page, or no page, sent it.
pub(super) fn read(request: &HttpRequest, settings: &ApiSettings) -> Result<Option<SecretString>, ApiError> {
    let Some(cookie) = request.cookie(NAME) else { return Ok(None) };
    if !is_of_allowed_page(request, settings) {
        return Err(ApiError::OriginNotAllowed);
    }
    Ok(Some(cookie.value().to_owned().into()))
}

/// By what browsers say of the page that asks, and pages can't change (Fetch Metadata, and RFC 6454 §7).
fn is_of_allowed_page(request: &HttpRequest, settings: &ApiSettings) -> bool {
    let text = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
    if text("sec-fetch-site") == Some("same-origin") {
        return true;
    }
    text(header::ORIGIN.as_str()).is_some_and(|origin| {
        own_origin(request, settings) == origin || settings.allowed_origins.iter().any(|allowed| allowed == origin)
    })
}

/// This service's own; where nobody has said which, and the port was free to be any, where it listens.
fn own_origin<'a>(request: &HttpRequest, settings: &'a ApiSettings) -> Cow<'a, str> {
    let origin = settings.origin();
    match origin.strip_suffix(":0") {
        Some(host) => format!("{host}:{}", request.app_config().local_addr().port()).into(),
        None => origin.into(),
    }
}
