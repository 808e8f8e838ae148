//! Sign-in by a browser: from a page to the provider, back to us, and with a one-time code back to the page
//! (RFC 6749 §4.1, RFC 7636, RFC 9207, RFC 9700).
//!
//! No token and no secret ever stands in a URL but the state and the code, which work once and only in the
//! hands of the browser, and of the page, that began. What is secret towards the provider is computed from the
//! state. Every step may come to another instance.

use std::time::Duration;

use aws_lc_rs::{constant_time, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};

use super::keys::hash_token;
use super::{Identities, ServiceError, ServiceResult};
use crate::domain::{FieldCode, FieldError, Provider, ProviderIdentity};
use crate::oidc::{AuthorizationRequest, AuthorizationResponse, Verified};
use crate::store::{OauthCode, OauthFlow};

/// How long somebody may take at the provider.
const FLOW_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// How long a page may take to exchange its code.
const CODE_LIFETIME: Duration = Duration::from_secs(60);

/// What a page asks for.
#[derive(Debug, Clone)]
pub struct FlowRequest {
    /// Where to sign in.
    pub provider: Provider,
    /// At which domain, with Okta.
    pub okta_domain: Option<String>,
    /// Where it ends.
    pub redirect_uri: String,
    /// What the page wants back.
    pub page_state: String,
    /// The page's challenge (RFC 7636, S256).
    pub code_challenge: String,
}

/// What a provider sends a browser back with.
pub struct Callback {
    /// Of which provider's callback.
    pub provider: Provider,
    /// The state that we sent.
    pub state: String,
    /// A code, or the provider's error.
    pub answer: Result<SecretString, String>,
    /// Who answers (RFC 9207).
    pub iss: Option<String>,
}

/// How a callback ended: the browser goes back to its page either way.
pub struct CallbackEnd {
    /// The page.
    pub redirect_uri: String,
    /// What it wants back.
    pub page_state: String,
    /// A code for the page and who signed in, or why nobody did.
    pub result: ServiceResult<(String, ProviderIdentity)>,
}

/// 32 random bytes as 43 characters of base64url.
pub fn random_text() -> ServiceResult<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| ServiceError::Unavailable("the system gives no random bytes".into()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Whether it is what [`random_text`], or a S256 challenge, looks like.
pub fn is_random_text(text: &str) -> bool {
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 32)
}

fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(hash_token(verifier).0)
}

impl Identities {
    /// Begins a sign-in of this browser; gives the provider's URL.
    ///
    /// # Errors
    /// The page is not of the allow-list, the challenge is none, or the provider is away or not set up.
    pub async fn begin_flow(&self, request: FlowRequest, browser: &str) -> ServiceResult<String> {
        if !self.settings.redirect_allowlist.contains(&request.redirect_uri) {
            return Err(ServiceError::RedirectNotAllowed);
        }
        if !is_random_text(&request.code_challenge) {
            let message = "Expected the S256 challenge (RFC 7636): 43 characters of base64url";
            return Err(ServiceError::Field(FieldError::new("code_challenge", FieldCode::Invalid, message)));
        }
        let okta_domain = match request.provider {
            Provider::Okta => Some(self.providers.okta_domain(request.okta_domain.as_deref())?),
            _ => None,
        };
        let state = random_text()?;
        let (nonce, verifier) = self.secrets_of(&state);
        let location = self
            .providers
            .authorization_url(AuthorizationRequest {
                provider: request.provider,
                okta_domain: okta_domain.clone(),
                state: state.clone(),
                nonce,
                pkce_challenge: challenge_of(&verifier),
            })
            .await?;
        let flow = OauthFlow {
            provider: request.provider,
            okta_domain,
            redirect_uri: request.redirect_uri,
            page_state: request.page_state,
            code_challenge: request.code_challenge,
        };
        let until = self.tokens.now().plus(FLOW_LIFETIME);
        self.store.begin_oauth_flow(hash_token(&state), hash_token(browser), flow, until).await?;
        Ok(location)
    }

    /// Takes a browser back from the provider.
    ///
    /// # Errors
    /// `InvalidState`: this browser has begun no such sign-in, or it is over; or the database is away. Nothing else
    /// is an error here: the page is told.
    pub async fn end_flow(&self, callback: Callback, browser: &str) -> ServiceResult<CallbackEnd> {
        let taken =
            self.store.take_oauth_flow(hash_token(&callback.state), hash_token(browser), self.tokens.now()).await?;
        let flow = taken.filter(|flow| flow.provider == callback.provider).ok_or(ServiceError::InvalidState)?;
        let result = match self.redeem(&flow, callback).await {
            Ok(identity) => Ok((self.keep_code(&flow, identity.clone()).await?, identity)),
            Err(error) => Err(error),
        };
        Ok(CallbackEnd { redirect_uri: flow.redirect_uri, page_state: flow.page_state, result })
    }

    async fn redeem(&self, flow: &OauthFlow, callback: Callback) -> ServiceResult<ProviderIdentity> {
        let code = callback.answer.map_err(ServiceError::ProviderError)?;
        let (nonce, verifier) = self.secrets_of(&callback.state);
        let response = AuthorizationResponse {
            provider: flow.provider,
            okta_domain: flow.okta_domain.clone(),
            code,
            pkce_verifier: verifier.into(),
            nonce,
            iss: callback.iss,
        };
        Ok(self.providers.redeem(response).await?)
    }

    async fn keep_code(&self, flow: &OauthFlow, identity: ProviderIdentity) -> ServiceResult<String> {
        let code = random_text()?;
        let stands_for = OauthCode { code_challenge: flow.code_challenge.clone(), identity };
        self.store.keep_oauth_code(hash_token(&code), stands_for, self.tokens.now().plus(CODE_LIFETIME)).await?;
        Ok(code)
    }

    /// Whom a page's code stands for. It is used by that, whether or not the verifier fits.
    ///
    /// # Errors
    /// `InvalidGrant`: there is no such code (any more), or the verifier does not fit; or the database is away.
    pub async fn exchange(&self, code: &SecretString, verifier: &SecretString) -> ServiceResult<Verified> {
        if !is_random_text(code.expose_secret()) {
            return Err(ServiceError::InvalidGrant);
        }
        let taken = self.store.take_oauth_code(hash_token(code.expose_secret()), self.tokens.now()).await?;
        let taken = taken.ok_or(ServiceError::InvalidGrant)?;
        let challenge = challenge_of(verifier.expose_secret());
        constant_time::verify_slices_are_equal(challenge.as_bytes(), taken.code_challenge.as_bytes())
            .map_err(|_| ServiceError::InvalidGrant)?;
        Ok(Self::proved(taken.identity))
    }

    /// The nonce, and the verifier of our own challenge towards the provider.
    fn secrets_of(&self, state: &str) -> (String, String) {
        let keys = &self.tokens.inner.keys;
        (keys.flow_secret(b"nonce", state), keys.flow_secret(b"verifier", state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_the_standards() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge_of(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert!(is_random_text(&challenge_of(verifier)));
        assert!(is_random_text(&random_text().unwrap()));
        for other in ["", "short", &"a".repeat(44), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM"] {
            assert!(!is_random_text(other), "{other}");
        }
    }
}
