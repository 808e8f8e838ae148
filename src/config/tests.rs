use std::collections::HashMap;

use super::*;

const KEY: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

fn config(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut map: HashMap<String, String> = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    map.entry("JWT_SECRET_KEY".to_owned()).or_insert_with(|| KEY.to_owned());
    Config::from_vars(&|name| map.get(name).cloned())
}

fn refused(variables: &[(&str, &str)]) -> String {
    config(variables).unwrap_err().variable
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = config(&[]).unwrap();
    assert_eq!((config.server.host.to_string().as_str(), config.server.port), ("127.0.0.1", 8080));
    assert_eq!(config.tokens.access_lifetime.as_secs(), 1800);
    assert_eq!(config.tokens.refresh_lifetime.as_secs(), 7 * 86_400);
    assert_eq!(config.tokens.session_lifetime.as_secs(), 90 * 86_400);
    assert_eq!((config.passwords.cost, config.api.password_policy.min_length), (12, 8));
    assert_eq!(config.api.default_role.as_str(), "viewer");
    assert_eq!(config.store.timeout.as_secs(), 5);
    assert!(config.audit.is_enabled && !config.audit.fail_open && config.guard.is_authentication_enabled);
    assert!(matches!(config.store.database, Database::Sqlite(path) if path.ends_with("portcullis.db")));
}

#[test]
fn an_empty_variable_counts_as_unset() {
    assert_eq!(config(&[("PORT", ""), ("DEFAULT_ROLE", " ")]).unwrap().server.port, 8080);
}

#[test]
fn what_cannot_be_read_names_its_variable() {
    for (name, value) in [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("HOST", "example.com"),
        ("WORKERS", "0"),
        ("PASSWORD_BCRYPT_COST", "9"),
        ("PASSWORD_BCRYPT_COST", "17"),
        ("PASSWORD_MIN_LENGTH", "7"),
        ("JWT_ALGORITHM", "none"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "0"),
        ("ENABLE_AUDIT_LOGGING", "maybe"),
        ("DATABASE_URL", "mysql://x"),
        ("DEFAULT_ROLE", "No Role"),
        ("CORS_ALLOWED_ORIGINS", "*"),
        ("CORS_ALLOWED_ORIGINS", "https://a.example/path"),
        ("TRUSTED_PROXIES", "proxy"),
        ("AUDIT_FSYNC", "sometimes"),
        ("PUBLIC_URL", "auth.example.com"),
        ("OAUTH_GOOGLE_ISSUER", "http://accounts.example.com"),
        ("OAUTH_OKTA_AUTH_SERVER", "custom"),
        ("OAUTH_OKTA_BASE_URL", "http://{okta_domain}"),
        ("OAUTH_OKTA_DOMAIN", "https://dev-1.okta.com"),
        ("OAUTH_OKTA_DOMAIN", "dev-1.okta.com,dev-1.okta.com:443"),
        ("OAUTH_OKTA_DOMAIN", "Dev-1.okta.com"),
        ("OAUTH_OKTA_DOMAIN", "dev-1.okta.com."),
        ("OAUTH_OKTA_DOMAIN", "127.0.0.1"),
        ("OAUTH_MICROSOFT_TENANTS", "contoso.com"),
        ("OAUTH_MICROSOFT_TENANTS", "any,72f988bf-86f1-41af-91ab-2d7cd011db47"),
        ("OAUTH_REDIRECT_ALLOWLIST", "https://a.example/,http://b.example/"),
        ("JWT_PRIVATE_KEY_FILE", "key.pem"),
        ("REFRESH_REUSE_GRACE_SECONDS", "-1"),
    ] {
        assert_eq!(refused(&[(name, value)]), name, "{value}");
    }
}

#[test]
fn weak_keys_are_refused_and_never_repeated() {
    for key in ["short", "your-secret-key-here", "your-secret-key-here-0123456789abcdef", &"a".repeat(64), "changeme"] {
        let error = config(&[("JWT_SECRET_KEY", key)]).unwrap_err();
        assert_eq!(error.variable, "JWT_SECRET_KEY");
        assert!(!error.to_string().contains(key), "{error}");
    }
    let short_for_512 = &KEY[..48];
    assert_eq!(refused(&[("JWT_ALGORITHM", "HS512"), ("JWT_SECRET_KEY", short_for_512)]), "JWT_SECRET_KEY");
    assert!(config(&[("JWT_ALGORITHM", "HS384"), ("JWT_SECRET_KEY", short_for_512)]).is_ok());
    assert_eq!(refused(&[("JWT_ALGORITHM", "EdDSA")]), "JWT_PRIVATE_KEY_FILE");
}

