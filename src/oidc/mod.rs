//! Sign-in by Google, Microsoft and Okta: whose token is it, and was it meant for us?
//!
//! A token that a client hands in proves nothing by itself: it may have been
//! issued to another app, by another tenant, or be somebody else's. Each
//! provider's file holds the rules by which a token of it is tied to this app;
//! signatures, discovery and key sets are openidconnect's (OpenID Connect Core
//! and Discovery 1.0), the code exchange and introspection oauth2's (RFC 6749,
//! RFC 7636, RFC 7662).
//!
//! Nothing is stored here, and no account is known: the answer is who somebody
//! is at the provider. Requests to providers run on a thread of their own, with
//! bounds on time, size and number, so that a provider that hangs slows nobody
//! but those who sign in with it.

mod accounts;
mod client;
mod desk;
mod dispatch;
mod documents;
mod error;
mod flow;
mod google;
mod http;
mod microsoft;
mod okta;
mod providers;
mod settings;
mod token;
mod unverified;
mod userinfo;

pub use error::{OidcError, StartError};
pub use flow::{AuthorizationRequest, AuthorizationResponse};
pub use http::is_safe_url;
pub use providers::{Credential, Once, ProviderToken, Providers, Verified};
pub use settings::{
    AuthServer, GoogleSettings, MicrosoftSettings, OKTA_DOMAIN_PLACE, OidcSettings, OktaSettings, Tenants,
};

#[cfg(test)]
mod tests;
