//! The service's public keys (RFC 7517), fetched when a token names one that is not known.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken as jwt;
use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm};

use super::client::Client;
use super::settings::RemoteSettings;
use crate::domain::AccessClaims;
use crate::problem::ApiError;
use crate::verifier::{self, TokenError, Verifier, validation, verify_access};

/// Unknown keys are asked for no more often than this: anybody can make up a key's id.
const FETCH_EVERY: Duration = Duration::from_secs(10);

/// After a fetch that brought nothing the next one waits for so long.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Keys {
    verifiers: RwLock<Arc<Vec<Verifier>>>,
    last_fetch: Mutex<Option<Fetch>>,
    fetching: tokio::sync::Mutex<()>,
    issuer: String,
    audience: String,
}

#[derive(Clone, Copy)]
struct Fetch {
    at: Instant,
    brought_keys: bool,
}

impl Keys {
    pub(super) fn new(settings: &RemoteSettings) -> Self {
        Self {
            verifiers: RwLock::default(),
            last_fetch: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
        }
    }

    /// The claims of a well-signed token; the times are the caller's to judge.
    pub(super) async fn verify(&self, token: &str, client: &Client) -> Result<AccessClaims, ApiError> {
        let key_id = verifier::key_id(token)?.ok_or(TokenError::Invalid("Token names no key"))?;
        if !self.has(&key_id) {
            self.fetch(&key_id, client).await?;
        }
        let verifiers = Arc::clone(&self.verifiers.read().unwrap_or_else(PoisonError::into_inner));
        Ok(verify_access(token, &verifiers)?)
    }

    fn has(&self, key_id: &str) -> bool {
        let verifiers = self.verifiers.read().unwrap_or_else(PoisonError::into_inner);
        verifiers.iter().any(|verifier| verifier.key_id.as_deref() == Some(key_id))
    }

    /// One request at a time; who waited for it finds what it brought.
    async fn fetch(&self, key_id: &str, client: &Client) -> Result<(), ApiError> {
        let begun = Instant::now();
        let _one_at_a_time = self.fetching.lock().await;
        client.check_failed_since(begun)?;
        if self.has(key_id) {
            return Ok(());
        }
        let last = *self.last_fetch.lock().unwrap_or_else(PoisonError::into_inner);
        match last {
            Some(Fetch { at, brought_keys: true }) if at.elapsed() < FETCH_EVERY => return Ok(()),
            Some(Fetch { at, brought_keys: false }) if at.elapsed() < RETRY_AFTER => {
                return Err(ApiError::Unavailable("the service's keys could not be had a moment ago".into()));
            }
            _ => {}
        }
        let fetched = self.fetch_now(client).await;
        let this = Fetch { at: Instant::now(), brought_keys: fetched.is_ok() };
        *self.last_fetch.lock().unwrap_or_else(PoisonError::into_inner) = Some(this);
        fetched
    }

    async fn fetch_now(&self, client: &Client) -> Result<(), ApiError> {
        let set: JwkSet = client.key_set().await?;
        let verifiers: Vec<_> = set.keys.iter().filter_map(|jwk| self.verifier(jwk)).collect();
        if verifiers.is_empty() {
            return Err(ApiError::Unavailable(
                "the service publishes no key: an app that only verifies needs JWT_ALGORITHM=EdDSA, ES256 or RS256"
                    .into(),
            ));
        }
        *self.verifiers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(verifiers);
        Ok(())
    }

    /// Only public keys for signatures, of the algorithms that the service signs by.
    fn verifier(&self, jwk: &Jwk) -> Option<Verifier> {
        let algorithm = match jwk.common.key_algorithm? {
            KeyAlgorithm::RS256 => jwt::Algorithm::RS256,
            KeyAlgorithm::ES256 => jwt::Algorithm::ES256,
            KeyAlgorithm::EdDSA => jwt::Algorithm::EdDSA,
            _ => return None,
        };
        Some(Verifier {
            key_id: Some(jwk.common.key_id.clone()?),
            key: jwt::DecodingKey::from_jwk(jwk).ok()?,
            validation: validation(algorithm, &self.issuer, &self.audience),
        })
    }
}
