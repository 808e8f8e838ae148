//! Okta: whose domain it is decides who vouches, so a domain is one of ours before a URL is made from it.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::accounts::Profile;
use super::client::{self, Introspected};
use super::desk::Desk;
use super::documents::{Known, Need};
use super::error::OidcError;
use super::http::Caller;
use super::settings::{AuthServer, OKTA_DOMAIN_PLACE, OktaSettings};
use super::token::{self, ACCESS_TOKEN, Expected, ID_TOKEN};
use super::unverified::Unverified;
use super::userinfo;
use crate::domain::{FieldCode, FieldError, Provider, ProviderIdentity, Refusal};

impl OktaSettings {
    /// The entry of the list that is asked for, exactly as it stands there; the
    /// only entry where none is.
    ///
    /// # Errors
    /// Not in the list, or absent where there are several.
    pub(super) fn domain(&self, asked: Option<&str>) -> Result<&str, FieldError> {
        let fail = |code, message: &str| Err(FieldError::new("okta_domain", code, message));
        match (asked, &self.domains[..]) {
            (None, [only]) => Ok(only),
            (None, _) => fail(FieldCode::Required, "Okta domain is needed: there are several"),
            (Some(asked), domains) => match domains.iter().find(|domain| *domain == asked) {
                Some(domain) => Ok(domain),
                None => fail(FieldCode::Unknown, "Okta domain is not one of this service's"),
            },
        }
    }

    fn issuer(&self, domain: &str) -> String {
        let base = self.base_url.replace(OKTA_DOMAIN_PLACE, domain);
        match self.auth_server {
            AuthServer::Default => format!("{base}/oauth2/default"),
            AuthServer::Org => base,
        }
    }
}

/// Okta's rules, for one domain.
pub(super) struct Okta<'a> {
    desk: &'a Desk,
    settings: &'a OktaSettings,
    issuer: String,
}

impl<'a> Okta<'a> {
    /// # Errors
    /// The domain is not one of ours.
    pub(super) fn of(desk: &'a Desk, settings: &'a OktaSettings, domain: Option<&str>) -> Result<Self, OidcError> {
        let domain = settings.domain(domain).map_err(OidcError::OktaDomain)?;
        Ok(Self { desk, settings, issuer: settings.issuer(domain) })
    }

