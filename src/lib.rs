//! Portcullis: authentication, authorization and audit for APIs, as one program
//! and as guards for other actix apps.
//!
//! # The way a request goes
//!
//! ```text
//! client -> api (HTTP only) -> guard (who is it, may they) -> actors (handles) -> store (SQL), oidc (providers)
//!              \__ recorder: every request, one audit record, in the journal before the answer leaves
//! ```
//!
//! One direction; answers come back as types of the [`domain`]. A module uses
//! only those below it, which `tests/structure.rs` pins.
//!
//! # Words
//!
//! - **Authentication**: who is it? **Authorization**: may they?
//! - **User**: an account. **Principal**: the user that a request acts as.
//! - **Provider**: Google, Microsoft or Okta. **Identity**: an account there, known by issuer and subject.
//! - **Session**: one sign-in, from its login to its end; its tokens end with it.
//! - **Permission**: `resource:action`. **Role**: a named set of permissions. **Grant**: a
//!   permission in a role. **Assignment**: a role of a user.
//! - **Superuser**: a user who has every permission and passes every role check.
//! - **Audit record**: who did what to which resource, from where, and how it ended.
//! - **Journal**: files to which records are appended before the answer leaves.
//!   **Writer**: one append-only source of records, numbered without gaps.
//! - **Change feed**: numbered changes in the database, by which every instance forgets what it held.
//!
//! # As a library
//!
//! See the [`guide`].
#![forbid(unsafe_code)]

#[cfg(not(any(feature = "service", feature = "remote")))]
compile_error!("choose a feature: `service` (everything in one process) or `remote` (guards that ask a service)");

#[cfg(feature = "service")]
pub mod actors;
#[cfg(feature = "service")]
pub mod api;
#[cfg(feature = "service")]
pub mod app;
#[cfg(feature = "service")]
pub mod cli;
pub mod clock;
#[cfg(feature = "service")]
pub mod config;
pub mod domain;
pub mod guard;
#[cfg(feature = "service")]
pub mod journal;
#[cfg(feature = "service")]
pub mod metrics;
#[cfg(feature = "service")]
pub mod oidc;
pub mod problem;
#[cfg(feature = "service")]
pub mod proof;
#[cfg(feature = "service")]
pub mod store;
pub mod verifier;

#[cfg(all(doc, not(doctest)))]
#[doc = include_str!("../docs/library.md")]
pub mod guide {}

#[cfg(all(doctest, feature = "service"))]
#[doc = include_str!("../docs/library.md")]
struct Guide;

#[cfg(all(doctest, feature = "service"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(feature = "service")]
pub use app::Portcullis;
pub use domain::{Permission, RoleName};
pub use guard::{
    Allowed, Guards, Principal, require_all, require_any, require_authentication, require_permission, require_role,
};
#[cfg(feature = "service")]
pub use guard::{AuditEvent, AuditLog};
pub use problem::ApiError;
