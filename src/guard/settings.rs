//! What the guards are told.

use ipnet::IpNet;

/// Whom to believe, and whether to ask at all.
#[derive(Debug, Clone)]
pub struct GuardSettings {
    /// `ENABLE_AUTHENTICATION`; without it every request acts as a built-in superuser `anonymous`.
    pub is_authentication_enabled: bool,
    /// Whether a `Host` that is no loopback name is refused: without
    /// authentication, and without `ALLOW_INSECURE` (DNS rebinding).
    pub requires_loopback_host: bool,
    /// `TRUSTED_PROXIES`.
    pub trusted_proxies: Vec<IpNet>,
}
