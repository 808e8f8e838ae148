//! The handle: one question, who is it, for each kind of credential.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::desk::Desk;
use super::documents::Documents;
use super::error::{OidcError, StartError};
use super::flow::{self, AuthorizationRequest, AuthorizationResponse};
use super::http::{Http, TOTAL_TIMEOUT};
use super::settings::OidcSettings;
use super::token::{CLOCK_SKEW, MAX_AGE};
use crate::clock::SharedClock;
use crate::domain::{Provider, ProviderIdentity, Timestamp};

/// A token that a client hands in.
#[derive(Debug)]
pub struct Credential {
    /// Whose token it is said to be.
    pub provider: Provider,
    /// Which of the Okta domains it is said to be from.
    pub okta_domain: Option<String>,
    /// The token.
    pub token: ProviderToken,
}

/// The kinds of token.
#[derive(Debug)]
pub enum ProviderToken {
    /// An access token (RFC 6749 §1.4).
    Access(SecretString),
    /// An ID token (OpenID Connect Core 1.0 §2), and the nonce that it was asked for with.
    Id {
        /// The token.
        token: SecretString,
        /// What the client remembers.
        nonce: Option<String>,
    },
}

/// Whose token it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who it is.
    pub identity: ProviderIdentity,
    /// For an ID token: that it is accepted once is for the caller to see to.
    pub once: Option<Once>,
}

/// What an ID token is known again by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Once {
    /// SHA-256 of the signed text; not of the signature, which for ECDSA has a second form.
    pub digest: [u8; 32],
    /// From then on the token is refused as too old.
    pub until: Timestamp,
}

/// Sign-in by providers; cheap to clone.
#[derive(Clone)]
pub struct Providers {
    settings: Arc<OidcSettings>,
    running: Option<Arc<Running>>,
}

/// The desk and its own thread, so that no thread that serves requests waits for a provider.
struct Running {
    desk: Arc<Desk>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Providers {
    /// Reads no document yet: a provider that is away does not stop the start.
    ///
    /// # Errors
    /// No thread can be made, or no HTTP client. Without authorities of the system there is a warning, and each
    /// sign-in by TLS is unavailable.
    pub fn new(settings: OidcSettings, clock: SharedClock) -> Result<Self, StartError> {
        let settings = Arc::new(settings);
        let is_any_on = Provider::ALL.into_iter().any(|provider| settings.missing(provider).is_none());
        if !is_any_on {
            return Ok(Self { settings, running: None });
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("providers")
            .enable_all()
            .build()
            .map_err(|error| StartError(format!("no thread can be made: {error}")))?;
        let http = Http::new()?;
        let desk = Desk { settings: Arc::clone(&settings), clock, http, documents: Documents::new() };
        Ok(Self { settings, running: Some(Arc::new(Running { desk: Arc::new(desk), runtime: Some(runtime) })) })
    }

    /// Whether people can sign in by this provider.
    pub fn is_configured(&self, provider: Provider) -> bool {
        self.settings.missing(provider).is_none()
    }

    /// The entry of `OAUTH_OKTA_DOMAIN` that a sign-in is about, before anything is stored.
    ///
    /// # Errors
    /// Okta is off, or the domain is not in the list, or absent where there are several.
    pub fn okta_domain(&self, asked: Option<&str>) -> Result<String, OidcError> {
        self.settings.okta()?.domain(asked).map(str::to_owned).map_err(OidcError::OktaDomain)
    }

    /// Whose token is it, and was it meant for us?
    ///
    /// # Errors
    /// The provider is off or unavailable, the Okta domain is not ours, or the token is refused.
    pub async fn verify(&self, credential: Credential) -> Result<Verified, OidcError> {
        self.run(credential.provider, |desk| async move { desk.verify(&credential).await }).await
    }

    /// Where to send the browser (OpenID Connect Core 1.0 §3.1.2.1, with PKCE's S256 of RFC 7636).
    ///
    /// # Errors
    /// The provider is off or unavailable, or the Okta domain is not ours.
    pub async fn authorization_url(&self, request: AuthorizationRequest) -> Result<String, OidcError> {
        self.run(request.provider, |desk| async move { flow::authorization_url(&desk, request).await }).await
    }

    /// Who has come back with a code.
    ///
    /// # Errors
    /// The provider is off or unavailable, the Okta domain is not ours, or the code, the issuer or the token is
    /// refused.
    pub async fn redeem(&self, response: AuthorizationResponse) -> Result<ProviderIdentity, OidcError> {
        self.run(response.provider, |desk| async move { flow::redeem(&desk, response).await }).await
    }

    /// Runs on the module's own thread, within the time that a sign-in may take.
    async fn run<T, F>(&self, provider: Provider, work: impl FnOnce(Arc<Desk>) -> F) -> Result<T, OidcError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, OidcError>> + Send + 'static,
    {
        if let Some(variable) = self.settings.missing(provider) {
            return Err(OidcError::NotConfigured { provider, variable });
        }
        let away = |cause: String| OidcError::unavailable(provider, cause);
        let running = self.running.as_ref().and_then(|running| Some((&running.desk, running.runtime.as_ref()?)));
        let (desk, runtime) = running.ok_or_else(|| away("sign-in by providers is stopped".to_owned()))?;
        let work = work(Arc::clone(desk));
        let outcome = runtime.spawn(async { tokio::time::timeout(TOTAL_TIMEOUT, work).await }).await;
        outcome
            .map_err(|error| away(format!("a sign-in was cut short: {error}")))?
            .unwrap_or_else(|_| Err(away(format!("no answer within {} seconds", TOTAL_TIMEOUT.as_secs()))))
    }
}

impl Desk {
    async fn verify(&self, credential: &Credential) -> Result<Verified, OidcError> {
        let (provider, domain) = (credential.provider, credential.okta_domain.as_deref());
        match &credential.token {
            ProviderToken::Access(token) => {
                Ok(Verified { identity: self.access_token(provider, domain, token).await?, once: None })
            }
            ProviderToken::Id { token, nonce } => {
                let token = token.expose_secret();
                let identity = self.id_token(provider, domain, token, nonce.as_deref()).await?;
                Ok(Verified { identity, once: Some(self.once(token)) })
            }
        }
    }

    fn once(&self, token: &str) -> Once {
        use aws_lc_rs::digest;
        let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, signed.as_bytes()).as_ref());
        // Its `iat` may lie ahead by the skew, and another instance's clock behind by it.
        Once { digest: bytes, until: self.clock.now().plus(MAX_AGE).plus(CLOCK_SKEW * 2) }
    }
}
