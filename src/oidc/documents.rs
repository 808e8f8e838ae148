//! Discovery documents and key sets: fetched once, kept, and fetched again when
//! they are old or a token names a key that is not among them.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
    CoreJsonWebKeySet, CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreJwsSigningAlgorithm,
    CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{AdditionalProviderMetadata, DiscoveryError, IssuerUrl, JsonWebKey, ProviderMetadata};
use serde::{Deserialize, Serialize};

use super::error::OidcError;
use super::http::Caller;
use crate::domain::Provider;

/// How long what was fetched is used without asking again.
const FRESH_FOR: Duration = Duration::from_secs(60 * 60);

/// How long it is used while the provider can't be asked.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Known documents are fetched again no more often than this: anybody can make up a key's id.
const REFETCH_EVERY: Duration = Duration::from_secs(10);

/// How long that may take where what is known would do.
const REFETCH_WITHIN: Duration = Duration::from_secs(2);

/// How many issuers are remembered; with `OAUTH_MICROSOFT_TENANTS=any` anybody can name one.
const MAX_ISSUERS: usize = 1000;

/// What a provider says of itself beside the standard's own (RFC 8414 §2, RFC 9207 §3).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct MoreMetadata {
    pub(super) introspection_endpoint: Option<String>,
    pub(super) authorization_response_iss_parameter_supported: Option<bool>,
}

impl AdditionalProviderMetadata for MoreMetadata {}

/// A discovery document (OpenID Connect Discovery 1.0 §3).
pub(super) type Metadata = ProviderMetadata<
    MoreMetadata,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// An issuer's endpoints and keys.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) metadata: Metadata,
    pub(super) keys: CoreJsonWebKeySet,
    fetched_at: Instant,
}

impl Known {
    fn new(metadata: Metadata, keys: CoreJsonWebKeySet) -> Self {
        Self { metadata, keys, fetched_at: Instant::now() }
    }

    /// The key of this id; without an id, the only one.
    pub(super) fn key(&self, key_id: Option<&str>) -> Option<&CoreJsonWebKey> {
        let keys = self.keys.keys();
        match key_id {
            Some(id) => keys.iter().find(|key| key.key_id().is_some_and(|known| known.as_str() == id)),
            None => keys.first().filter(|_| keys.len() == 1),
        }
    }

    /// Whether the issuer says that it signs by this algorithm.
    pub(super) fn signs_by(&self, algorithm: &CoreJwsSigningAlgorithm) -> bool {
        self.metadata.id_token_signing_alg_values_supported().contains(algorithm)
    }
}

/// What is needed of an issuer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Need<'a> {
    /// Its endpoints.
    Endpoints,
    /// Its keys, this one among them if it has it.
    Key(Option<&'a str>),
}

impl Need<'_> {
    fn is_met_by(self, known: &Known) -> bool {
        match self {
            Self::Endpoints | Self::Key(None) => true,
            Self::Key(id) => known.key(id).is_some(),
        }
    }
}

/// The documents of all issuers.
pub(super) struct Documents(quick_cache::sync::Cache<String, Arc<Source>>);

impl Documents {
    pub(super) fn new() -> Self {
        Self(quick_cache::sync::Cache::new(MAX_ISSUERS))
    }

    /// The documents of an issuer. A key that it does not have is no error.
    ///
    /// # Errors
    /// The provider is unavailable, and what is known of it does not do.
    pub(super) async fn of(
        &self,
        caller: Caller<'_>,
        issuer: &str,
        need: Need<'_>,
    ) -> Result<Arc<Known>, Undiscovered> {
        self.source(issuer).documents(need, || discover(caller, issuer), caller).await
    }

    /// The documents at a place whose issuer is a template: endpoints without keys.
    ///
    /// # Errors
    /// The provider is unavailable, and nothing is known of it.
    pub(super) async fn of_template(
        &self,
        caller: Caller<'_>,
        place: &str,
        template: &str,
    ) -> Result<Arc<Known>, Undiscovered> {
        self.source(place).documents(Need::Endpoints, || discover_template(caller, place, template), caller).await
    }

    fn source(&self, place: &str) -> Arc<Source> {
        let made = self.0.get_or_insert_with(place, || Ok::<_, std::convert::Infallible>(Arc::default()));
        match made {
            Ok(source) => source,
            Err(never) => match never {},
        }
    }
}

/// Why an issuer's documents can't be had.
#[derive(Debug, Clone)]
pub(super) enum Undiscovered {
    /// The provider says that there is no such issuer.
    NoSuchIssuer(Provider, String),
    /// Anything else.
    Unavailable(OidcError),
}

impl From<Undiscovered> for OidcError {
    fn from(error: Undiscovered) -> Self {
        match error {
            Undiscovered::NoSuchIssuer(provider, cause) => Self::unavailable(provider, cause),
            Undiscovered::Unavailable(error) => error,
        }
    }
}

