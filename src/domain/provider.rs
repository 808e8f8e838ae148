//! Sign-in providers: who somebody is there, and why a token of theirs is refused.

use std::fmt;
use std::str::FromStr;

use super::field::{FieldCode, FieldError};
use super::{Email, FullName};

/// A service that people sign in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Provider {
    /// Google accounts and Workspace.
    Google,
    /// Microsoft Entra ID.
    Microsoft,
    /// Okta.
    Okta,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Google, Self::Microsoft, Self::Okta];

    /// As in requests, paths, the audit log and the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Google => "google",
            Self::Microsoft => "microsoft",
            Self::Okta => "okta",
        }
    }
}

impl FromStr for Provider {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let found = Self::ALL.into_iter().find(|provider| provider.as_str() == text);
        found.ok_or_else(|| {
            FieldError::new("provider", FieldCode::Unknown, "Provider must be google, microsoft or okta")
        })
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who somebody is at a provider. Issuer and subject together are the identity:
/// an email, a name or a username may pass to somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderIdentity {
    /// The provider.
    pub provider: Provider,
    /// The issuer's URL, in one form; of Microsoft with the tenant in it.
    pub issuer: String,
    /// Google's `sub`, Microsoft's `oid`, Okta's `uid`.
    pub subject: String,
    /// Only an address that the provider calls verified.
    pub email: Option<Email>,
    /// The name of the person.
    pub full_name: Option<FullName>,
    /// What a username may be made from: the part before the `@` of what they sign in by there, as the provider has it.
    pub username_hint: Option<String>,
}

/// Why a provider's token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum Refusal {
    /// It can't be read.
    Malformed,
    /// `none`, a shared secret, or an algorithm that the provider does not name.
    UnsupportedAlgorithm,
    /// The provider has no key of this id.
    UnknownKey,
    /// The key of this id is not for this algorithm.
    WrongKeyType,
    /// Somebody else's signature, or another text.
    BadSignature,
    /// An access token for an ID token or the other way round, or one that is no person's.
    WrongTokenType,
    /// Not a v2.0 token.
    WrongTokenVersion,
    /// Another issuer's.
    WrongIssuer,
    /// A tenant that is not allowed, or none.
    WrongTenant,
    /// For another app.
    WrongAudience,
    /// Another app had it issued (`azp`).
    WrongAuthorizedParty,
    /// Another app had it issued (Okta's `cid`, introspection's `client_id`).
    WrongClient,
    /// Not of the hosted domain.
    WrongHostedDomain,
    /// The provider's answers speak of different people.
    WrongSubject,
    /// After its time.
    Expired,
    /// Before its time.
    NotYetValid,
    /// An ID token that was issued too long ago.
    TooOld,
    /// An ID token that was used before.
    Replayed,
    /// The nonce is in the token or in the request, but not in both.
    NonceMissing,
    /// Two different nonces.
    NonceMismatch,
    /// The provider says that it is not active.
    InactiveToken,
    /// A token for Microsoft Graph, which nobody but Graph can verify.
    GraphToken,
    /// The provider does not take it.
    RejectedByProvider,
}

impl Refusal {
    /// The stable reason: in answers, in the audit log and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnsupportedAlgorithm => "unsupported_algorithm",
            Self::UnknownKey => "unknown_key",
            Self::WrongKeyType => "wrong_key_type",
            Self::BadSignature => "bad_signature",
            Self::WrongTokenType => "wrong_token_type",
            Self::WrongTokenVersion => "wrong_token_version",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongTenant => "wrong_tenant",
            Self::WrongAudience => "wrong_audience",
            Self::WrongAuthorizedParty => "wrong_authorized_party",
            Self::WrongClient => "wrong_client",
            Self::WrongHostedDomain => "wrong_hosted_domain",
            Self::WrongSubject => "wrong_subject",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::TooOld => "too_old",
            Self::Replayed => "replayed",
            Self::NonceMissing => "nonce_missing",
            Self::NonceMismatch => "nonce_mismatch",
            Self::InactiveToken => "inactive_token",
            Self::GraphToken => "graph_token",
            Self::RejectedByProvider => "rejected_by_provider",
        }
    }

    /// For people: what is wrong, and where it helps, what to send instead.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Malformed => "Provider token is malformed",
            Self::UnsupportedAlgorithm => "Provider token's algorithm is not accepted",
            Self::UnknownKey => "Provider token is signed by an unknown key",
            Self::WrongKeyType => "Provider token's key is not for its algorithm",
            Self::BadSignature => "Provider token's signature is invalid",
            Self::WrongTokenType => "Provider token is of another type, or no person's",
            Self::WrongTokenVersion => "Provider token is not a v2.0 token",
            Self::WrongIssuer => "Provider token is from another issuer",
            Self::WrongTenant => "Provider token is from a tenant that is not allowed",
            Self::WrongAudience => "Provider token is for another app",
            Self::WrongAuthorizedParty | Self::WrongClient => "Provider token was issued to another app",
            Self::WrongHostedDomain => "Provider account is of another domain",
            Self::WrongSubject => "Provider token is another account's",
            Self::Expired => "Provider token has expired",
            Self::NotYetValid => "Provider token is not valid yet",
            Self::TooOld => "ID token was issued too long ago: send a fresh one",
            Self::Replayed => "ID token was used before: send a fresh one",
            Self::NonceMissing => "Nonce is missing in the token or in the request",
            Self::NonceMismatch => "Nonce is not the token's",
            Self::InactiveToken => "Provider token is not active",
            Self::GraphToken => {
                "A Microsoft Graph token can't be bound to this app: send an ID token as id_token, or an access token \
                 for this app's own API (scope api://<client id>/...)"
            }
            Self::RejectedByProvider => "Provider does not accept the token",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_known_by_its_exact_name() {
        for provider in Provider::ALL {
            assert_eq!(provider.as_str().parse(), Ok(provider));
        }
        for unknown in ["", "Google", "github", "okta "] {
            assert_eq!(unknown.parse::<Provider>().unwrap_err().code, FieldCode::Unknown, "{unknown:?}");
        }
    }
}
