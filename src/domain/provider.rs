//! Sign-in providers, and who they say somebody is.

use std::fmt;

use serde::Serialize;

use super::{Email, FullName};

/// Who signs in for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Google accounts and Workspace.
    Google,
    /// Microsoft Entra ID.
    Microsoft,
    /// Okta.
    Okta,
}

impl Provider {
    /// Reads a name: `google`, `microsoft`, `okta`.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Google, Self::Microsoft, Self::Okta].into_iter().find(|provider| provider.as_str() == name)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Google => "google",
            Self::Microsoft => "microsoft",
            Self::Okta => "okta",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An account at a provider, which it has proved to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderIdentity {
    /// Whose account it is.
    pub provider: Provider,
    /// Who says so, as a URL.
    pub issuer: String,
    /// Who it is there, for ever.
    pub subject: String,
    /// Its address, where the provider has verified it.
    pub email: Option<Email>,
    /// Its owner's name.
    pub full_name: Option<FullName>,
    /// What the account could be called here.
    pub username_hint: Option<String>,
}

/// Why what a client brought from a provider is not accepted; stable, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It was used before.
    Replayed,
}

impl Refusal {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replayed => "The token was used before",
        })
    }
}
