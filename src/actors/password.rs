//! Password hashing, on threads of its own and at a low priority: a login
//! storm slows logins and nothing else.

use std::sync::Arc;

use actix::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::vital::{Lifecycle, Vital};
use super::{PasswordSettings, ServiceError, ServiceResult};
use crate::domain::{MAX_PASSWORD_BYTES, NewPassword, normalize_password};

/// How many hashes may wait for each thread before callers are sent away:
/// about 20 s of work at the default cost, less than a client waits.
const WAITING_PER_THREAD: usize = 64;

/// The niceness of the hashing threads.
const NICENESS: i32 = 10;

/// Hashes and verifies passwords with bcrypt. Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    hasher: Addr<Hasher>,
    // The arbiter's queue is unbounded: this bounds it.
    places: Arc<Semaphore>,
    // What an unknown user's password is verified against, so that it takes as long.
    stand_in: Arc<SecretString>,
}

impl Passwords {
    /// Starts the hashing threads; must be called within an actix system.
    ///
    /// # Errors
    /// The cost is none that bcrypt knows.
    pub fn start(settings: PasswordSettings, lifecycle: &Lifecycle) -> Result<Self, bcrypt::BcryptError> {
        // The cost is written in the hash; making one of the full cost would hold up the start.
        let cheap = bcrypt::hash(uuid::Uuid::now_v7().to_string(), 4)?;
        let stand_in = cheap.replacen("$04$", &format!("${:02}$", settings.cost), 1);
        let lifecycle = lifecycle.clone();
        let hasher = SyncArbiter::start(settings.threads, move || Hasher {
            cost: settings.cost,
            _vital: lifecycle.vital("password"),
        });
        let places = Arc::new(Semaphore::new(settings.threads * WAITING_PER_THREAD));
        Ok(Self { hasher, places, stand_in: Arc::new(stand_in.into()) })
    }

    /// The bcrypt hash of a new password.
    ///
    /// # Errors
    /// `Overloaded`: too many wait.
    pub async fn hash(&self, password: NewPassword) -> ServiceResult<SecretString> {
        let _place = self.places.try_acquire().map_err(|_| ServiceError::Overloaded)?;
        self.hasher.send(Hash(password)).await?
    }

    /// Whether the password is the one of the hash. Without a hash (an unknown,
    /// deactivated or provider-only account) it takes the same time and is not.
    ///
    /// # Errors
    /// `Overloaded`: too many wait.
    pub async fn verify(&self, password: &SecretString, hash: Option<SecretString>) -> ServiceResult<bool> {
        let _place = self.places.try_acquire().map_err(|_| ServiceError::Overloaded)?;
        let password = normalize_password(password.expose_secret());
        // bcrypt would cut it and might then find it right.
        let is_too_long = password.expose_secret().len() > MAX_PASSWORD_BYTES;
        let can_match = hash.is_some() && !is_too_long;
        let hash = hash.unwrap_or_else(|| SecretString::clone(&self.stand_in));
        let is_right = self.hasher.send(Verify { password, hash }).await??;
        Ok(is_right && can_match)
    }
}

#[derive(Message)]
#[rtype(result = "ServiceResult<SecretString>")]
struct Hash(NewPassword);

#[derive(Message)]
#[rtype(result = "ServiceResult<bool>")]
struct Verify {
    password: SecretString,
    hash: SecretString,
}

struct Hasher {
    cost: u32,
    _vital: Vital,
}

impl Actor for Hasher {
    type Context = SyncContext<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        // On Linux the niceness is the thread's own.
        if let Err(error) = rustix::process::nice(NICENESS) {
            log::warn!("password hashing runs at normal priority: {error}");
        }
    }
}

impl Handler<Hash> for Hasher {
    type Result = ServiceResult<SecretString>;

    fn handle(&mut self, Hash(password): Hash, _: &mut Self::Context) -> Self::Result {
        bcrypt::hash(password.secret().expose_secret(), self.cost)
            .map(SecretString::from)
            .map_err(|error| ServiceError::Unavailable(format!("bcrypt: {error}")))
    }
}

impl Handler<Verify> for Hasher {
    type Result = ServiceResult<bool>;

    fn handle(&mut self, message: Verify, _: &mut Self::Context) -> Self::Result {
        bcrypt::verify(message.password.expose_secret(), message.hash.expose_secret())
            .map_err(|error| ServiceError::Unavailable(format!("bcrypt: {error}")))
    }
}