#[test]
fn postgresql_needs_a_key_and_sqlite_makes_one() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data").display().to_string();
    let read = |url: Option<&str>| {
        Config::from_vars(&|name| match name {
            "DATA_DIR" => Some(data_dir.clone()),
            "DATABASE_URL" => url.map(str::to_owned),
            _ => None,
        })
    };
    assert_eq!(read(Some("postgres://u@h/d")).unwrap_err().variable, "JWT_SECRET_KEY");
    use secrecy::ExposeSecret;
    let (first, second) = (read(None).unwrap(), read(None).unwrap());
    assert_eq!(first.tokens.secret.expose_secret(), second.tokens.secret.expose_secret());
    assert!(first.warnings.iter().any(|warning| warning.contains("JWT_SECRET_KEY")));
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(folder.path().join("data/jwt_secret.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn half_an_administrator_is_refused() {
    let username = ("BOOTSTRAP_ADMIN_USERNAME", "root_admin");
    let email = ("BOOTSTRAP_ADMIN_EMAIL", "root@example.com");
    let password = ("BOOTSTRAP_ADMIN_PASSWORD", "correct-horse-battery");
    assert_eq!(refused(&[username]), "BOOTSTRAP_ADMIN_EMAIL");
    assert_eq!(refused(&[username, email]), "BOOTSTRAP_ADMIN_PASSWORD");
    assert_eq!(refused(&[username, email, ("BOOTSTRAP_ADMIN_PASSWORD", "password")]), "BOOTSTRAP_ADMIN_PASSWORD");
    assert!(config(&[username, email, password]).unwrap().bootstrap_admin.is_some());
}

#[test]
fn without_authentication_only_loopback_is_served() {
    let off = ("ENABLE_AUTHENTICATION", "false");
    assert!(config(&[off]).unwrap().guard.requires_loopback_host);
    assert_eq!(refused(&[off, ("HOST", "0.0.0.0")]), "ENABLE_AUTHENTICATION");
    let allowed = config(&[off, ("HOST", "0.0.0.0"), ("ALLOW_INSECURE", "true")]).unwrap();
    assert!(!allowed.guard.requires_loopback_host && !allowed.warnings.is_empty());
}

#[test]
fn a_provider_is_on_when_its_first_variable_is_set() {
    let off = config(&[]).unwrap();
    assert!(off.providers.oidc.google.is_none() && off.warnings.is_empty());
    let seed = [
        ("OAUTH_GOOGLE_CLIENT_ID", "a, b"),
        ("OAUTH_MICROSOFT_CLIENT_ID", "c"),
        ("OAUTH_OKTA_DOMAIN", "dev-123456.okta.com"),
    ];
    let on = config(&seed).unwrap();
    let oidc = on.providers.oidc;
    assert_eq!(oidc.google.unwrap().client_ids, ["a", "b"]);
    assert_eq!(oidc.microsoft.unwrap().authority, "https://login.microsoftonline.com");
    assert_eq!(oidc.okta.unwrap().domains, ["dev-123456.okta.com"]);
    for named in ["OAUTH_OKTA_CLIENT_ID", "OAUTH_MICROSOFT_TENANTS"] {
        assert_eq!(on.warnings.iter().filter(|warning| warning.contains(named)).count(), 1, "{named}");
    }
}

#[test]
fn okta_needs_what_its_server_needs() {
    let domain = ("OAUTH_OKTA_DOMAIN", "a.okta.com,b.okta.com");
    let org = [domain, ("OAUTH_OKTA_CLIENT_ID", "app"), ("OAUTH_OKTA_AUTH_SERVER", "org")];
    assert_eq!(refused(&org), "OAUTH_OKTA_CLIENT_SECRET");
    assert_eq!(refused(&[domain, ("OAUTH_OKTA_BASE_URL", "http://127.0.0.1:9")]), "OAUTH_OKTA_BASE_URL");
    assert!(config(&[domain, ("OAUTH_OKTA_BASE_URL", "http://127.0.0.1:9/{okta_domain}/")]).is_ok());
}

#[test]
fn the_example_names_every_variable_with_its_default_and_no_other() {
    let example = include_str!("../../.env.example");
    let named: Vec<(&str, &str)> = example
        .lines()
        .filter_map(|line| line.trim_start_matches(['#', ' ']).split_once('='))
        .filter(|(name, _)| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        .collect();
    let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
    let known: Vec<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
    for name in &known {
        assert_eq!(names.iter().filter(|named| *named == name).count(), 1, "{name}");
    }
    for name in &names {
        assert!(known.contains(name), "{name}");
    }
}
