//! One file each: a public handle, private messages, the actor.

mod settings;

pub use settings::{Algorithm, CacheSettings, PasswordSettings, TokenSettings};
