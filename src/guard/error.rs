//! What the handles' errors mean to a client.

#[cfg(feature = "service")]
use crate::actors::{OidcError, ServiceError};
#[cfg(feature = "service")]
use crate::domain::{Denial, IdentityError, Refusal};
use crate::problem::ApiError;
use crate::verifier::TokenError;

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Expired => Self::TokenExpired,
            TokenError::Revoked => Self::TokenRevoked,
            TokenError::Invalid(what) => Self::TokenInvalid(what),
        }
    }
}

#[cfg(feature = "service")]
impl From<Denial> for ApiError {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::PermissionRequired(permission) => Self::PermissionRequired(permission),
            Denial::RoleRequired(role) => Self::RoleRequired(role),
            Denial::Escalation(why) => Self::Escalation(why),
            Denial::LastAdmin => Self::LastAdmin,
        }
    }
}

#[cfg(feature = "service")]
impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::AccountDisabled => Self::AccountDisabled,
            IdentityError::RegistrationDisabled => Self::RegistrationDisabled,
            IdentityError::Replayed => Self::InvalidProviderToken(Refusal::Replayed),
            IdentityError::Unknown => Self::NotFound("No such identity"),
            IdentityError::AccountExists => Self::AccountExists,
            IdentityError::Taken => Self::IdentityTaken,
            IdentityError::TooMany => Self::TooManyIdentities,
            IdentityError::LastCredential => Self::LastCredential,
        }
    }
}

#[cfg(feature = "service")]
impl From<OidcError> for ApiError {
    fn from(error: OidcError) -> Self {
        match error {
            OidcError::NotConfigured { provider, variable } => Self::ProviderNotConfigured { provider, variable },
            OidcError::OktaDomain(error) => Self::field(error),
            OidcError::Refused(refusal) => Self::InvalidProviderToken(refusal),
            OidcError::Unavailable { provider, cause } => Self::ProviderUnavailable { provider, cause },
        }
    }
}

#[cfg(feature = "service")]
impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Unavailable(cause) => Self::Unavailable(cause),
            ServiceError::Overloaded => Self::Unavailable("too many wait for a password hash".into()),
            ServiceError::Token(error) => error.into(),
            ServiceError::TokenReuse { .. } => Self::TokenRevoked,
            ServiceError::InvalidCredentials => Self::InvalidCredentials,
            ServiceError::WrongPassword => Self::WrongPassword,
            ServiceError::NoPassword => Self::NoPassword,
            ServiceError::UsernameTaken => Self::UsernameTaken,
            ServiceError::EmailTaken => Self::EmailTaken,
            ServiceError::NoSuchUser => Self::NotFound("No such user"),
            ServiceError::NoSuchRole => Self::NotFound("No such role"),
            ServiceError::NoSuchPermission => Self::NotFound("No such permission"),
            ServiceError::Conflict(conflict) => Self::Conflict(conflict),
            ServiceError::Field(error) => Self::field(error),
            ServiceError::Denied(denial) => denial.into(),
            ServiceError::Identity(error) => error.into(),
            ServiceError::Oidc(error) => error.into(),
            ServiceError::ProviderError(_) => Self::InvalidProviderToken(Refusal::RejectedByProvider),
            ServiceError::RedirectNotAllowed => Self::RedirectNotAllowed,
            ServiceError::InvalidState => Self::InvalidState,
            ServiceError::InvalidGrant => Self::InvalidGrant,
        }
    }
}
