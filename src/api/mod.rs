//! HTTP only: one file a resource, and the one table of endpoints.

mod audit;
mod audit_events;
mod audit_export;
mod auth;
mod authz;
mod body;
mod client;
mod cookies;
mod docs;
mod endpoint;
mod health;
mod identities;
mod oauth;
mod oauth_browser;
mod permissions;
mod profile;
mod query;
mod refresh_cookie;
mod role_grants;
mod roles;
mod sessions;
mod settings;
mod user_access;
mod users;

use actix_web::web;

pub use docs::openapi;
pub use endpoint::{Endpoint, Needs};
pub use health::configure_without_database;
pub use settings::ApiSettings;

use crate::actors::{Accounts, Audit, Freshness, Identities, Rbac, RbacService, Tokens};
use crate::guard::{Naming, require_authentication};
use crate::metrics::Metrics;

/// What the handlers use: mount it as `web::Data<Services>`.
#[derive(Clone)]
pub struct Services {
    /// Accounts and sign-in.
    pub accounts: Accounts,
    /// The audit log.
    pub audit: Audit,
    /// How old held decisions are.
    pub freshness: Freshness,
    /// Sign-in by accounts at providers.
    pub identities: Identities,
    /// Counters.
    pub metrics: Metrics,
    /// Who may what.
    pub rbac: Rbac,
    /// Roles, permissions, and who has them.
    pub rbac_service: RbacService,
    /// Where `/metrics` reads.
    pub registry: prometheus::Registry,
    /// What the API was told.
    pub settings: ApiSettings,
    /// Tokens and sessions.
    pub tokens: Tokens,
}

/// Every endpoint, with what it needs.
pub fn endpoints() -> Vec<Endpoint> {
    [
        health::endpoints(),
        docs::endpoints(),
        auth::endpoints(),
        oauth::endpoints(),
        oauth_browser::endpoints(),
        profile::endpoints(),
        sessions::endpoints(),
        identities::endpoints(),
        authz::endpoints(),
        users::endpoints(),
        user_access::endpoints(),
        roles::endpoints(),
        role_grants::endpoints(),
        permissions::endpoints(),
        audit::endpoints(),
        audit_events::endpoints(),
        audit_export::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What the audit log calls each endpoint.
pub fn naming() -> Naming {
    endpoint::naming(&endpoints())
}

/// What all public patterns with variables begin with.
const SIGN_IN: &str = "/auth/oauth";

/// Mounts the public endpoints, and behind a guard that lets nobody through
/// without credentials all others, with whatever path or method.
pub fn configure(cfg: &mut web::ServiceConfig) {
    let endpoints = endpoints();
    let is_public = |endpoint: &Endpoint| endpoint.needs == Needs::Nothing;
    endpoint::mount(cfg, "", &endpoints, |endpoint| is_public(endpoint) && !endpoint.has_variables());
    // A scope is found by comparing: no guarded request pays for the patterns in it.
    cfg.service(
        web::scope(SIGN_IN)
            .configure(|cfg| {
                endpoint::mount(cfg, SIGN_IN, &endpoints, |endpoint| is_public(endpoint) && endpoint.has_variables());
            })
            .default_service(web::to(endpoint::not_found).wrap(require_authentication())),
    );
    cfg.service(
        web::scope("")
            .wrap(require_authentication())
            .configure(|cfg| endpoint::mount(cfg, "", &endpoints, |endpoint| !is_public(endpoint)))
            .default_service(web::to(endpoint::not_found)),
    );
    // What no path is, as the `*` of `OPTIONS *`.
    cfg.default_service(web::to(endpoint::not_found).wrap(require_authentication()));
}
