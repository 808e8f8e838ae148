//! The guards: who is calling, may they, and one audit record for each request.
//!
//! This is the library's public side. Mount [`Guards`] as app data, then wrap
//! scopes and routes with [`require_permission`], [`require_role`] and their
//! siblings, and take a [`Principal`], or an [`Allowed`], as a handler's argument.

mod allowed;
#[cfg(feature = "service")]
mod answer;
#[cfg(feature = "service")]
mod audit_log;
mod bearer;
#[cfg(feature = "service")]
mod client;
mod error;
mod guards;
#[cfg(feature = "service")]
mod held;
#[cfg(feature = "service")]
mod loopback;
#[cfg(feature = "service")]
mod naming;
#[cfg(feature = "service")]
mod note;
mod principal;
#[cfg(feature = "service")]
mod record;
#[cfg(feature = "service")]
mod recorder;
#[cfg(feature = "remote")]
mod remote;
#[cfg(feature = "service")]
mod request_id;
mod require;
mod requirement;
#[cfg(feature = "service")]
mod settings;
#[cfg(feature = "service")]
mod unfinished;

pub use allowed::{Allowed, Require};
#[cfg(feature = "service")]
pub use audit_log::{AuditEvent, AuditLog};
pub use guards::Guards;
#[cfg(feature = "service")]
pub use loopback::LoopbackOnly;
#[cfg(feature = "service")]
pub use naming::{Naming, RouteName};
#[cfg(feature = "service")]
pub use note::AuditNote;
pub use principal::Principal;
#[cfg(feature = "service")]
pub(crate) use record::Origin;
#[cfg(feature = "service")]
pub use recorder::{Recorder, RecorderSettings};
#[cfg(feature = "remote")]
pub use remote::RemoteSettings;
#[cfg(feature = "service")]
pub use request_id::RequestId;
#[cfg(feature = "service")]
pub(crate) use request_id::X_REQUEST_ID;
pub use require::{
    RequireMiddleware, require_all, require_any, require_authentication, require_permission, require_role,
};
pub use requirement::Requirement;
#[cfg(feature = "service")]
pub use settings::GuardSettings;
#[cfg(feature = "service")]
pub use unfinished::Unfinished;
