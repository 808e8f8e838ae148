//! What the layer is told of each provider.

use secrecy::SecretString;
use uuid::Uuid;

use super::error::OidcError;
use crate::domain::Provider;

/// What stands for the domain in [`OktaSettings::base_url`].
pub const OKTA_DOMAIN_PLACE: &str = "{okta_domain}";

/// The sign-in providers; one that is absent is off.
#[derive(Debug, Clone, Default)]
pub struct OidcSettings {
    /// On when `OAUTH_GOOGLE_CLIENT_ID` is set.
    pub google: Option<GoogleSettings>,
    /// On when `OAUTH_MICROSOFT_CLIENT_ID` is set.
    pub microsoft: Option<MicrosoftSettings>,
    /// Set when `OAUTH_OKTA_DOMAIN` is; on when `OAUTH_OKTA_CLIENT_ID` is, too.
    pub okta: Option<OktaSettings>,
    /// `PUBLIC_URL` without a slash at its end: what callbacks are made of.
    pub public_url: String,
}

/// How Google is asked.
#[derive(Debug, Clone)]
pub struct GoogleSettings {
    /// `OAUTH_GOOGLE_CLIENT_ID`: at least one; the first runs the browser flow.
    pub client_ids: Vec<String>,
    /// `OAUTH_GOOGLE_CLIENT_SECRET`: the first one's; the browser flow needs it.
    pub client_secret: Option<SecretString>,
    /// `OAUTH_GOOGLE_HOSTED_DOMAIN`: only accounts of this Workspace domain.
    pub hosted_domain: Option<String>,
    /// `OAUTH_GOOGLE_ISSUER`.
    pub issuer: String,
    /// `OAUTH_GOOGLE_TOKENINFO_URL`.
    pub tokeninfo_url: String,
}

/// How Microsoft is asked.
#[derive(Debug, Clone)]
pub struct MicrosoftSettings {
    /// `OAUTH_MICROSOFT_CLIENT_ID`: at least one; the first runs the browser flow.
    pub client_ids: Vec<String>,
    /// `OAUTH_MICROSOFT_CLIENT_SECRET`: the first one's.
    pub client_secret: Option<SecretString>,
    /// `OAUTH_MICROSOFT_TENANTS`.
    pub tenants: Tenants,
    /// `OAUTH_MICROSOFT_AUTHORITY` without a slash at its end.
    pub authority: String,
    /// `OAUTH_MICROSOFT_ACCEPT_GRAPH_TOKENS`: also tokens that were issued to any other app.
    pub accepts_graph_tokens: bool,
    /// `OAUTH_MICROSOFT_GRAPH_URL` without a slash at its end.
    pub graph_url: String,
}

/// Whose Microsoft accounts may sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenants {
    /// Everybody's.
    Any,
    /// Those of these tenants; at least one.
    Listed(Vec<Uuid>),
}

/// How Okta is asked.
#[derive(Debug, Clone)]
pub struct OktaSettings {
    /// `OAUTH_OKTA_DOMAIN`: at least one, host names in lower case.
    pub domains: Vec<String>,
    /// `OAUTH_OKTA_CLIENT_ID`: without one, Okta is off; the first runs the browser flow and introspects.
    pub client_ids: Vec<String>,
    /// `OAUTH_OKTA_CLIENT_SECRET`: the first one's; introspection needs it.
    pub client_secret: Option<SecretString>,
    /// `OAUTH_OKTA_AUDIENCE`: the `aud` of the custom server's access tokens.
    pub audience: String,
    /// `OAUTH_OKTA_AUTH_SERVER`.
    pub auth_server: AuthServer,
    /// `OAUTH_OKTA_BASE_URL` without a slash at its end, with [`OKTA_DOMAIN_PLACE`] for the domain.
    pub base_url: String,
}

/// Which of Okta's authorization servers issues the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthServer {
    /// The custom server `default`: its access tokens are JWTs.
    Default,
    /// The org server: its access tokens are opaque to everybody else, and introspected.
    Org,
}

impl OidcSettings {
    /// The variable that would turn a provider on.
    pub(super) fn missing(&self, provider: Provider) -> Option<&'static str> {
        let outcome = match provider {
            Provider::Google => self.google().map(drop),
            Provider::Microsoft => self.microsoft().map(drop),
            Provider::Okta => self.okta().map(drop),
        };
        match outcome {
            Err(OidcError::NotConfigured { variable, .. }) => Some(variable),
            _ => None,
        }
    }

    pub(super) fn google(&self) -> Result<&GoogleSettings, OidcError> {
        let off = OidcError::NotConfigured { provider: Provider::Google, variable: "OAUTH_GOOGLE_CLIENT_ID" };
        self.google.as_ref().ok_or(off)
    }

    pub(super) fn microsoft(&self) -> Result<&MicrosoftSettings, OidcError> {
        let off = OidcError::NotConfigured { provider: Provider::Microsoft, variable: "OAUTH_MICROSOFT_CLIENT_ID" };
        self.microsoft.as_ref().ok_or(off)
    }

    pub(super) fn okta(&self) -> Result<&OktaSettings, OidcError> {
        let off = |variable| OidcError::NotConfigured { provider: Provider::Okta, variable };
        let okta = self.okta.as_ref().ok_or(off("OAUTH_OKTA_DOMAIN"))?;
        if okta.client_ids.is_empty() { Err(off("OAUTH_OKTA_CLIENT_ID")) } else { Ok(okta) }
    }
}
