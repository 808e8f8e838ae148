//! The public library API: who is it, and may they.

mod settings;

pub use settings::GuardSettings;
