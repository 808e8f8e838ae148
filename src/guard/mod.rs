//! The guards: who is calling, may they, and one audit record for each request.
//!
//! This is the library's public side. Mount [`Guards`] as app data, then wrap
//! scopes and routes with [`require_permission`], [`require_role`] or
//! [`require_authentication`], and take a [`Principal`] as a handler's argument.

mod authenticate;
mod client;
mod error;
mod naming;
mod note;
mod principal;
mod recorder;
mod request_id;
mod require;
mod settings;

pub use authenticate::Guards;
pub use naming::{Naming, RouteName};
pub use note::AuditNote;
pub use principal::Principal;
pub(crate) use recorder::ClientAddress;
pub use recorder::Recorder;
pub use request_id::RequestId;
pub use require::{Require, Requirement, require_authentication, require_permission, require_role};
pub use settings::GuardSettings;
