//! The configuration: environment variables, or `.env`; the environment wins.
//!
//! Each layer has its own settings; here they are read, each within its bounds.
//! Whatever can't be read, is unsafe or half set stops the start.

mod dotenv;
mod error;
mod logging;
mod providers;
mod reader;
mod secrets;
mod tokens;
mod variables;

use std::env::VarError;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::ConfigError;
pub use logging::start_logging;
pub use providers::ProviderSettings;
pub use variables::{VARIABLES, Variable};

use crate::actors::{CacheSettings, PasswordSettings, TokenSettings};
use crate::api::ApiSettings;
use crate::domain::{Email, NewPassword, PasswordPolicy, RoleName, Username};
use crate::guard::GuardSettings;
use crate::journal::{Fsync, JournalSettings};
use crate::oidc::is_safe_url;
use crate::store::{Database, StoreSettings};
use reader::Reader;

/// Everything that the service is told.
#[derive(Debug)]
pub struct Config {
    /// Where it serves.
    pub server: ServerSettings,
    /// Its database.
    pub store: StoreSettings,
    /// Its audit journal.
    pub journal: JournalSettings,
    /// Its tokens.
    pub tokens: TokenSettings,
    /// Its password hashing.
    pub passwords: PasswordSettings,
    /// Its caches.
    pub caches: CacheSettings,
    /// Its guards.
    pub guard: GuardSettings,
    /// Its API.
    pub api: ApiSettings,
    /// Its audit log.
    pub audit: AuditSettings,
    /// The first administrator.
    pub bootstrap_admin: Option<BootstrapAdmin>,
    /// Sign-in providers.
    pub providers: ProviderSettings,
    /// What is allowed but should be known.
    pub warnings: Vec<String>,
}

/// Where the service serves.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// `HOST`.
    pub host: IpAddr,
    /// `PORT`; 0: a free one.
    pub port: u16,
    /// `WORKERS`.
    pub workers: usize,
    /// `DATA_DIR`.
    pub data_dir: PathBuf,
}

/// Whether and how requests are recorded.
#[derive(Debug, Clone, Copy)]
pub struct AuditSettings {
    /// `ENABLE_AUDIT_LOGGING`.
    pub is_enabled: bool,
    /// `AUDIT_FAIL_OPEN`: answer also where the record can't be written.
    pub fail_open: bool,
    /// `AUDIT_RETENTION_DAYS`; 0: for ever.
    pub retention_days: u32,
}

/// The first administrator, made while there are no users.
#[derive(Debug, Clone)]
pub struct BootstrapAdmin {
    /// `BOOTSTRAP_ADMIN_USERNAME`.
    pub username: Username,
    /// `BOOTSTRAP_ADMIN_EMAIL`.
    pub email: Email,
    /// `BOOTSTRAP_ADMIN_PASSWORD`.
    pub password: NewPassword,
}

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;

impl Config {
    /// Reads the environment, and `.env` in the working directory for what it does not set.
    ///
    /// # Errors
    /// The first variable that can't be used.
    pub fn from_env() -> Result<Self, ConfigError> {
        dotenv::load()?;
        check_text()?;
        Self::from_vars(&|name| std::env::var(name).ok())
    }

    /// The same for a check, which makes no key and no folder.
    ///
    /// # Errors
    /// The first variable that can't be used.
    pub fn check_env() -> Result<Self, ConfigError> {
        dotenv::load()?;
        check_text()?;
        Self::read(&|name| std::env::var(name).ok(), true)
    }

    /// Reads variables from anywhere.
    ///
    /// # Errors
    /// The first variable that can't be used.
    pub fn from_vars(variables: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::read(variables, false)
    }

