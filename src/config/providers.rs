//! Sign-in providers: read and checked, so that a wrong value is told at the start.

use uuid::Uuid;

use super::ConfigError;
use super::reader::Reader;
use crate::oidc::{
    AuthServer, GoogleSettings, MicrosoftSettings, OKTA_DOMAIN_PLACE, OidcSettings, OktaSettings, Tenants, is_safe_url,
};

/// What is set of the sign-in providers.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    /// The providers.
    pub oidc: OidcSettings,
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
    public_url: &str,
    warnings: &mut Vec<String>,
) -> Result<ProviderSettings, ConfigError> {
    // Read and checked also where a provider is off: a value that can't be used is told at once.
    let google = google(reader)?;
    let microsoft = microsoft(reader)?;
    let okta = okta(reader)?;
    let oidc = OidcSettings {
        google: Some(google).filter(|google| !google.client_ids.is_empty()),
        microsoft: Some(microsoft).filter(|microsoft| !microsoft.client_ids.is_empty()),
        okta: Some(okta).filter(|okta| !okta.domains.is_empty()),
        public_url: public_url.to_owned(),
    };
    let is_link_by_email_enabled = reader.flag("OAUTH_LINK_BY_EMAIL", false)?;
    warn(&oidc, is_link_by_email_enabled, warnings);
    let redirect_allowlist = reader.list("OAUTH_REDIRECT_ALLOWLIST");
    if !redirect_allowlist.iter().all(|url| is_safe_url(url)) {
        return Err(ConfigError::new("OAUTH_REDIRECT_ALLOWLIST", "expected https URLs (http on a loopback host only)"));
    }
    Ok(ProviderSettings {
        oidc,
        is_auto_registration_enabled: reader.flag("OAUTH_AUTO_REGISTER", is_registration_enabled)?,
        is_link_by_email_enabled,
        redirect_allowlist,
    })
}

fn google(reader: &Reader<'_>) -> Result<GoogleSettings, ConfigError> {
    Ok(GoogleSettings {
        client_ids: reader.list("OAUTH_GOOGLE_CLIENT_ID"),
        client_secret: reader.secret("OAUTH_GOOGLE_CLIENT_SECRET"),
        hosted_domain: reader.text("OAUTH_GOOGLE_HOSTED_DOMAIN"),
        // As it is: a slash at its end is part of an issuer's name.
        issuer: url(reader, "OAUTH_GOOGLE_ISSUER", "https://accounts.google.com")?,
        tokeninfo_url: url(reader, "OAUTH_GOOGLE_TOKENINFO_URL", "https://oauth2.googleapis.com/tokeninfo")?,
    })
}

fn microsoft(reader: &Reader<'_>) -> Result<MicrosoftSettings, ConfigError> {
    Ok(MicrosoftSettings {
        client_ids: reader.list("OAUTH_MICROSOFT_CLIENT_ID"),
        client_secret: reader.secret("OAUTH_MICROSOFT_CLIENT_SECRET"),
        tenants: tenants(&reader.list("OAUTH_MICROSOFT_TENANTS"))?,
        authority: base(url(reader, "OAUTH_MICROSOFT_AUTHORITY", "https://login.microsoftonline.com")?),
        accepts_graph_tokens: reader.flag("OAUTH_MICROSOFT_ACCEPT_GRAPH_TOKENS", false)?,
        graph_url: base(url(reader, "OAUTH_MICROSOFT_GRAPH_URL", "https://graph.microsoft.com")?),
    })
}

fn tenants(list: &[String]) -> Result<Tenants, ConfigError> {
    if list.is_empty() || list == ["any"] {
        return Ok(Tenants::Any);
    }
    let ids: Result<Vec<Uuid>, _> = list.iter().map(|id| Uuid::try_parse(id)).collect();
    ids.map(Tenants::Listed).map_err(|_| {
        ConfigError::new("OAUTH_MICROSOFT_TENANTS", "expected any, or tenant ids (UUIDs, no domains), comma-separated")
    })
}

