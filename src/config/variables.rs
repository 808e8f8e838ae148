//! Every variable with its default and meaning: the one list that `.env.example`
//! and `config check` are held against.

/// A variable of the environment.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What holds without it, in words where it is no value.
    pub default: &'static str,
    /// What it means, with its unit.
    pub meaning: &'static str,
    /// Whether its value is shown to nobody.
    pub is_secret: bool,
}

const fn plain(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, meaning, is_secret: false }
}

const fn secret(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, meaning, is_secret: true }
}

/// All of them, in the order in which they are shown.
pub const VARIABLES: &[Variable] = &[
    plain("HOST", "127.0.0.1", "address to serve on"),
    plain("PORT", "8080", "port to serve on; 0 picks a free one, and the log says which"),
    plain("WORKERS", "one a core", "threads that answer requests"),
    plain("DATA_DIR", "./data", "folder of the SQLite files, the audit journal and the made key"),
    plain("RUST_LOG", "info, less of what anybody can cause", "what is logged, and how much of it"),
    secret("DATABASE_URL", "a SQLite file in DATA_DIR", "sqlite://path or postgres://user:password@host:port/db"),
    plain("DATABASE_TIMEOUT_SECONDS", "5", "seconds; no answer waits longer than twice that for the database"),
    secret(
        "JWT_SECRET_KEY",
        "made and kept in DATA_DIR on SQLite; needed on PostgreSQL",
        "signs tokens; 32, 48 or 64 bytes at least for HS256, HS384, HS512",
    ),
    secret("JWT_PREVIOUS_SECRET_KEY", "none", "the key before this one: it still verifies"),
    plain("JWT_ALGORITHM", "HS256", "HS256, HS384, HS512, RS256, ES256 or EdDSA"),
    plain("JWT_PRIVATE_KEY_FILE", "none", "PEM file of the private key, for RS256, ES256 and EdDSA"),
    plain("JWT_PREVIOUS_KEY_FILES", "none", "PEM files, comma-separated: they still verify"),
    plain("JWT_ISSUER", "portcullis", "who issues tokens"),
    plain("JWT_AUDIENCE", "portcullis", "whom access tokens are for"),
    plain("ACCESS_TOKEN_EXPIRE_MINUTES", "30", "minutes, 1 to 1440"),
    plain("REFRESH_TOKEN_EXPIRE_DAYS", "7", "days, 1 to 365"),
    plain("SESSION_MAX_DAYS", "90", "days after its login at which a session ends, whatever is refreshed"),
    plain("REFRESH_REUSE_GRACE_SECONDS", "10", "seconds in which a refresh token gives its successor again, 0 to 300"),
    plain("ENABLE_AUTHENTICATION", "true", "false: everybody acts as a superuser; for development on loopback"),
    plain("ALLOW_INSECURE", "false", "true: ENABLE_AUTHENTICATION=false also elsewhere than on loopback"),
    plain("ENABLE_AUDIT_LOGGING", "true", "false: no request is recorded"),
    plain("ENABLE_REGISTRATION", "true", "false: only administrators make accounts"),
    plain("DEFAULT_ROLE", "viewer", "role of new users; it may not hold users:manage"),
    plain("PASSWORD_MIN_LENGTH", "8", "characters, 8 to 64"),
    plain("PASSWORD_BCRYPT_COST", "12", "bcrypt's cost, 10 to 16"),
    plain("BOOTSTRAP_ADMIN_USERNAME", "none", "the first administrator, made while there are no users"),
    plain("BOOTSTRAP_ADMIN_EMAIL", "none", "their address"),
    secret("BOOTSTRAP_ADMIN_PASSWORD", "none", "their password"),
    plain("CORS_ALLOWED_ORIGINS", "none", "origins whose pages may call, comma-separated: https://app.example.com"),
    plain("REQUEST_TIMEOUT_SECONDS", "30", "seconds in which a request's body has to arrive, 1 to 600"),
    plain(
        "AUTHZ_MAX_STALENESS_SECONDS",
        "30",
        "seconds for which held decisions stand while the database is away, 0 to 3600",
    ),
    plain("RBAC_CACHE_MAX_USERS", "100000", "users whose grants are held in memory"),
    plain("TRUSTED_PROXIES", "none", "networks whose X-Forwarded-For is believed, comma-separated: CIDRs or addresses"),
    plain("AUDIT_FSYNC", "everysec", "when records are forced to the disk: always, everysec or no"),
    plain("AUDIT_FAIL_OPEN", "false", "true: answer also where the audit record can't be written"),
    plain("AUDIT_JOURNAL_MAX_BYTES", "0", "bytes of journal at which requests are refused; 0: no limit"),
    plain("AUDIT_JOURNAL_KEEP", "0", "journal segments that stay for log shippers"),
    plain("AUDIT_RETENTION_DAYS", "0", "days for which records are kept; 0: for ever"),
    plain("PUBLIC_URL", "http://HOST:PORT", "what links to this service start with"),
    plain("OAUTH_GOOGLE_CLIENT_ID", "none", "Google's client ids of your apps, comma-separated"),
    secret("OAUTH_GOOGLE_CLIENT_SECRET", "none", "the secret of the first of them"),
    plain("OAUTH_GOOGLE_HOSTED_DOMAIN", "none", "only accounts of this Workspace domain"),
    plain("OAUTH_GOOGLE_ISSUER", "https://accounts.google.com", "whose discovery document is read"),
    plain(
        "OAUTH_GOOGLE_TOKENINFO_URL",
        "https://oauth2.googleapis.com/tokeninfo",
        "where access tokens are asked about",
    ),
    plain("OAUTH_MICROSOFT_CLIENT_ID", "none", "Microsoft's client ids of your apps, comma-separated"),
    secret("OAUTH_MICROSOFT_CLIENT_SECRET", "none", "the secret of the first of them"),
    plain("OAUTH_MICROSOFT_TENANTS", "any", "tenant ids, comma-separated, or any"),
    plain("OAUTH_MICROSOFT_AUTHORITY", "https://login.microsoftonline.com", "where tenants are discovered"),
    plain("OAUTH_MICROSOFT_ACCEPT_GRAPH_TOKENS", "false", "true: accept tokens that can't be bound to your app"),
    plain("OAUTH_MICROSOFT_GRAPH_URL", "https://graph.microsoft.com", "where Graph tokens are asked about"),
    plain("OAUTH_OKTA_DOMAIN", "none", "Okta domains, comma-separated: dev-123456.okta.com"),
    plain("OAUTH_OKTA_CLIENT_ID", "none", "Okta's client ids of your apps, comma-separated"),
    secret("OAUTH_OKTA_CLIENT_SECRET", "none", "the secret of the first of them"),
    plain("OAUTH_OKTA_AUDIENCE", "api://default", "the audience of Okta's access tokens"),
    plain("OAUTH_OKTA_AUTH_SERVER", "default", "default or org"),
    plain("OAUTH_OKTA_BASE_URL", "https://{okta_domain}", "where Okta is reached"),
    plain("OAUTH_AUTO_REGISTER", "the value of ENABLE_REGISTRATION", "whether a provider's new user gets an account"),
    plain("OAUTH_LINK_BY_EMAIL", "false", "whether an address that both sides have verified links accounts"),
    plain("OAUTH_REDIRECT_ALLOWLIST", "none", "exact URLs that the browser flow may end at, comma-separated"),
];