/// One issuer: what is known of it, and who asks.
#[derive(Default)]
struct Source {
    known: RwLock<Option<Arc<Known>>>,
    last: Mutex<Option<Attempt>>,
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Attempt {
    ended: Instant,
    /// Whether something was known before.
    is_again: bool,
    failure: Option<Undiscovered>,
}

impl Source {
    async fn documents<F>(
        &self,
        need: Need<'_>,
        discover: impl Fn() -> F,
        caller: Caller<'_>,
    ) -> Result<Arc<Known>, Undiscovered>
    where
        F: Future<Output = Result<Known, Undiscovered>>,
    {
        let begun = Instant::now();
        if let Some(known) = self.fit(need) {
            return Ok(known);
        }
        let _one_at_a_time = self.fetching.lock().await;
        if let Some(known) = self.fit(need) {
            return Ok(known);
        }
        let held = self.held(KEPT_FOR);
        if let Some(last) = self.last_attempt() {
            // Who waited for an attempt takes what it brought.
            let is_shared = last.ended >= begun;
            let is_too_soon = held.is_some() && last.is_again && last.ended.elapsed() < REFETCH_EVERY;
            if is_shared || is_too_soon {
                match (held.clone(), last.failure) {
                    (Some(known), None) => return Ok(known),
                    (Some(known), Some(_)) if need.is_met_by(&known) => return Ok(known),
                    (_, Some(failure)) => return Err(failure),
                    (None, None) => {}
                }
            }
        }
        let cut = Cut { source: self, is_again: held.is_some(), provider: caller.provider };
        let outcome = self.fetch(held.as_ref(), discover, caller).await;
        cut.ended(outcome.as_ref().err().cloned());
        match outcome {
            Ok(known) => {
                let known = Arc::new(known);
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
                Ok(known)
            }
            Err(failure) => held.filter(|known| need.is_met_by(known)).ok_or(failure),
        }
    }

    /// All documents, or only the keys where the rest is fresh.
    async fn fetch<F>(
        &self,
        held: Option<&Arc<Known>>,
        discover: impl Fn() -> F,
        caller: Caller<'_>,
    ) -> Result<Known, Undiscovered>
    where
        F: Future<Output = Result<Known, Undiscovered>>,
    {
        let Some(held) = held else { return discover().await };
        let again = async {
            if held.fetched_at.elapsed() >= FRESH_FOR {
                return discover().await;
            }
            let keys = CoreJsonWebKeySet::fetch_async(held.metadata.jwks_uri(), &caller).await;
            let keys = keys.map_err(|error| undiscovered(caller.provider, error))?;
            Ok(Known { fetched_at: held.fetched_at, ..Known::new(held.metadata.clone(), keys) })
        };
        let late = |_| {
            let cause = "its keys could not be had in time";
            Undiscovered::Unavailable(OidcError::unavailable(caller.provider, cause))
        };
        tokio::time::timeout(REFETCH_WITHIN, again).await.map_err(late)?
    }

    /// What is known, where it is fresh and does.
    fn fit(&self, need: Need<'_>) -> Option<Arc<Known>> {
        self.held(FRESH_FOR).filter(|known| need.is_met_by(known))
    }

    fn held(&self, max_age: Duration) -> Option<Arc<Known>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        known.filter(|known| known.fetched_at.elapsed() < max_age)
    }

    fn last_attempt(&self) -> Option<Attempt> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An attempt that is on its way. Who is cut off while they wait for it leaves word for those behind them: each
/// would wait out the rest of their own time else, and be cut off, too.
struct Cut<'a> {
    source: &'a Source,
    is_again: bool,
    provider: Provider,
}

impl Cut<'_> {
    fn ended(self, failure: Option<Undiscovered>) {
        self.note(failure);
        std::mem::forget(self);
    }

    fn note(&self, failure: Option<Undiscovered>) {
        let attempt = Attempt { ended: Instant::now(), is_again: self.is_again, failure };
        *self.source.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(attempt);
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        let cause = "its discovery document could not be had in time";
        self.note(Some(Undiscovered::Unavailable(OidcError::unavailable(self.provider, cause))));
    }
}

async fn discover(caller: Caller<'_>, issuer: &str) -> Result<Known, Undiscovered> {
    let url = issuer_url(caller.provider, issuer)?;
    let metadata =
        Metadata::discover_async(url, &caller).await.map_err(|error| undiscovered(caller.provider, error))?;
    let keys = metadata.jwks().clone();
    Ok(Known::new(metadata, keys))
}

/// openidconnect refuses a document whose issuer is a template, as it must: no
/// token has such an issuer. Its endpoints are good for the browser flow; the
/// token that it ends in is verified by its own tenant's documents.
async fn discover_template(caller: Caller<'_>, place: &str, template: &str) -> Result<Known, Undiscovered> {
    let away = |cause: &str| Undiscovered::Unavailable(OidcError::unavailable(caller.provider, cause));
    let url = format!("{place}/.well-known/openid-configuration");
    let mut request = openidconnect::HttpRequest::new(Vec::new());
    *request.uri_mut() = url.parse().map_err(|_| away("its discovery URL is no URL"))?;
    let answer = caller.send(request).await.map_err(Undiscovered::Unavailable)?;
    let metadata: Metadata = Some(answer)
        .filter(|answer| answer.status().is_success())
        .and_then(|answer| serde_json::from_slice(answer.body()).ok())
        .ok_or_else(|| away("its discovery document can't be read"))?;
    if metadata.issuer().as_str() != template {
        return Err(away("its discovery document names another issuer"));
    }
    Ok(Known::new(metadata, CoreJsonWebKeySet::default()))
}

fn issuer_url(provider: Provider, issuer: &str) -> Result<IssuerUrl, Undiscovered> {
    IssuerUrl::new(issuer.to_owned())
        .map_err(|_| Undiscovered::Unavailable(OidcError::unavailable(provider, "its issuer is no URL")))
}

fn undiscovered(provider: Provider, error: DiscoveryError<OidcError>) -> Undiscovered {
    let cause = match error {
        DiscoveryError::Request(error) => return Undiscovered::Unavailable(error),
        DiscoveryError::Response(status, _, message) if status.is_client_error() => {
            return Undiscovered::NoSuchIssuer(provider, message);
        }
        DiscoveryError::Parse(error) => format!("its document can't be read: {error}"),
        other => other.to_string(),
    };
    Undiscovered::Unavailable(OidcError::unavailable(provider, cause))
}
