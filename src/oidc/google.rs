//! Google: an access token names its app only at tokeninfo.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::accounts::Profile;
use super::desk::Desk;
use super::documents::{Known, Need};
use super::error::OidcError;
use super::http::Caller;
use super::settings::GoogleSettings;
use super::token::{self, Expected, ID_TOKEN};
use super::unverified::Unverified;
use super::userinfo;
use crate::domain::{Provider, ProviderIdentity, Refusal};

/// Google's rules.
#[derive(Clone, Copy)]
pub(super) struct Google<'a> {
    pub(super) desk: &'a Desk,
    pub(super) settings: &'a GoogleSettings,
}

/// What tokeninfo says; numbers are text there.
#[derive(Deserialize)]
struct TokenInfo {
    aud: Option<String>,
    azp: Option<String>,
    sub: Option<String>,
    exp: Option<Number>,
    expires_in: Option<Number>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(i64),
    Text(String),
}

impl Number {
    fn value(&self) -> Option<i64> {
        match self {
            Self::Plain(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

impl Google<'_> {
    fn caller(&self) -> Caller<'_> {
        self.desk.http.of(Provider::Google)
    }

    /// Its discovery document and keys.
    pub(super) async fn documents(&self, need: Need<'_>) -> Result<std::sync::Arc<Known>, OidcError> {
        Ok(self.desk.documents.of(self.caller(), &self.settings.issuer, need).await?)
    }

    /// Whose access token is it, and was it issued to us?
    pub(super) async fn access_token(&self, token: &SecretString) -> Result<ProviderIdentity, OidcError> {
        let caller = self.caller();
        let fields = [("access_token", token.expose_secret())];
        let info: TokenInfo = caller.post_form(&self.settings.tokeninfo_url, &fields).await?;
        let subject = self.check(&info)?;
        let known = self.documents(Need::Endpoints).await?;
        let client_id = info.aud.as_deref().unwrap_or_default();
        let account = userinfo::ask(caller, &known, client_id, token, subject).await?;
        self.check_hosted_domain(account.additional_claims().hd.as_deref())?;
        Ok(Profile::from(account.standard_claims()).identity(Provider::Google, &self.settings.issuer, subject))
    }

    fn check<'t>(&self, info: &'t TokenInfo) -> Result<&'t str, Refusal> {
        let is_ours = |client_id: &String| self.settings.client_ids.contains(client_id);
        if !info.aud.as_ref().is_some_and(is_ours) {
            return Err(Refusal::WrongAudience);
        }
        if !info.azp.as_ref().is_none_or(is_ours) {
            return Err(Refusal::WrongAuthorizedParty);
        }
        let ends = info.exp.as_ref().and_then(Number::value);
        let remains = info.expires_in.as_ref().and_then(Number::value);
        if ends.is_none() && remains.is_none() {
            return Err(Refusal::Malformed);
        }
        if ends.is_some_and(|end| end <= self.desk.clock.now().as_secs()) || remains.is_some_and(|secs| secs <= 0) {
            return Err(Refusal::Expired);
        }
        info.sub.as_deref().filter(|subject| !subject.is_empty()).ok_or(Refusal::WrongSubject)
    }

    /// Whose ID token is it?
    pub(super) async fn id_token(&self, token: &str, nonce: Option<&str>) -> Result<ProviderIdentity, OidcError> {
        let unverified = Unverified::read(token)?;
        let known = self.documents(Need::Key(unverified.header.kid.as_deref())).await?;
        let now = self.desk.clock.now();
        let expected = Expected {
            keys: &known,
            issuer: &self.settings.issuer,
            issuer_alias: without_scheme(&self.settings.issuer),
            audiences: &self.settings.client_ids,
            types: ID_TOKEN,
        };
        let claims = expected.verify(token, now)?;
        token::check_authorized_party(&claims, &self.settings.client_ids)?;
        token::check_id_token(&claims, nonce, now)?;
        self.check_hosted_domain(claims.additional_claims().hd.as_deref())?;
        Ok(Profile::from(&claims).identity(Provider::Google, &self.settings.issuer, claims.subject()))
    }

    fn check_hosted_domain(&self, domain: Option<&str>) -> Result<(), Refusal> {
        match &self.settings.hosted_domain {
            Some(ours) if !domain.is_some_and(|domain| domain.eq_ignore_ascii_case(ours)) => {
                Err(Refusal::WrongHostedDomain)
            }
            _ => Ok(()),
        }
    }

    /// Whether a callback's `iss` is Google's.
    pub(super) fn is_issuer(&self, issuer: &str) -> bool {
        issuer == self.settings.issuer
    }
}

/// Google writes its issuer in either way, and means the same.
fn without_scheme(issuer: &str) -> Option<&str> {
    issuer.split_once("://").map(|(_, rest)| rest)
}
