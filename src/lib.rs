//! Portcullis: authentication, authorization and audit for APIs.
#![forbid(unsafe_code)]

pub mod actors;
pub mod api;
pub mod clock;
pub mod domain;
pub mod guard;
pub mod journal;
pub mod metrics;
pub mod problem;
pub mod store;

pub use domain::{Permission, RoleName};
