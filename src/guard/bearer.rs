//! The bearer token of a request (RFC 6750 §2.1).

use actix_web::HttpRequest;
use actix_web::http::header;

use crate::problem::ApiError;
use crate::verifier::MAX_TOKEN_BYTES;

/// The one bearer token of a request. `Basic` and a bearer without a token are no credentials of ours.
pub(super) fn bearer(request: &HttpRequest) -> Result<&str, ApiError> {
    let mut values = request.headers().get_all(header::AUTHORIZATION);
    let value = values.next().ok_or(ApiError::NotAuthenticated)?;
    if values.next().is_some() {
        return Err(ApiError::TokenInvalid("More than one Authorization header"));
    }
    let value = std::str::from_utf8(value.as_bytes());
    let value = value.map_err(|_| ApiError::TokenInvalid("Authorization header is malformed"))?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(ApiError::NotAuthenticated);
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(ApiError::TokenInvalid("Token is too long"));
    }
    Ok(token)
}
