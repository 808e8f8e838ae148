//! Portcullis: authentication, authorization and audit for APIs.
#![forbid(unsafe_code)]

pub mod actors;
pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod guard;
pub mod journal;
pub mod metrics;
pub mod problem;
pub mod store;

pub use domain::{Permission, RoleName};
