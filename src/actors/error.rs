//! What the handles answer when they do not do what was asked.

use crate::domain::{Conflict, Denial, IdentityError};
use crate::oidc::OidcError;
use crate::store::StoreError;
use crate::verifier::TokenError;

/// Why a handle did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The database is away; the cause is for the log.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Too many wait for a password hash.
    #[error("too many password hashes wait")]
    Overloaded,
    /// A token was refused.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A refresh token was used again after its successor: its session was ended.
    #[error("refresh token reuse")]
    TokenReuse {
        /// Whose session it was.
        user_id: crate::domain::UserId,
        /// The session that was ended.
        session_id: crate::domain::SessionId,
    },
    /// A wrong password or an unknown, deactivated or password-less user.
    #[error("invalid credentials")]
    InvalidCredentials,
    /// The present password, asked for again, is another one.
    #[error("wrong password")]
    WrongPassword,
    /// There is no password that could be asked for again.
    #[error("no password")]
    NoPassword,
    /// Somebody has this username.
    #[error("the username is taken")]
    UsernameTaken,
    /// Somebody has this email.
    #[error("the email is taken")]
    EmailTaken,
    /// There is no such user (any more).
    #[error("no such user")]
    NoSuchUser,
    /// There is no such role (any more).
    #[error("no such role")]
    NoSuchRole,
    /// There is no such permission (any more).
    #[error("no such permission")]
    NoSuchPermission,
    /// What there is does not allow the change.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// A new value is not acceptable.
    #[error("invalid field")]
    Field(crate::domain::FieldError),
    /// A rule forbids the change.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// An account at a provider signs nobody in, or is not linked or unlinked.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What was brought from a provider says nothing about anybody.
    #[error(transparent)]
    Oidc(#[from] OidcError),
    /// The provider ended a sign-in, with this error (RFC 6749 §4.1.2.1).
    #[error("the provider ended the sign-in")]
    ProviderError(String),
    /// A page that `OAUTH_REDIRECT_ALLOWLIST` does not name.
    #[error("the page is not of the allow-list")]
    RedirectNotAllowed,
    /// A sign-in that this browser has not begun, or that is over.
    #[error("no such sign-in")]
    InvalidState,
    /// A page's code that is over or used, or a verifier that does not fit it.
    #[error("no such code")]
    InvalidGrant,
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) | StoreError::Unreadable(cause) | StoreError::Unrecorded(cause) => {
                Self::Unavailable(cause)
            }
            StoreError::UsernameTaken => Self::UsernameTaken,
            StoreError::EmailTaken => Self::EmailTaken,
            StoreError::NoSuchUser => Self::NoSuchUser,
            StoreError::NoSuchRole => Self::NoSuchRole,
            StoreError::NoSuchPermission => Self::NoSuchPermission,
            StoreError::Conflict(conflict) => Self::Conflict(conflict),
            StoreError::Denied(denial) => Self::Denied(denial),
            StoreError::Identity(error) => Self::Identity(error),
        }
    }
}

impl From<actix::MailboxError> for ServiceError {
    fn from(error: actix::MailboxError) -> Self {
        Self::Unavailable(format!("an actor did not answer: {error}"))
    }
}

/// A result of a handle.
pub type ServiceResult<T> = Result<T, ServiceError>;
