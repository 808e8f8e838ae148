//! Why a sign-in by a provider does not go on.

use crate::domain::{FieldError, Provider, Refusal};

/// Why nobody is known by a credential. Never repeats a token, a code or a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OidcError {
    /// The provider is off.
    #[error("sign-in by {provider} needs {variable}")]
    NotConfigured {
        /// The provider.
        provider: Provider,
        /// The variable that would turn it on.
        variable: &'static str,
    },
    /// An `okta_domain` that is not one of ours, or none where there are several.
    #[error(transparent)]
    OktaDomain(FieldError),
    /// The credential is not accepted.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The provider does not answer, or not as it should; the cause is for the log.
    #[error("{provider} is unavailable: {cause}")]
    Unavailable {
        /// The provider.
        provider: Provider,
        /// For the log.
        cause: String,
    },
}

impl OidcError {
    pub(super) fn unavailable(provider: Provider, cause: impl Into<String>) -> Self {
        Self::Unavailable { provider, cause: cause.into() }
    }
}

/// Why sign-in by providers can't be started.
#[derive(Debug, thiserror::Error)]
#[error("sign-in by providers: {0}")]
pub struct StartError(pub(super) String);
