//! Guards without a store: tokens are checked by the service's public keys,
//! what their owners may is asked of the service.
//!
//! Every token is shown to the service once, and again after
//! [`RemoteSettings::max_age`]: so an ended session, a deactivated user and a
//! role taken away hold here no later than that. While the service is away,
//! what is held stands until then; after that the answer is 503.

mod account;
mod client;
mod keys;
mod settings;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use quick_cache::sync::Cache;

pub(super) use account::Account;
pub use settings::RemoteSettings;

use super::bearer::bearer;
use super::{Principal, Requirement};
use crate::clock::{Clock, SystemClock};
use crate::problem::ApiError;
use crate::verifier::check_times;
use client::{Answer, Client};
use keys::Keys;

/// How long a name that the service does not know is not asked about again: it may be made meanwhile.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// As many questions as the service takes at once.
const MAX_QUESTIONS: usize = 100;

/// Names that the service does not know, of which that is remembered: an app may ask what its callers name.
const MAX_UNKNOWN: usize = 1_000;

pub(super) struct Remote {
    client: Client,
    keys: Keys,
    accounts: Cache<String, Arc<Account>>,
    /// What this app has asked about so far: it is asked about every token at
    /// once, so that each token costs one request and not one a question.
    asked: Mutex<Vec<Requirement>>,
    /// What the service does not know, since when: nobody has it.
    unknown: Cache<Requirement, Instant>,
    max_age: Duration,
}

impl Remote {
    pub(super) fn new(settings: RemoteSettings) -> Result<Self, String> {
        Ok(Self {
            client: Client::new(&settings)?,
            keys: Keys::new(&settings),
            accounts: Cache::new(settings.max_tokens),
            asked: Mutex::default(),
            unknown: Cache::new(MAX_UNKNOWN),
            max_age: settings.max_age,
        })
    }

    /// The principal of a token about which a fresh answer is held.
    pub(super) fn authenticate_held(&self, request: &HttpRequest) -> Option<Result<Principal, ApiError>> {
        let token = match bearer(request) {
            Ok(token) => token,
            Err(refusal) => return Some(Err(refusal)),
        };
        let account = self.accounts.get(token)?;
        if let Err(refusal) = account.check_times() {
            return Some(Err(refusal.into()));
        }
        account.is_fresh().then(|| Ok(Principal::remote(account)))
    }

    /// The principal of a token.
    pub(super) async fn authenticate(self: &Arc<Self>, request: &HttpRequest) -> Result<Principal, ApiError> {
        let token = bearer(request)?;
        let account = match self.accounts.get(token) {
            Some(account) => account,
            None => {
                let claims = self.keys.verify(token, &self.client).await?;
                check_times(SystemClock.now(), claims.iat, claims.nbf, claims.exp)?;
                let account = Arc::new(Account::new(Arc::clone(self), token, claims));
                // Of several who come with a new token at once, the first one's stays.
                match self.accounts.get_or_insert_with(token, || Ok::<_, ApiError>(account)) {
                    Ok(account) => account,
                    Err(error) => return Err(error),
                }
            }
        };
        account.check_times()?;
        account.confirm().await?;
        Ok(Principal::remote(account))
    }

    /// What to ask about a token: everything that was asked before, and what is new.
    fn questions(&self, new: &[&Requirement]) -> Vec<Requirement> {
        let mut asked = self.asked();
        for question in new {
            if !asked.contains(question) && !self.is_unknown(question) {
                if asked.len() == MAX_QUESTIONS {
                    asked.remove(0);
                }
                asked.push((*question).clone());
            }
        }
        asked.clone()
    }

    fn asked(&self) -> MutexGuard<'_, Vec<Requirement>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_unknown(&self, question: &Requirement) -> bool {
        self.unknown.get(question).is_some_and(|since| since.elapsed() < ASK_AGAIN_AFTER)
    }

    /// The service knows no such permissions or roles.
    fn note_unknown(&self, questions: &[Requirement], places: &[usize]) {
        for question in places.iter().filter_map(|place| questions.get(*place)) {
            log::error!("the service knows no {question:?}: nobody is let in by it");
            self.asked().retain(|known| known != question);
            self.unknown.insert(question.clone(), Instant::now());
        }
    }
}
