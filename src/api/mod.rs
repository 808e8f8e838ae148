//! HTTP only: one file a resource.

mod settings;

pub use settings::ApiSettings;
