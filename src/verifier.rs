//! Verifies tokens (RFC 7519; the choices of RFC 8725): for the service, which
//! issued them, and for apps that only verify.

use std::time::Duration;

use jsonwebtoken as jwt;
use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(feature = "service")]
use crate::domain::RefreshClaims;
use crate::domain::{AccessClaims, Timestamp};

/// How far ahead `iat` and `nbf` may be: clocks differ.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Longer tokens are not looked at.
pub(crate) const MAX_TOKEN_BYTES: usize = 8192;

/// Why a token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// After its time.
    #[error("Token has expired")]
    Expired,
    /// Well signed, but its session or user is no more.
    #[error("Token has been revoked")]
    Revoked,
    /// Badly formed, signed by somebody else, of another type or for another audience.
    #[error("{0}")]
    Invalid(&'static str),
}

impl TokenError {
    /// The metric's label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Invalid(_) => "invalid",
        }
    }
}

/// A key that verifies, and what it verifies: one algorithm a key.
pub(crate) struct Verifier {
    pub(crate) key_id: Option<String>,
    pub(crate) key: jwt::DecodingKey,
    pub(crate) validation: jwt::Validation,
}

/// One algorithm a key, no leeway, and the times left to our own clock.
pub(crate) fn validation(algorithm: jwt::Algorithm, issuer: &str, audience: &str) -> jwt::Validation {
    let mut validation = jwt::Validation::new(algorithm);
    validation.leeway = 0;
    validation.validate_exp = false;
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation
}

/// Signature, algorithm, issuer, audience and type of an access token; the times are the caller's to judge.
pub(crate) fn verify_access(token: &str, verifiers: &[Verifier]) -> Result<AccessClaims, TokenError> {
    let claims: AccessClaims = verify(token, verifiers)?;
    if claims.token_use == "access" { Ok(claims) } else { Err(TokenError::Invalid("Token is not an access token")) }
}

/// As for access tokens; only the service reads them.
#[cfg(feature = "service")]
pub(crate) fn verify_refresh(token: &str, verifiers: &[Verifier]) -> Result<RefreshClaims, TokenError> {
    let claims: RefreshClaims = verify(token, verifiers)?;
    if claims.token_use == "refresh" { Ok(claims) } else { Err(TokenError::Invalid("Token is not a refresh token")) }
}

/// The id of the key that a token says it is signed by.
///
/// # Errors
/// It is no token.
pub(crate) fn key_id(token: &str) -> Result<Option<String>, TokenError> {
    Ok(jwt::decode_header(token).map_err(|_| TokenError::Invalid("Token is malformed"))?.kid)
}

fn verify<T: DeserializeOwned + Serialize>(token: &str, verifiers: &[Verifier]) -> Result<T, TokenError> {
    use jwt::errors::ErrorKind;
    let key_id = if verifiers.iter().any(|verifier| verifier.key_id.is_some()) { key_id(token)? } else { None };
    let mut refusal = TokenError::Invalid("Token is signed by an unknown key");
    for verifier in verifiers {
        if verifier.key_id != key_id {
            continue;
        }
        match jwt::decode::<T>(token, &verifier.key, &verifier.validation) {
            Ok(decoded) => return Ok(decoded.claims),
            Err(error) => {
                refusal = TokenError::Invalid(match error.kind() {
                    ErrorKind::InvalidSignature => "Token signature is invalid",
                    ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => "Token algorithm is not accepted",
                    ErrorKind::InvalidIssuer => "Token is from another issuer",
                    ErrorKind::InvalidAudience => "Token is for another audience",
                    _ => "Token is malformed",
                });
            }
        }
    }
    Err(refusal)
}

/// No leeway for the end; some for the beginning (RFC 7519 §4.1.4, §4.1.5).
pub(crate) fn check_times(now: Timestamp, iat: i64, nbf: Option<i64>, exp: i64) -> Result<(), TokenError> {
    if exp <= now.as_secs() {
        return Err(TokenError::Expired);
    }
    let latest = now.plus(CLOCK_SKEW).as_secs();
    if iat > latest || nbf.is_some_and(|nbf| nbf > latest) {
        return Err(TokenError::Invalid("Token is not valid yet"));
    }
    Ok(())
}
