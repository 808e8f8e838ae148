//! What a provider says of the account that an access token is for (OpenID Connect Core 1.0 §5.3).

use openidconnect::core::{CoreClient, CoreGenderClaim};
use openidconnect::http::StatusCode;
use openidconnect::{AccessToken, ClaimsVerificationError, ClientId, SubjectIdentifier, UserInfoClaims, UserInfoError};
use secrecy::{ExposeSecret, SecretString};

use super::documents::Known;
use super::error::OidcError;
use super::http::Caller;
use super::token::Extra;
use crate::domain::Refusal;

/// What is said of an account.
pub(super) type UserInfo = UserInfoClaims<Extra, CoreGenderClaim>;

/// Why nothing is said.
pub(super) enum Unanswered {
    /// The token is good, but not for this (RFC 6750 §3.1, `insufficient_scope`).
    NotAllowed,
    /// Anything else.
    Other(OidcError),
}

impl From<OidcError> for Unanswered {
    fn from(error: OidcError) -> Self {
        Self::Other(error)
    }
}

impl From<Unanswered> for OidcError {
    fn from(error: Unanswered) -> Self {
        match error {
            Unanswered::NotAllowed => Refusal::RejectedByProvider.into(),
            Unanswered::Other(error) => error,
        }
    }
}

/// Asks about the account of this subject.
///
/// # Errors
/// The token is rejected or another subject's, or the provider is unavailable.
pub(super) async fn ask(
    caller: Caller<'_>,
    known: &Known,
    client_id: &str,
    token: &SecretString,
    subject: &str,
) -> Result<UserInfo, Unanswered> {
    let away = |cause: String| Unanswered::Other(OidcError::unavailable(caller.provider, cause));
    let endpoint = known.metadata.userinfo_endpoint().cloned();
    let endpoint = endpoint.ok_or_else(|| away("its discovery document names no userinfo endpoint".to_owned()))?;
    let client =
        CoreClient::new(ClientId::new(client_id.to_owned()), known.metadata.issuer().clone(), known.keys.clone())
            .set_user_info_url(endpoint);
    let token = AccessToken::new(token.expose_secret().to_owned());
    let request = client.user_info(token, Some(SubjectIdentifier::new(subject.to_owned())));
    request.request_async(&caller).await.map_err(|error| match error {
        UserInfoError::Request(error) => error.into(),
        UserInfoError::ClaimsVerification(ClaimsVerificationError::InvalidSubject(_)) => {
            OidcError::from(Refusal::WrongSubject).into()
        }
        UserInfoError::Response(StatusCode::FORBIDDEN, ..) => Unanswered::NotAllowed,
        UserInfoError::Response(status, ..) if status.is_client_error() => {
            OidcError::from(Refusal::RejectedByProvider).into()
        }
        UserInfoError::Response(_, _, message) => away(format!("userinfo: {message}")),
        // The others may repeat what is said of a person.
        _ => away("its userinfo can't be read".to_owned()),
    })
}
