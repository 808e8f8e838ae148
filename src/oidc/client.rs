//! What our own registration at a provider does: exchanges codes and introspects tokens, by oauth2.

use oauth2::basic::{BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse, BasicTokenType};
use oauth2::{
    AccessToken, AuthType, AuthorizationCode, ClientId, ClientSecret, ExtraTokenFields, IntrospectionUrl,
    PkceCodeVerifier, RedirectUrl, RequestTokenError, StandardRevocableToken, StandardTokenIntrospectionResponse,
    StandardTokenResponse, TokenIntrospectionResponse, TokenResponse,
};
use openidconnect::core::CoreClientAuthMethod;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::documents::Known;
use super::error::OidcError;
use super::http::Caller;
use crate::domain::{Refusal, Timestamp};

type Client = oauth2::Client<
    BasicErrorResponse,
    StandardTokenResponse<IdTokenField, BasicTokenType>,
    StandardTokenIntrospectionResponse<OktaFields, BasicTokenType>,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

/// The ID token of a token response, as text: it is verified like any other (OpenID Connect Core 1.0 §3.1.3.3).
#[derive(Debug, Deserialize, Serialize)]
struct IdTokenField {
    #[serde(skip_serializing)]
    id_token: Option<SecretString>,
}

impl ExtraTokenFields for IdTokenField {}

#[derive(Debug, Deserialize, Serialize)]
struct OktaFields {
    uid: Option<String>,
}

impl ExtraTokenFields for OktaFields {}

/// What introspection says of a token (RFC 7662 §2.2).
pub(super) struct Introspected {
    pub(super) is_active: bool,
    pub(super) is_bearer: bool,
    pub(super) client_id: Option<String>,
    pub(super) issuer: Option<String>,
    pub(super) ends: Option<Timestamp>,
    pub(super) user: Option<String>,
    pub(super) scopes: Option<Vec<String>>,
}

/// The tokens that a code was exchanged for.
pub(super) struct Redeemed {
    pub(super) id_token: SecretString,
    pub(super) access_token: SecretString,
}

/// A code as it came back, and what belongs to it.
pub(super) struct Code<'a> {
    pub(super) code: &'a SecretString,
    pub(super) pkce_verifier: &'a SecretString,
    pub(super) redirect_uri: String,
}

/// Exchanges a code (RFC 6749 §4.1.3, RFC 7636 §4.5).
///
/// # Errors
/// The code is rejected, or the provider is unavailable.
pub(super) async fn redeem(
    caller: Caller<'_>,
    known: &Known,
    client_id: &str,
    secret: Option<&SecretString>,
    code: Code<'_>,
) -> Result<Redeemed, OidcError> {
    let away = |cause: &str| OidcError::unavailable(caller.provider, cause);
    let endpoint = known.metadata.token_endpoint().cloned();
    let endpoint = endpoint.ok_or_else(|| away("its discovery document names no token endpoint"))?;
    let redirect_uri = RedirectUrl::new(code.redirect_uri).map_err(|_| away("PUBLIC_URL makes no callback"))?;
    let answer = client(known, client_id, secret)
        .set_token_uri(endpoint)
        .set_redirect_uri(redirect_uri)
        .exchange_code(AuthorizationCode::new(code.code.expose_secret().to_owned()))
        .set_pkce_verifier(PkceCodeVerifier::new(code.pkce_verifier.expose_secret().to_owned()))
        .request_async(&caller)
        .await
        .map_err(|error| refused(caller, error))?;
    let access_token = answer.access_token().secret().clone().into();
    let id_token = answer.extra_fields().id_token.clone();
    Ok(Redeemed { id_token: id_token.ok_or_else(|| away("it sent no ID token"))?, access_token })
}

/// Asks about a token that only the provider can read.
///
/// # Errors
/// The provider is unavailable.
pub(super) async fn introspect(
    caller: Caller<'_>,
    known: &Known,
    client_id: &str,
    secret: Option<&SecretString>,
    token: &SecretString,
) -> Result<Introspected, OidcError> {
    let away = |cause: &str| OidcError::unavailable(caller.provider, cause);
    let endpoint = known.metadata.additional_metadata().introspection_endpoint.clone();
    let endpoint = endpoint.and_then(|url| IntrospectionUrl::new(url).ok());
    let endpoint = endpoint.ok_or_else(|| away("its discovery document names no introspection endpoint"))?;
    let token = AccessToken::new(token.expose_secret().to_owned());
    let answer = client(known, client_id, secret)
        .set_introspection_url(endpoint)
        .introspect(&token)
        .set_token_type_hint("access_token")
        .request_async(&caller)
        .await
        .map_err(|error| refused(caller, error))?;
    Ok(Introspected {
        is_active: answer.active(),
        is_bearer: answer.token_type().is_some_and(|kind| *kind == BasicTokenType::Bearer),
        client_id: answer.client_id().map(|id| id.to_string()),
        issuer: answer.iss().map(str::to_owned),
        ends: answer.exp().map(Timestamp::from),
        user: answer.extra_fields().uid.clone(),
        scopes: answer.scopes().map(|scopes| scopes.iter().map(|scope| scope.to_string()).collect()),
    })
}

fn client(known: &Known, client_id: &str, secret: Option<&SecretString>) -> Client {
    let client = Client::new(ClientId::new(client_id.to_owned())).set_auth_type(auth_type(known));
    match secret {
        Some(secret) => client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned())),
        None => client,
    }
}

/// By a header, as RFC 6749 §2.3.1 prefers, unless the provider takes only the body.
fn auth_type(known: &Known) -> AuthType {
    let methods = known.metadata.token_endpoint_auth_methods_supported();
    let takes = |method| methods.is_none_or(|methods| methods.contains(&method));
    if !takes(CoreClientAuthMethod::ClientSecretBasic) && takes(CoreClientAuthMethod::ClientSecretPost) {
        AuthType::RequestBody
    } else {
        AuthType::BasicAuth
    }
}

/// A code that is not good is a refusal; anything else is ours or the provider's fault.
fn refused(caller: Caller<'_>, error: RequestTokenError<OidcError, BasicErrorResponse>) -> OidcError {
    match error {
        RequestTokenError::Request(error) => error,
        RequestTokenError::ServerResponse(answer) if *answer.error() == BasicErrorResponseType::InvalidGrant => {
            Refusal::RejectedByProvider.into()
        }
        RequestTokenError::ServerResponse(answer) => {
            OidcError::unavailable(caller.provider, format!("it refuses our client: {}", answer.error().as_ref()))
        }
        // The others may repeat what was sent.
        _ => OidcError::unavailable(caller.provider, "its answer can't be read"),
    }
}
