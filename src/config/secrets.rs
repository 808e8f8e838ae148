//! The signing key: given, or made and kept.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretString};

use super::ConfigError;
use crate::actors::Algorithm;

const NAME: &str = "JWT_SECRET_KEY";

/// The least length of a key, in bytes (RFC 7518 §3.2).
pub(super) fn least_bytes(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Hs384 => 48,
        Algorithm::Hs512 => 64,
        // Refresh tokens are signed by HS256 whatever signs access tokens.
        Algorithm::Hs256 | Algorithm::Rs256 | Algorithm::Es256 | Algorithm::EdDsa => 32,
    }
}

/// Refuses a key that is too short or that everybody knows.
pub(super) fn check(name: &str, key: &SecretString, algorithm: Algorithm) -> Result<(), ConfigError> {
    let text = key.expose_secret();
    if is_placeholder(text) {
        return Err(ConfigError::new(name, "this is a placeholder: make a key with `openssl rand -hex 32`"));
    }
    let least = least_bytes(algorithm);
    if text.len() < least {
        return Err(ConfigError::new(
            name,
            format!("the key has fewer than {least} bytes: make one with `openssl rand -hex {least}`"),
        ));
    }
    Ok(())
}

fn is_placeholder(key: &str) -> bool {
    let plain: String = key.to_ascii_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    let is_known =
        ["yoursecretkey", "changeme", "changethis", "replaceme", "placeholder", "secretkeyhere", "mysecretkey"]
            .iter()
            .any(|known| plain.contains(known));
    let mut characters = key.chars();
    let first = characters.next();
    is_known || plain == "secret" || characters.all(|character| Some(character) == first)
}

/// What became of the key in the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Found,
    Made,
    /// A check writes nothing: this one is forgotten.
    WouldBeMade,
}

/// The key that is kept in the data folder; if there is none it is made, unless
/// this is a check. Two starts at once agree: who comes second reads the first one's.
pub(super) fn kept_in(data_dir: &Path, is_check: bool) -> Result<(SecretString, Kept), ConfigError> {
    let path = data_dir.join("jwt_secret.key");
    let fail = |error: &dyn std::fmt::Display| {
        ConfigError::new(
            NAME,
            format!("{} can't be kept: {error}; make DATA_DIR writable or set a key", path.display()),
        )
    };
    if let Some(key) = read(&path).map_err(|error| fail(&error))? {
        return Ok((key, Kept::Found));
    }
    let mut bytes = [0; 48];
    SystemRandom::new().fill(&mut bytes).map_err(|error| fail(&error))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if is_check {
        return Ok((text.into(), Kept::WouldBeMade));
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(|error| fail(&error))?;
    // Under another name first: whoever sees the file sees it whole.
    let unfinished = data_dir.join(format!("jwt_secret.{}.part", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::hard_link(&unfinished, &path));
    let _ = std::fs::remove_file(&unfinished);
    match written {
        Ok(()) => Ok((text.into(), Kept::Made)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            read(&path).map_err(|error| fail(&error))?.map(|key| (key, Kept::Found)).ok_or_else(|| fail(&"it is empty"))
        }
        Err(error) => Err(fail(&error)),
    }
}

fn read(path: &Path) -> std::io::Result<Option<SecretString>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()).map(Into::into)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
