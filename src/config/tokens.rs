//! The settings of tokens: which keys sign, which verify, and for how long.

use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;

use super::reader::Reader;
use super::{ConfigError, DAY, MINUTE, secrets};
use crate::actors::{Algorithm, Keys, TokenSettings};
use crate::store::Database;

/// How tokens are signed, and how long they live.
pub(super) fn read(
    reader: &Reader<'_>,
    database: &Database,
    data_dir: &Path,
    is_check: bool,
    warnings: &mut Vec<String>,
) -> Result<TokenSettings, ConfigError> {
    let algorithm = match reader.text_or("JWT_ALGORITHM", "HS256").as_str() {
        "HS256" => Algorithm::Hs256,
        "HS384" => Algorithm::Hs384,
        "HS512" => Algorithm::Hs512,
        "RS256" => Algorithm::Rs256,
        "ES256" => Algorithm::Es256,
        "EdDSA" => Algorithm::EdDsa,
        _ => return Err(ConfigError::new("JWT_ALGORITHM", "expected HS256, HS384, HS512, RS256, ES256 or EdDSA")),
    };
    let secret = match (reader.secret("JWT_SECRET_KEY"), database) {
        (Some(secret), _) => secret,
        (None, Database::Sqlite(_)) => {
            let (secret, kept) = secrets::kept_in(data_dir, is_check)?;
            let verb = match kept {
                secrets::Kept::Found => "is kept",
                secrets::Kept::Made => "was made and is kept",
                secrets::Kept::WouldBeMade => "would be made and kept",
            };
            warnings.push(format!(
                "JWT_SECRET_KEY is not set: a random key {verb} in {}; set one in production",
                data_dir.join("jwt_secret.key").display()
            ));
            secret
        }
        (None, Database::Postgres(_)) => {
            return Err(ConfigError::new(
                "JWT_SECRET_KEY",
                "instances on one PostgreSQL share a key: make one with `openssl rand -hex 32` and set it on each",
            ));
        }
    };
    secrets::check("JWT_SECRET_KEY", &secret, algorithm)?;
    let previous_secret = reader.secret("JWT_PREVIOUS_SECRET_KEY");
    if let Some(previous) = &previous_secret {
        // It was set when perhaps another algorithm signed, and it still verifies.
        secrets::check("JWT_PREVIOUS_SECRET_KEY", previous, Algorithm::Hs256)?;
    }
    let private_key_pem = match (reader.text("JWT_PRIVATE_KEY_FILE"), algorithm.is_symmetric()) {
        (None, true) => None,
        (None, false) => {
            return Err(ConfigError::new(
                "JWT_PRIVATE_KEY_FILE",
                "JWT_ALGORITHM needs a PEM file with its private key",
            ));
        }
        (Some(_), true) => {
            return Err(ConfigError::new(
                "JWT_PRIVATE_KEY_FILE",
                "JWT_ALGORITHM signs with JWT_SECRET_KEY: unset this, or choose RS256, ES256 or EdDSA",
            ));
        }
        (Some(file), false) => Some(read_pem("JWT_PRIVATE_KEY_FILE", "the file", &file)?),
    };
    let previous_key_pems = reader
        .list("JWT_PREVIOUS_KEY_FILES")
        .iter()
        .enumerate()
        .map(|(index, file)| read_pem("JWT_PREVIOUS_KEY_FILES", &format!("file {} of the list", index + 1), file))
        .collect::<Result<_, _>>()?;
    let days = |name, default| Ok(Duration::from_secs(DAY * reader.number(name, default, 1..=3650)?));
    let settings = TokenSettings {
        secret,
        previous_secret,
        algorithm,
        private_key_pem,
        previous_key_pems,
        issuer: reader.text_or("JWT_ISSUER", "portcullis"),
        audience: reader.text_or("JWT_AUDIENCE", "portcullis"),
        access_lifetime: Duration::from_secs(MINUTE * reader.number("ACCESS_TOKEN_EXPIRE_MINUTES", 30, 1..=1440)?),
        refresh_lifetime: Duration::from_secs(DAY * reader.number("REFRESH_TOKEN_EXPIRE_DAYS", 7, 1..=365)?),
        session_lifetime: days("SESSION_MAX_DAYS", 90)?,
        reuse_grace: Duration::from_secs(reader.number("REFRESH_REUSE_GRACE_SECONDS", 10, 0..=300)?),
    };
    // A key that can't be used is told here, by the variable that names it.
    Keys::new(&settings).map_err(|error| ConfigError::new(error.variable, error.problem))?;
    Ok(settings)
}

/// The path is not repeated: it may be a key that was set in place of its file.
fn read_pem(name: &str, which: &str, path: &str) -> Result<SecretString, ConfigError> {
    std::fs::read_to_string(path)
        .map(SecretString::from)
        .map_err(|error| ConfigError::new(name, format!("{which} can't be read: {error}")))
}
