//! Which provider's rules apply.

use secrecy::{ExposeSecret, SecretString};

use super::desk::Desk;
use super::error::OidcError;
use super::google::Google;
use super::microsoft::Microsoft;
use super::okta::Okta;
use super::unverified;
use crate::domain::{Provider, ProviderIdentity};

impl Desk {
    pub(super) fn google(&self) -> Result<Google<'_>, OidcError> {
        Ok(Google { desk: self, settings: self.settings.google()? })
    }

    pub(super) fn microsoft(&self) -> Result<Microsoft<'_>, OidcError> {
        Ok(Microsoft { desk: self, settings: self.settings.microsoft()? })
    }

    pub(super) fn okta(&self, domain: Option<&str>) -> Result<Okta<'_>, OidcError> {
        Okta::of(self, self.settings.okta()?, domain)
    }

    /// Whose access token is it?
    ///
    /// # Errors
    /// As of [`Providers::verify`](super::Providers::verify).
    pub(super) async fn access_token(
        &self,
        provider: Provider,
        okta_domain: Option<&str>,
        token: &SecretString,
    ) -> Result<ProviderIdentity, OidcError> {
        unverified::check_text(token.expose_secret())?;
        match provider {
            Provider::Google => self.google()?.access_token(token).await,
            Provider::Microsoft => self.microsoft()?.access_token(token).await,
            Provider::Okta => self.okta(okta_domain)?.access_token(token).await,
        }
    }

    /// Whose ID token is it?
    ///
    /// # Errors
    /// As of [`Providers::verify`](super::Providers::verify).
    pub(super) async fn id_token(
        &self,
        provider: Provider,
        okta_domain: Option<&str>,
        token: &str,
        nonce: Option<&str>,
    ) -> Result<ProviderIdentity, OidcError> {
        unverified::check_text(token)?;
        match provider {
            Provider::Google => self.google()?.id_token(token, nonce).await,
            Provider::Microsoft => self.microsoft()?.id_token(token, nonce).await,
            Provider::Okta => self.okta(okta_domain)?.id_token(token, nonce).await,
        }
    }
}
