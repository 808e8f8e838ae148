//! The refresh token in a cookie, for pages in browsers: no script can read it, and no other site can use it.
//!
//! What the cookie lets do is done only for pages of this service's own origin and of the allowed ones (OWASP
//! ASVS 5, 3.5: the browser itself says which page asks).

use actix_web::HttpRequest;
use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header;
use secrecy::{ExposeSecret, SecretString};

use super::{ApiSettings, cookies};
use crate::actors::TokenPair;
use crate::problem::ApiError;

/// Its prefix makes browsers refuse it where it does not come over TLS, or from this machine (RFC 6265bis §4.1.3).
const NAME: &str = "__Secure-portcullis-refresh";

/// How browsers say whose page asks (Fetch Metadata).
const FETCH_SITE: &str = "sec-fetch-site";

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
    cookies::is_in(request, NAME)
}

/// The refresh token of the request's cookie, where there is one.
///
/// # Errors
/// `CookieNotAllowed`: there is one, and another site's page, or no page, sent it.
pub(super) fn read(request: &HttpRequest, settings: &ApiSettings) -> Result<Option<SecretString>, ApiError> {
    if is_in(request) && !is_of_allowed_page(request, settings) {
        return Err(ApiError::CookieNotAllowed);
    }
    Ok(cookies::find(request, NAME).map(|token| token.to_owned().into()))
}

/// Whether a sign-in may set one: else another site's form would sign its visitors in as somebody else.
///
/// # Errors
/// `CookieNotAllowed`: a browser asks, and for another site's page.
pub(super) fn check_sign_in(request: &HttpRequest, settings: &ApiSettings, use_cookie: bool) -> Result<(), ApiError> {
    let is_browser = request.headers().contains_key(header::ORIGIN) || request.headers().contains_key(FETCH_SITE);
    if use_cookie && is_browser && !is_of_allowed_page(request, settings) {
        return Err(ApiError::CookieNotAllowed);
    }
    Ok(())
}

/// By what browsers say of the page that asks, and pages can't change (Fetch Metadata, and RFC 6454 §7).
fn is_of_allowed_page(request: &HttpRequest, settings: &ApiSettings) -> bool {
    let text = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
    match text(header::ORIGIN.as_str()) {
        Some(origin) => {
            own_origin(request, settings) == origin || settings.allowed_origins.iter().any(|allowed| allowed == origin)
        }
        // Browsers that send none say so otherwise.
        None => text(FETCH_SITE) == Some("same-origin"),
    }
}

/// This service's own; where nobody has said which, and the port was free to be any, where it listens.
fn own_origin(request: &HttpRequest, settings: &ApiSettings) -> String {
    let origin = settings.origin();
    match origin.strip_suffix(":0") {
        Some(host) => format!("{host}:{}", request.app_config().local_addr().port()),
        None => origin,
    }
}
