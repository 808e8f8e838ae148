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
    stand_in: StandIn,
}

/// What an unknown user's password is verified against, so that it takes as long as a known one's.
#[derive(Clone)]
struct StandIn {
    /// A well-formed hash of the least cost: the cost is written in it, and making one of the full cost
    /// would hold up the start.
    cheap: Arc<str>,
    /// `PASSWORD_BCRYPT_COST`, of new hashes too.
    cost: u32,
}

impl StandIn {
    fn of_cost(&self, cost: u32) -> String {
        self.cheap.replacen("$04$", &format!("${cost:02}$"), 1)
    }

    /// Does the work that a hash of a lower cost has left undone: 2^c and 2^c + 2^(c+1) + ... + 2^(C-1)
    /// are 2^C. Else accounts from before the cost was raised would be told by the time of a refusal.
    fn make_up_for(&self, hash: &str, password: &str) {
        for cost in cost_of(hash).unwrap_or(self.cost)..self.cost {
            // Whatever it says, it is not asked for.
            let _ = bcrypt::verify(password, &self.of_cost(cost));
        }
    }
}

/// The cost that a bcrypt hash was made with: the 12 of `$2b$12$...`.
fn cost_of(hash: &str) -> Option<u32> {
    hash.split('$').nth(2)?.parse().ok()
}

impl Passwords {
    /// Starts the hashing threads; must be called within an actix system.
    ///
    /// # Errors
    /// The cost is none that bcrypt knows.
    pub fn start(settings: PasswordSettings, lifecycle: &Lifecycle) -> Result<Self, bcrypt::BcryptError> {
        let cheap = bcrypt::hash(uuid::Uuid::now_v7().to_string(), 4)?.into();
        let stand_in = StandIn { cheap, cost: settings.cost };
        let (lifecycle, of_hasher) = (lifecycle.clone(), stand_in.clone());
        let hasher = SyncArbiter::start(settings.threads, move || Hasher {
            stand_in: of_hasher.clone(),
            _vital: lifecycle.vital("password"),
        });
        let places = Arc::new(Semaphore::new(settings.threads * WAITING_PER_THREAD));
        Ok(Self { hasher, places, stand_in })
    }

    /// The bcrypt hash of a new password.
    ///
    /// # Errors
    /// `Overloaded`: too many wait.
    pub async fn hash(&self, password: NewPassword) -> ServiceResult<SecretString> {
        let _place = self.places.try_acquire().map_err(|_| ServiceError::Overloaded)?;
        self.hasher.send(Hash(password.secret().clone())).await?
    }

    /// The hash of a password that was just found right, where its present one is of another cost
    /// than `PASSWORD_BCRYPT_COST`.
    ///
    /// # Errors
    /// `Overloaded`: too many wait.
    pub async fn renew(&self, password: &SecretString, hash: &SecretString) -> ServiceResult<Option<SecretString>> {
        if cost_of(hash.expose_secret()) == Some(self.stand_in.cost) {
            return Ok(None);
        }
        let _place = self.places.try_acquire().map_err(|_| ServiceError::Overloaded)?;
        self.hasher.send(Hash(normalize_password(password.expose_secret()))).await?.map(Some)
    }

    /// Whether the password is the one of the hash. Without a hash (an unknown,
    /// deactivated or provider-only account) it takes the same time and is not.
    ///
    /// # Errors
    /// `Overloaded`: too many wait.
    pub async fn verify(&self, password: &SecretString, hash: Option<SecretString>) -> ServiceResult<bool> {
        let _place = self.places.try_acquire().map_err(|_| ServiceError::Overloaded)?;
        let password = normalize_password(password.expose_secret());
        // bcrypt would cut it, or end it at a NUL and begin anew, and might then find it right.
        let text = password.expose_secret();
        let is_possible = text.len() <= MAX_PASSWORD_BYTES && !text.contains('\0');
        let can_match = hash.is_some() && is_possible;
        let hash = hash.unwrap_or_else(|| self.stand_in.of_cost(self.stand_in.cost).into());
        let is_right = self.hasher.send(Verify { password, hash }).await??;
        Ok(is_right && can_match)
    }
}

#[derive(Message)]
#[rtype(result = "ServiceResult<SecretString>")]
struct Hash(SecretString);

#[derive(Message)]
#[rtype(result = "ServiceResult<bool>")]
struct Verify {
    password: SecretString,
    hash: SecretString,
}

struct Hasher {
    stand_in: StandIn,
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
        bcrypt::hash(password.expose_secret(), self.stand_in.cost)
            .map(SecretString::from)
            .map_err(|error| ServiceError::Unavailable(format!("bcrypt: {error}")))
    }
}

impl Handler<Verify> for Hasher {
    type Result = ServiceResult<bool>;

    fn handle(&mut self, message: Verify, _: &mut Self::Context) -> Self::Result {
        let (password, hash) = (message.password.expose_secret(), message.hash.expose_secret());
        let is_right =
            bcrypt::verify(password, hash).map_err(|error| ServiceError::Unavailable(format!("bcrypt: {error}")))?;
        if !is_right {
            self.stand_in.make_up_for(hash, password);
        }
        Ok(is_right)
    }
}