fn okta(reader: &Reader<'_>) -> Result<OktaSettings, ConfigError> {
    const BASE: &str = "OAUTH_OKTA_BASE_URL";
    let domains = reader.list("OAUTH_OKTA_DOMAIN");
    if !domains.iter().all(|domain| is_host_name(domain)) {
        return Err(ConfigError::new("OAUTH_OKTA_DOMAIN", "expected host names in lower case, as dev-123456.okta.com"));
    }
    let base_url = base(reader.text_or(BASE, &format!("https://{OKTA_DOMAIN_PLACE}")));
    let tried = domains.iter().map(String::as_str).chain(["example.okta.com"]);
    if tried.map(|domain| base_url.replace(OKTA_DOMAIN_PLACE, domain)).any(|url| !is_safe_url(&url)) {
        return Err(not_safe(BASE));
    }
    if domains.len() > 1 && !base_url.contains(OKTA_DOMAIN_PLACE) {
        return Err(ConfigError::new(BASE, "with several domains it needs {okta_domain} in it"));
    }
    let auth_server = match reader.text_or("OAUTH_OKTA_AUTH_SERVER", "default").as_str() {
        "default" => AuthServer::Default,
        "org" => AuthServer::Org,
        _ => return Err(ConfigError::new("OAUTH_OKTA_AUTH_SERVER", "expected default or org")),
    };
    let settings = OktaSettings {
        domains,
        client_ids: reader.list("OAUTH_OKTA_CLIENT_ID"),
        client_secret: reader.secret("OAUTH_OKTA_CLIENT_SECRET"),
        audience: reader.text_or("OAUTH_OKTA_AUDIENCE", "api://default"),
        auth_server,
        base_url,
    };
    let is_on = !settings.domains.is_empty() && !settings.client_ids.is_empty();
    if is_on && settings.auth_server == AuthServer::Org && settings.client_secret.is_none() {
        return Err(ConfigError::new(
            "OAUTH_OKTA_CLIENT_SECRET",
            "OAUTH_OKTA_AUTH_SERVER=org needs it: tokens of the org server are introspected",
        ));
    }
    Ok(settings)
}

/// What is allowed but should be known.
fn warn(oidc: &OidcSettings, is_link_by_email_enabled: bool, warnings: &mut Vec<String>) {
    if is_link_by_email_enabled && oidc.google.as_ref().is_some_and(|google| google.hosted_domain.is_none()) {
        warnings.push(
            "OAUTH_LINK_BY_EMAIL=true without OAUTH_GOOGLE_HOSTED_DOMAIN: Google goes on calling an address verified \
             that has passed to somebody else, and its former owner would get into their account"
                .into(),
        );
    }
    if oidc.okta.as_ref().is_some_and(|okta| okta.domains.len() > 1 && okta.client_secret.is_some()) {
        warnings.push(
            "OAUTH_OKTA_CLIENT_SECRET goes to each of several OAUTH_OKTA_DOMAIN: all of them must be your own".into(),
        );
    }
    if oidc.okta.as_ref().is_some_and(|okta| okta.client_ids.is_empty()) {
        warnings.push(
            "OAUTH_OKTA_CLIENT_ID is not set: any app of that company would get in, so Okta sign-in is off".into(),
        );
    }
    let Some(microsoft) = &oidc.microsoft else { return };
    if microsoft.tenants == Tenants::Any {
        warnings.push(
            "OAUTH_MICROSOFT_TENANTS is any: everybody with a Microsoft account can sign in; list your tenants".into(),
        );
    }
    if microsoft.accepts_graph_tokens {
        warnings.push(
            "OAUTH_MICROSOFT_ACCEPT_GRAPH_TOKENS=true: any app that a user has signed in to can sign in here as them"
                .into(),
        );
    }
}

fn url(reader: &Reader<'_>, name: &'static str, default: &str) -> Result<String, ConfigError> {
    Some(reader.text_or(name, default)).filter(|url| is_safe_url(url)).ok_or_else(|| not_safe(name))
}

fn not_safe(name: &str) -> ConfigError {
    ConfigError::new(name, "expected an https URL (http on a loopback host only)")
}

fn base(url: String) -> String {
    url.trim_end_matches('/').to_owned()
}

/// A name of the DNS in its one spelling (RFC 1123 §2.1): no address, no port, no dot at its end.
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    // What ends in a number is read as an IPv4 address.
    let is_name = text.rsplit('.').next().is_some_and(|last| last.bytes().any(|b| b.is_ascii_lowercase()));
    text.len() <= 253 && is_name && text.contains('.') && text.split('.').all(is_label)
}