    fn caller(&self) -> Caller<'_> {
        self.desk.http.of(Provider::Okta)
    }

    /// Whether a callback's `iss` is this domain's.
    pub(super) fn is_issuer(&self, issuer: &str) -> bool {
        issuer == self.issuer
    }

    /// The domain's discovery document and keys.
    pub(super) async fn documents(&self, need: Need<'_>) -> Result<Arc<Known>, OidcError> {
        Ok(self.desk.documents.of(self.caller(), &self.issuer, need).await?)
    }

    /// Whose access token is it, and was it issued to us?
    pub(super) async fn access_token(&self, token: &SecretString) -> Result<ProviderIdentity, OidcError> {
        match self.settings.auth_server {
            AuthServer::Default => self.signed_token(token).await,
            AuthServer::Org => self.opaque_token(token).await,
        }
    }

    async fn signed_token(&self, token: &SecretString) -> Result<ProviderIdentity, OidcError> {
        let text = token.expose_secret();
        let unverified = Unverified::read(text)?;
        let known = self.documents(Need::Key(unverified.header.kid.as_deref())).await?;
        let audiences = std::slice::from_ref(&self.settings.audience);
        let claims = self.expected(&known, audiences, ACCESS_TOKEN).verify(text, self.desk.clock.now())?;
        let extra = claims.additional_claims();
        if !extra.cid.as_ref().is_some_and(|client_id| self.settings.client_ids.contains(client_id)) {
            return Err(Refusal::WrongClient.into());
        }
        // An app's own token has no user.
        let user = extra.uid.as_deref().filter(|user| !user.is_empty()).ok_or(Refusal::WrongTokenType)?;
        let has_openid = extra
            .scp
            .as_ref()
            .and_then(Value::as_array)
            .is_none_or(|scopes| scopes.iter().any(|scope| scope == "openid"));
        self.account(&known, token, user, has_openid).await
    }

    async fn opaque_token(&self, token: &SecretString) -> Result<ProviderIdentity, OidcError> {
        let known = self.documents(Need::Endpoints).await?;
        let ours = self.settings.client_ids.first().map(String::as_str).unwrap_or_default();
        let answer =
            client::introspect(self.caller(), &known, ours, self.settings.client_secret.as_ref(), token).await?;
        let Introspected { is_active, is_bearer, client_id, issuer, ends, user, scopes } = answer;
        if !is_active {
            return Err(Refusal::InactiveToken.into());
        }
        if !client_id.is_some_and(|client_id| self.settings.client_ids.contains(&client_id)) {
            return Err(Refusal::WrongClient.into());
        }
        if issuer.is_some_and(|issuer| issuer != self.issuer) {
            return Err(Refusal::WrongIssuer.into());
        }
        if ends.is_some_and(|end| end <= self.desk.clock.now()) {
            return Err(Refusal::Expired.into());
        }
        let user = user.filter(|user| is_bearer && !user.is_empty()).ok_or(Refusal::WrongTokenType)?;
        let has_openid = scopes.is_none_or(|scopes| scopes.iter().any(|scope| scope == "openid"));
        self.account(&known, token, &user, has_openid).await
    }

    /// The user's account, with what the token lets us see of it.
    async fn account(
        &self,
        known: &Known,
        token: &SecretString,
        user: &str,
        is_visible: bool,
    ) -> Result<ProviderIdentity, OidcError> {
        let identity = |profile: Profile| profile.identity(Provider::Okta, &self.issuer, user);
        if !is_visible || known.metadata.userinfo_endpoint().is_none() {
            return Ok(identity(Profile::default()));
        }
        let ours = self.settings.client_ids.first().map(String::as_str).unwrap_or_default();
        match userinfo::ask(self.caller(), known, ours, token, user).await {
            Ok(account) => Ok(identity(Profile::from(account.standard_claims()))),
            Err(userinfo::Unanswered::NotAllowed) => Ok(identity(Profile::default())),
            Err(error) => Err(error.into()),
        }
    }

    /// Whose ID token is it?
    pub(super) async fn id_token(&self, token: &str, nonce: Option<&str>) -> Result<ProviderIdentity, OidcError> {
        let unverified = Unverified::read(token)?;
        let known = self.documents(Need::Key(unverified.header.kid.as_deref())).await?;
        let now = self.desk.clock.now();
        let claims = self.expected(&known, &self.settings.client_ids, ID_TOKEN).verify(token, now)?;
        token::check_authorized_party(&claims, &self.settings.client_ids)?;
        token::check_id_token(&claims, nonce, now)?;
        Ok(Profile::from(&claims).identity(Provider::Okta, &self.issuer, claims.subject()))
    }

    fn expected<'e>(
        &'e self,
        keys: &'e Known,
        audiences: &'e [String],
        types: &'static [&'static str],
    ) -> Expected<'e> {
        Expected { keys, issuer: &self.issuer, issuer_alias: None, audiences, types }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(domains: &[&str]) -> OktaSettings {
        OktaSettings {
            domains: domains.iter().map(|&domain| domain.into()).collect(),
            client_ids: vec!["app".into()],
            client_secret: None,
            audience: "api://default".into(),
            auth_server: AuthServer::Default,
            base_url: format!("https://{OKTA_DOMAIN_PLACE}"),
        }
    }

    #[test]
    fn a_domain_is_an_entry_of_the_list_or_refused() {
        let two = settings(&["dev-1.okta.com", "b.okta.com"]);
        assert_eq!(two.domain(Some("dev-1.okta.com")), Ok("dev-1.okta.com"));
        assert_eq!(two.domain(None).unwrap_err().code, FieldCode::Required);
        for lie in [
            "",
            "dev-1.okta.com.",
            "DEV-1.okta.com",
            "dev-1.okta.com/",
            "dev-1.okta.com/x",
            "dev-1.okta.com:443",
            "dev-1.okta.com#",
            "dev-1.okta.com?",
            " dev-1.okta.com",
            "x@dev-1.okta.com",
            "dev-1.okta.com@evil.example",
            "evil-dev-1.okta.com",
            "okta.com",
            "dev-1.okta.com.evil.example",
            "127.0.0.1",
            "[::1]",
            "localhost",
            "https://dev-1.okta.com",
        ] {
            let error = two.domain(Some(lie)).unwrap_err();
            assert_eq!((error.field.as_str(), error.code), ("okta_domain", FieldCode::Unknown), "{lie:?}");
        }
        assert_eq!(settings(&["dev-1.okta.com"]).domain(None), Ok("dev-1.okta.com"));
    }

    #[test]
    fn each_server_has_its_issuer() {
        let mut okta = settings(&["a.okta.com"]);
        assert_eq!(okta.issuer("a.okta.com"), "https://a.okta.com/oauth2/default");
        okta.auth_server = AuthServer::Org;
        assert_eq!(okta.issuer("a.okta.com"), "https://a.okta.com");
    }
}