    fn read(variables: &dyn Fn(&str) -> Option<String>, is_check: bool) -> Result<Self, ConfigError> {
        let reader = Reader(variables);
        let mut warnings = Vec::new();
        let server = server(&reader)?;
        let store = store(&reader, &server.data_dir)?;
        let tokens = tokens::read(&reader, &store.database, &server.data_dir, is_check, &mut warnings)?;
        let api = api(&reader, &server)?;
        let guard = guard(&reader, &server, &mut warnings)?;
        let bootstrap_admin = bootstrap_admin(&reader, api.password_policy)?;
        let providers = providers::read(&reader, api.is_registration_enabled, &api.public_url, &mut warnings)?;
        let max_staleness = Duration::from_secs(reader.number("AUTHZ_MAX_STALENESS_SECONDS", 30, 0..=3600)?);
        Ok(Self {
            store,
            journal: JournalSettings {
                folder: server.data_dir.join("audit"),
                fsync: fsync(&reader)?,
                max_bytes: reader.number("AUDIT_JOURNAL_MAX_BYTES", 0, 0..=u64::MAX)?,
                keep_segments: reader.number("AUDIT_JOURNAL_KEEP", 0, 0..=100_000)?,
            },
            tokens,
            passwords: PasswordSettings { cost: reader.number("PASSWORD_BCRYPT_COST", 12, 10..=16)?, threads: cores() },
            caches: CacheSettings {
                max_users: reader.number("RBAC_CACHE_MAX_USERS", 100_000, 1..=100_000_000)?,
                max_staleness,
            },
            guard,
            api,
            audit: AuditSettings {
                is_enabled: reader.flag("ENABLE_AUDIT_LOGGING", true)?,
                fail_open: reader.flag("AUDIT_FAIL_OPEN", false)?,
                retention_days: reader.number("AUDIT_RETENTION_DAYS", 0, 0..=36_500)?,
            },
            bootstrap_admin,
            providers,
            server,
            warnings,
        })
    }
}

/// A variable; an error where it is no text, for then it must not count as unset.
fn environment(name: &str) -> Result<Option<String>, ConfigError> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(ConfigError::new(name, "is not UTF-8")),
    }
}

fn check_text() -> Result<(), ConfigError> {
    VARIABLES.iter().try_for_each(|variable| environment(variable.name).map(drop))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn server(reader: &Reader<'_>) -> Result<ServerSettings, ConfigError> {
    let host = match reader.text("HOST").as_deref() {
        Some("localhost") => IpAddr::from([127, 0, 0, 1]),
        _ => reader.parsed("HOST", IpAddr::from([127, 0, 0, 1]), "an IP address, as 127.0.0.1 or 0.0.0.0")?,
    };
    Ok(ServerSettings {
        host,
        port: reader.number("PORT", 8080, 0..=u16::MAX)?,
        workers: reader.number("WORKERS", cores(), 1..=256)?,
        data_dir: PathBuf::from(reader.text_or("DATA_DIR", "./data")),
    })
}

fn store(reader: &Reader<'_>, data_dir: &Path) -> Result<StoreSettings, ConfigError> {
    let database = match reader.text("DATABASE_URL") {
        None => Database::Sqlite(data_dir.join("portcullis.db")),
        Some(url) => {
            if let Some(path) = url.strip_prefix("sqlite://").filter(|path| !path.is_empty()) {
                Database::Sqlite(PathBuf::from(path))
            } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
                Database::Postgres(url.into())
            } else {
                return Err(ConfigError::new("DATABASE_URL", "expected sqlite://path or postgres://user@host:port/db"));
            }
        }
    };
    let timeout = Duration::from_secs(reader.number("DATABASE_TIMEOUT_SECONDS", 5, 1..=60)?);
    Ok(StoreSettings { database, timeout, pool_size: 8, default_role: default_role(reader)? })
}

fn default_role(reader: &Reader<'_>) -> Result<RoleName, ConfigError> {
    let name = reader.text_or("DEFAULT_ROLE", "viewer");
    RoleName::parse(&name).map_err(|error| ConfigError::new("DEFAULT_ROLE", error.message))
}

fn api(reader: &Reader<'_>, server: &ServerSettings) -> Result<ApiSettings, ConfigError> {
    let allowed_origins = reader.list("CORS_ALLOWED_ORIGINS");
    if !allowed_origins.iter().all(|origin| is_origin(origin)) {
        return Err(ConfigError::new(
            "CORS_ALLOWED_ORIGINS",
            "expected exact origins, comma-separated, as https://app.example.com",
        ));
    }
    let host = match server.host {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let public_url = reader.text_or("PUBLIC_URL", &format!("http://{host}:{}", server.port));
    // Callbacks and cookies go there.
    if reader.text("PUBLIC_URL").is_some() && (!is_safe_url(&public_url) || public_url.contains('?')) {
        return Err(ConfigError::new(
            "PUBLIC_URL",
            "expected an https URL (http on a loopback host only) without credentials or query, as https://auth.example.com",
        ));
    }
    Ok(ApiSettings {
        is_registration_enabled: reader.flag("ENABLE_REGISTRATION", true)?,
        default_role: default_role(reader)?,
        password_policy: PasswordPolicy { min_length: reader.number("PASSWORD_MIN_LENGTH", 8, 8..=64)? },
        request_timeout: Duration::from_secs(reader.number("REQUEST_TIMEOUT_SECONDS", 30, 1..=600)?),
        allowed_origins,
        public_url: public_url.trim_end_matches('/').to_owned(),
    })
}

/// `scheme://host[:port]`, as browsers send it: lower case, no path.
fn is_origin(text: &str) -> bool {
    is_origin_with_path(text)
        && text.matches('/').count() == 2
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase() && !matches!(b, b'*' | b'@' | b'?' | b'#'))
}

