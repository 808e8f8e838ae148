//! One file each: a public handle, private messages, the actor.
//!
//! An actor owns change, not reads: what a request needs is read from shared,
//! bounded caches without a message. Calls form a DAG: accounts -> tokens ->
//! rbac; audit calls no one.

mod accounts;
mod audit;
mod browser_flow;
mod checkpoints;
mod copier;
mod error;
mod feed;
mod freshness;
mod identities;
mod keys;
mod loads;
mod password;
mod rbac;
mod rbac_service;
mod refresh;
mod retention;
mod sessions;
mod settings;
mod token;
mod vital;

pub use crate::journal::{Begun, JournalError, WorkerJournal};
pub use crate::oidc::{Credential, OidcError, ProviderToken, Verified};
pub use crate::store::IdentityOrigin;
pub use crate::verifier::TokenError;
pub use accounts::{Accounts, NewAccount, is_well_formed_name};
pub use audit::Audit;
pub use browser_flow::{Callback, CallbackEnd, FlowRequest, is_random_text, random_text};
pub use error::{ServiceError, ServiceResult};
pub use feed::Feed;
pub use freshness::Freshness;
pub use identities::{Client, Identities, IdentitySettings, ProviderSession};
pub use keys::{KeyError, Keys};
pub use password::Passwords;
pub use rbac::{GrantSource, Loading, Rbac};
pub use rbac_service::RbacService;
pub use retention::Retention;
pub use settings::{Algorithm, CacheSettings, PasswordSettings, RetentionSettings, TokenSettings};
pub use token::{Authenticated, SignIn, TokenPair, Tokens};
pub use vital::Lifecycle;
