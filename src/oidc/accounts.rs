//! From what a provider says of an account to an identity.

use openidconnect::core::CoreGenderClaim;
use openidconnect::{LocalizedClaim, StandardClaims};

use super::token::Claims;
use crate::domain::{Email, FullName, Provider, ProviderIdentity};

/// What a provider says of an account, beside who it is.
#[derive(Debug, Default)]
pub(super) struct Profile {
    pub(super) email: Option<String>,
    pub(super) is_email_verified: bool,
    pub(super) name: Option<String>,
    pub(super) username: Option<String>,
}

impl Profile {
    /// The identity of this account.
    pub(super) fn identity(self, provider: Provider, issuer: &str, subject: &str) -> ProviderIdentity {
        let local_part = |address: &str| address.split('@').next().unwrap_or_default().to_owned();
        let hint = self.username.as_deref().or(self.email.as_deref()).map(local_part);
        ProviderIdentity {
            provider,
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            email: self.email.filter(|_| self.is_email_verified).and_then(|email| Email::parse(&email).ok()),
            full_name: self.name.and_then(|name| FullName::parse(name.trim()).ok()).filter(|n| !n.as_str().is_empty()),
            username_hint: hint.filter(|hint| !hint.is_empty()),
        }
    }
}

/// The claim without a language, else the first one.
fn plain<T>(claim: Option<&LocalizedClaim<T>>) -> Option<&T> {
    claim.and_then(|claim| claim.get(None).or_else(|| claim.iter().next().map(|(_, text)| text)))
}

impl From<&Claims> for Profile {
    fn from(claims: &Claims) -> Self {
        Self {
            email: claims.email().map(|email| email.to_string()),
            is_email_verified: claims.email_verified() == Some(true),
            name: plain(claims.name()).map(|name| name.to_string()),
            username: claims.preferred_username().map(|name| name.to_string()),
        }
    }
}

impl From<&StandardClaims<CoreGenderClaim>> for Profile {
    fn from(claims: &StandardClaims<CoreGenderClaim>) -> Self {
        Self {
            email: claims.email().map(|email| email.to_string()),
            is_email_verified: claims.email_verified() == Some(true),
            name: plain(claims.name()).map(|name| name.to_string()),
            username: claims.preferred_username().map(|name| name.to_string()),
        }
    }
}
