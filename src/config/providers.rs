//! Sign-in providers: read and checked, so that a wrong value is told at the start.

use secrecy::SecretString;

use super::ConfigError;
use super::reader::Reader;

/// What is set of the sign-in providers.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    /// `OAUTH_GOOGLE_CLIENT_ID`.
    pub google_client_ids: Vec<String>,
    /// `OAUTH_MICROSOFT_CLIENT_ID`.
    pub microsoft_client_ids: Vec<String>,
    /// `OAUTH_OKTA_DOMAIN`.
    pub okta_domains: Vec<String>,
    /// `OAUTH_OKTA_CLIENT_ID`.
    pub okta_client_ids: Vec<String>,
    /// The providers' client secrets, in that order.
    pub client_secrets: [Option<SecretString>; 3],
    /// `OAUTH_AUTO_REGISTER`.
    pub is_auto_registration_enabled: bool,
    /// `OAUTH_LINK_BY_EMAIL`.
    pub is_link_by_email_enabled: bool,
    /// `OAUTH_REDIRECT_ALLOWLIST`.
    pub redirect_allowlist: Vec<String>,
}

pub(super) fn read(
    reader: &Reader<'_>,
    is_registration_enabled: bool,
    warnings: &mut Vec<String>,
) -> Result<ProviderSettings, ConfigError> {
    const URLS: [&str; 5] = [
        "OAUTH_GOOGLE_ISSUER",
        "OAUTH_GOOGLE_TOKENINFO_URL",
        "OAUTH_MICROSOFT_AUTHORITY",
        "OAUTH_MICROSOFT_GRAPH_URL",
        "OAUTH_OKTA_BASE_URL",
    ];
    for name in URLS {
        if reader.text(name).is_some_and(|url| !is_safe_url(&url)) {
            return Err(ConfigError::new(name, "expected an https URL (http on a loopback host only)"));
        }
    }
    if !matches!(reader.text_or("OAUTH_OKTA_AUTH_SERVER", "default").as_str(), "default" | "org") {
        return Err(ConfigError::new("OAUTH_OKTA_AUTH_SERVER", "expected default or org"));
    }
    reader.flag("OAUTH_MICROSOFT_ACCEPT_GRAPH_TOKENS", false)?;
    let settings = ProviderSettings {
        google_client_ids: reader.list("OAUTH_GOOGLE_CLIENT_ID"),
        microsoft_client_ids: reader.list("OAUTH_MICROSOFT_CLIENT_ID"),
        okta_domains: reader.list("OAUTH_OKTA_DOMAIN"),
        okta_client_ids: reader.list("OAUTH_OKTA_CLIENT_ID"),
        client_secrets: ["GOOGLE", "MICROSOFT", "OKTA"]
            .map(|provider| reader.secret(&format!("OAUTH_{provider}_CLIENT_SECRET"))),
        is_auto_registration_enabled: reader.flag("OAUTH_AUTO_REGISTER", is_registration_enabled)?,
        is_link_by_email_enabled: reader.flag("OAUTH_LINK_BY_EMAIL", false)?,
        redirect_allowlist: reader.list("OAUTH_REDIRECT_ALLOWLIST"),
    };
    if settings.redirect_allowlist.iter().any(|url| !is_safe_url(url)) {
        return Err(ConfigError::new("OAUTH_REDIRECT_ALLOWLIST", "expected https URLs (http on a loopback host only)"));
    }
    if !settings.okta_domains.is_empty() && settings.okta_client_ids.is_empty() {
        warnings.push(
            "OAUTH_OKTA_CLIENT_ID is not set: any app of that company would get in, so Okta sign-in is off".into(),
        );
    }
    let is_any_set = [&settings.google_client_ids, &settings.microsoft_client_ids, &settings.okta_domains]
        .iter()
        .any(|list| !list.is_empty());
    if is_any_set {
        warnings.push("OAUTH_* is set, but this version has no sign-in by provider yet".into());
    }
    Ok(settings)
}

fn is_safe_url(url: &str) -> bool {
    let host = |rest: &str| rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned();
    if let Some(rest) = url.strip_prefix("https://") {
        return !host(rest).is_empty() && !host(rest).contains('@');
    }
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = host(rest);
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name.to_owned(),
        _ => authority,
    };
    name == "localhost"
        || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
