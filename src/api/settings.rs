//! What the HTTP side is told.

use std::time::Duration;

use crate::domain::{PasswordPolicy, RoleName};

/// How the API behaves.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// `ENABLE_REGISTRATION`.
    pub is_registration_enabled: bool,
    /// `DEFAULT_ROLE`.
    pub default_role: RoleName,
    /// `PASSWORD_MIN_LENGTH`.
    pub password_policy: PasswordPolicy,
    /// `REQUEST_TIMEOUT_SECONDS`: how long a body may take.
    pub request_timeout: Duration,
    /// `CORS_ALLOWED_ORIGINS`: exact origins.
    pub allowed_origins: Vec<String>,
    /// `PUBLIC_URL`: what links to this service start with, without a slash at the end.
    pub public_url: String,
}

impl ApiSettings {
    /// This service's own origin, as browsers write it (RFC 6454 §6.2): in lower case, without the scheme's own port.
    pub(super) fn origin(&self) -> String {
        let (scheme, rest) = self.public_url.split_once("://").unwrap_or_default();
        let origin = format!("{scheme}://{}", rest.split('/').next().unwrap_or_default()).to_ascii_lowercase();
        let port = if scheme == "https" { ":443" } else { ":80" };
        origin.strip_suffix(port).map_or(origin.clone(), str::to_owned)
    }
}
