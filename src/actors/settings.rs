//! What the actors are told.

use std::time::Duration;

use secrecy::SecretString;

/// How tokens are made and checked.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// `JWT_SECRET_KEY`: signs HS256, HS384, HS512; refresh tokens are signed by a key derived from it.
    pub secret: SecretString,
    /// `JWT_PREVIOUS_SECRET_KEY`: still verifies.
    pub previous_secret: Option<SecretString>,
    /// `JWT_ALGORITHM`.
    pub algorithm: Algorithm,
    /// The PEM text of `JWT_PRIVATE_KEY_FILE`, where the algorithm needs one.
    pub private_key_pem: Option<SecretString>,
    /// The PEM texts of `JWT_PREVIOUS_KEY_FILES`, private or public: they still verify.
    pub previous_key_pems: Vec<SecretString>,
    /// `JWT_ISSUER`.
    pub issuer: String,
    /// `JWT_AUDIENCE`.
    pub audience: String,
    /// `ACCESS_TOKEN_EXPIRE_MINUTES`.
    pub access_lifetime: Duration,
    /// `REFRESH_TOKEN_EXPIRE_DAYS`.
    pub refresh_lifetime: Duration,
    /// `SESSION_MAX_DAYS`.
    pub session_lifetime: Duration,
    /// `REFRESH_REUSE_GRACE_SECONDS`.
    pub reuse_grace: Duration,
}

/// The signature of access tokens (RFC 7518 §3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// How passwords are hashed.
#[derive(Debug, Clone, Copy)]
pub struct PasswordSettings {
    /// `PASSWORD_BCRYPT_COST`: 10..=16.
    pub cost: u32,
    /// Threads that hash: one a core.
    pub threads: usize,
}

/// What the caches hold.
#[derive(Debug, Clone, Copy)]
pub struct CacheSettings {
    /// `RBAC_CACHE_MAX_USERS`.
    pub max_users: usize,
    /// `AUTHZ_MAX_STALENESS_SECONDS`: how long held decisions stand while the database is away.
    pub max_staleness: Duration,
}

/// How old audit records are removed.
#[derive(Debug, Clone, Copy)]
pub struct RetentionSettings {
    /// `AUDIT_RETENTION_DAYS`; 0: they are kept for ever.
    pub days: u32,
    /// How long after the start of the service the first look is.
    pub first_run_after: Duration,
    /// The pause between a look and the next.
    pub every: Duration,
    /// How many records are looked at in one go, and how many one transaction deletes at most.
    pub batch: u32,
    /// The shortest pause after either.
    pub pause: Duration,
    /// How often a lock on the log is tried for, each time for a moment.
    pub lock_attempts: u32,
    /// The pause between those.
    pub lock_pause: Duration,
}

impl RetentionSettings {
    /// Records are kept for so many days; 0: for ever.
    pub fn of_days(days: u32) -> Self {
        Self {
            days,
            first_run_after: Duration::from_secs(2),
            every: Duration::from_secs(60 * 60),
            batch: 500,
            pause: Duration::from_millis(25),
            lock_attempts: 600,
            lock_pause: Duration::from_secs(1),
        }
    }
}
