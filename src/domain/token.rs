//! The claims of our tokens (RFC 7519), and the hash by which a refresh token is known.

use serde::{Deserialize, Serialize};

use super::{SessionId, Timestamp, UserId};

/// What an access token says. Roles and permissions are not in it: they are
/// looked up, so that a change takes effect at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// Issuer: `JWT_ISSUER`.
    pub iss: String,
    /// Audience: `JWT_AUDIENCE`.
    pub aud: String,
    /// The user.
    pub sub: UserId,
    /// The session.
    pub sid: SessionId,
    /// The token's own id.
    pub jti: uuid::Uuid,
    /// Issued at, in seconds.
    pub iat: i64,
    /// Expires at, in seconds.
    pub exp: i64,
    /// Not before, in seconds; ours have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// As it was at the time of issue: for people who read tokens.
    pub username: String,
    /// `access`.
    pub token_use: String,
}

/// What a refresh token says. Only this service reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshClaims {
    /// Issuer: `JWT_ISSUER`.
    pub iss: String,
    /// Audience: the issuer itself, for it alone reads refresh tokens.
    pub aud: String,
    /// The user.
    pub sub: UserId,
    /// The session.
    pub sid: SessionId,
    /// The token's own id; a successor's is computed from its parent.
    pub jti: uuid::Uuid,
    /// Issued at, in seconds.
    pub iat: i64,
    /// Expires at, in seconds.
    pub exp: i64,
    /// `refresh`.
    pub token_use: String,
}

/// The SHA-256 of a refresh token: all that the database ever holds of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(pub [u8; 32]);

/// What the store knows of a session's refresh token.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// Whose session it is.
    pub user_id: UserId,
    /// When the session ends at the latest.
    pub expires_at: Timestamp,
    /// The hash of the refresh token that is good now.
    pub current: TokenHash,
    /// The hash of its parent.
    pub previous: Option<TokenHash>,
    /// When `current` took the place of `previous`, by the database's clock.
    pub rotated_at: Option<Timestamp>,
    /// The present instant by the database's clock.
    pub now: Timestamp,
}