fn is_origin_with_path(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.and_then(|rest| rest.split(['/', ':']).next()).is_some_and(|host| !host.is_empty())
}

fn guard(
    reader: &Reader<'_>,
    server: &ServerSettings,
    warnings: &mut Vec<String>,
) -> Result<GuardSettings, ConfigError> {
    let is_authentication_enabled = reader.flag("ENABLE_AUTHENTICATION", true)?;
    let is_insecure_allowed = reader.flag("ALLOW_INSECURE", false)?;
    if !is_authentication_enabled {
        if !server.host.is_loopback() && !is_insecure_allowed {
            return Err(ConfigError::new(
                "ENABLE_AUTHENTICATION",
                "without authentication only a loopback HOST is served, unless ALLOW_INSECURE=true",
            ));
        }
        warnings
            .push("ENABLE_AUTHENTICATION=false: EVERY REQUEST ACTS AS A SUPERUSER; never do this in production".into());
    }
    let mut trusted_proxies = Vec::new();
    for text in reader.list("TRUSTED_PROXIES") {
        let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(ipnet::IpNet::from));
        trusted_proxies.push(net.map_err(|_| {
            ConfigError::new("TRUSTED_PROXIES", "expected networks, comma-separated, as 10.0.0.0/8,192.168.1.7")
        })?);
    }
    Ok(GuardSettings {
        is_authentication_enabled,
        requires_loopback_host: !is_authentication_enabled && !is_insecure_allowed,
        trusted_proxies,
    })
}

fn fsync(reader: &Reader<'_>) -> Result<Fsync, ConfigError> {
    match reader.text_or("AUDIT_FSYNC", "everysec").as_str() {
        "always" => Ok(Fsync::Always),
        "everysec" => Ok(Fsync::EverySecond),
        "no" => Ok(Fsync::No),
        _ => Err(ConfigError::new("AUDIT_FSYNC", "expected always, everysec or no")),
    }
}

fn bootstrap_admin(reader: &Reader<'_>, policy: PasswordPolicy) -> Result<Option<BootstrapAdmin>, ConfigError> {
    const NAMES: [&str; 3] = ["BOOTSTRAP_ADMIN_USERNAME", "BOOTSTRAP_ADMIN_EMAIL", "BOOTSTRAP_ADMIN_PASSWORD"];
    let values = (reader.text(NAMES[0]), reader.text(NAMES[1]), reader.secret(NAMES[2]));
    let (username, email, password) = match values {
        (None, None, None) => return Ok(None),
        (Some(username), Some(email), Some(password)) => (username, email, password),
        (username, email, _) => {
            let missing = if username.is_none() {
                NAMES[0]
            } else if email.is_none() {
                NAMES[1]
            } else {
                NAMES[2]
            };
            return Err(ConfigError::new(missing, "set all three of BOOTSTRAP_ADMIN_*, or none"));
        }
    };
    let fail = |name: &'static str| move |error: crate::domain::FieldError| ConfigError::new(name, error.message);
    let username = Username::parse(&username).map_err(fail(NAMES[0]))?;
    let email = Email::parse(&email).map_err(fail(NAMES[1]))?;
    let password = NewPassword::parse(&password, policy, Some(&username), Some(&email)).map_err(fail(NAMES[2]))?;
    Ok(Some(BootstrapAdmin { username, email, password }))
}

/// The settings as they hold, a line each, without secrets.
pub fn effective(variables: &dyn Fn(&str) -> Option<String>) -> Vec<(&'static str, String)> {
    let shown = |variable: &Variable| match Reader(variables).text(variable.name) {
        Some(_) if variable.is_secret => "(set)".to_owned(),
        Some(value) => value,
        None => format!("{} (default)", variable.default),
    };
    VARIABLES.iter().map(|variable| (variable.name, shown(variable))).collect()
}

#[cfg(test)]
mod tests;
