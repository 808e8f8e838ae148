//! The browser flow: a browser is sent to the provider, and comes back with a code.

use std::sync::Arc;

use oauth2::basic::BasicClient;
use oauth2::{ClientId, CsrfToken, RedirectUrl, Scope};
use secrecy::{ExposeSecret, SecretString};

use super::accounts::Profile;
use super::client::{self, Code};
use super::desk::Desk;
use super::documents::{Known, Need};
use super::error::OidcError;
use super::http::is_safe_url;
use super::{unverified, userinfo};
use crate::domain::{Provider, ProviderIdentity, Refusal};

/// A browser that is to be sent to a provider.
#[derive(Debug)]
pub struct AuthorizationRequest {
    /// The provider.
    pub provider: Provider,
    /// Which of the Okta domains.
    pub okta_domain: Option<String>,
    /// What the callback brings back.
    pub state: String,
    /// What the ID token brings back.
    pub nonce: String,
    /// Base64url of the SHA-256 of the verifier (RFC 7636 §4.2).
    pub pkce_challenge: String,
}

/// A browser that has come back.
#[derive(Debug)]
pub struct AuthorizationResponse {
    /// The provider that it was sent to.
    pub provider: Provider,
    /// The Okta domain that it was sent to.
    pub okta_domain: Option<String>,
    /// The callback's `code`.
    pub code: SecretString,
    /// The verifier of the challenge that was sent.
    pub pkce_verifier: SecretString,
    /// The nonce that was sent.
    pub nonce: String,
    /// The callback's `iss` (RFC 9207).
    pub iss: Option<String>,
}

/// Our registration at a provider.
struct Registration<'a> {
    known: Arc<Known>,
    client_id: &'a str,
    secret: Option<&'a SecretString>,
}

/// The first of the client ids owns the secret and runs the flow.
async fn registration<'a>(
    desk: &'a Desk,
    provider: Provider,
    okta_domain: Option<&str>,
) -> Result<Registration<'a>, OidcError> {
    let settings = &desk.settings;
    let (known, client_ids, secret) = match provider {
        Provider::Google => {
            let google = settings.google()?;
            if google.client_secret.is_none() {
                // Google exchanges no code of a web app without it.
                return Err(OidcError::NotConfigured { provider, variable: "OAUTH_GOOGLE_CLIENT_SECRET" });
            }
            (desk.google()?.documents(Need::Endpoints).await?, &google.client_ids, &google.client_secret)
        }
        Provider::Microsoft => {
            let microsoft = settings.microsoft()?;
            (desk.microsoft()?.sign_in_documents().await?, &microsoft.client_ids, &microsoft.client_secret)
        }
        Provider::Okta => {
            let okta = settings.okta()?;
            (desk.okta(okta_domain)?.documents(Need::Endpoints).await?, &okta.client_ids, &okta.client_secret)
        }
    };
    let client_id = client_ids.first().map(String::as_str).unwrap_or_default();
    Ok(Registration { known, client_id, secret: secret.as_ref() })
}

fn callback(desk: &Desk, provider: Provider) -> String {
    format!("{}/auth/oauth/{provider}/callback", desk.settings.public_url)
}

pub(super) async fn authorization_url(desk: &Desk, request: AuthorizationRequest) -> Result<String, OidcError> {
    let AuthorizationRequest { provider, okta_domain, state, nonce, pkce_challenge } = request;
    let away = |cause: &str| OidcError::unavailable(provider, cause);
    let Registration { known, client_id, .. } = registration(desk, provider, okta_domain.as_deref()).await?;
    let endpoint = known.metadata.authorization_endpoint().clone();
    if !is_safe_url(endpoint.as_str()) {
        return Err(away("its authorization endpoint is no https URL"));
    }
    let redirect_uri = RedirectUrl::new(callback(desk, provider)).map_err(|_| away("PUBLIC_URL makes no callback"))?;
    let client =
        BasicClient::new(ClientId::new(client_id.to_owned())).set_auth_uri(endpoint).set_redirect_uri(redirect_uri);
    let mut asked = client
        .authorize_url(|| CsrfToken::new(state))
        .add_scopes(["openid", "email", "profile"].map(|scope| Scope::new(scope.to_owned())))
        .add_extra_param("nonce", nonce)
        .add_extra_param("code_challenge", pkce_challenge)
        .add_extra_param("code_challenge_method", "S256");
    let google = desk.settings.google.as_ref().filter(|_| provider == Provider::Google);
    if let Some(domain) = google.and_then(|google| google.hosted_domain.clone()) {
        asked = asked.add_extra_param("hd", domain);
    }
    let (url, _state) = asked.url();
    Ok(url.into())
}

pub(super) async fn redeem(desk: &Desk, response: AuthorizationResponse) -> Result<ProviderIdentity, OidcError> {
    let AuthorizationResponse { provider, okta_domain, code, pkce_verifier, nonce, iss } = response;
    let domain = okta_domain.as_deref();
    let Registration { known, client_id, secret } = registration(desk, provider, domain).await?;
    check_issuer(desk, provider, domain, &known, iss.as_deref())?;
    let caller = desk.http.of(provider);
    let code = Code { code: &code, pkce_verifier: &pkce_verifier, redirect_uri: callback(desk, provider) };
    let redeemed = client::redeem(caller, &known, client_id, secret, code).await?;
    let identity = desk.id_token(provider, domain, redeemed.id_token.expose_secret(), Some(&nonce)).await?;
    // Of Microsoft's tenants the token alone says which one it was.
    if iss.is_some_and(|issuer| issuer != identity.issuer) {
        return Err(Refusal::WrongIssuer.into());
    }
    let is_complete = identity.email.is_some() || provider == Provider::Microsoft;
    let is_usable = unverified::check_text(redeemed.access_token.expose_secret()).is_ok();
    if is_complete || !is_usable || known.metadata.userinfo_endpoint().is_none() {
        return Ok(identity);
    }
    // An ID token may be thin where an access token comes with it (OpenID Connect Core 1.0 §5.4).
    let asked = userinfo::ask(caller, &known, client_id, &redeemed.access_token, &identity.subject).await;
    match asked.map_err(OidcError::from) {
        Ok(account) => {
            let profile = Profile::from(account.standard_claims());
            let said = profile.identity(provider, &identity.issuer, &identity.subject);
            Ok(ProviderIdentity {
                full_name: said.full_name.or(identity.full_name),
                username_hint: said.username_hint.or(identity.username_hint),
                ..said
            })
        }
        Err(OidcError::Refused(Refusal::RejectedByProvider)) => Ok(identity),
        Err(error) => Err(error),
    }
}

/// Whether the provider that answered is the one that was asked (RFC 9207 §2.4), before the code is sent to it.
fn check_issuer(
    desk: &Desk,
    provider: Provider,
    okta_domain: Option<&str>,
    known: &Known,
    issuer: Option<&str>,
) -> Result<(), OidcError> {
    let is_promised = known.metadata.additional_metadata().authorization_response_iss_parameter_supported;
    let is_right = match (issuer, provider) {
        (None, _) => is_promised != Some(true),
        (Some(issuer), Provider::Google) => desk.google()?.is_issuer(issuer),
        (Some(issuer), Provider::Microsoft) => desk.microsoft()?.is_issuer(issuer),
        (Some(issuer), Provider::Okta) => desk.okta(okta_domain)?.is_issuer(issuer),
    };
    if is_right { Ok(()) } else { Err(Refusal::WrongIssuer.into()) }
}
