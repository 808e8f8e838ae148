//! What is checked, and made, before anything is served.

use std::path::Path;

use uuid::Uuid;

use super::AppError;
use crate::actors::{Accounts, Keys, NewAccount, Rbac, TokenSettings};
use crate::config::BootstrapAdmin;
use crate::domain::RoleName;
use crate::journal::{self, JournalError};
use crate::proof::{AuditKey, Mac, Sealer};
use crate::store::Store;

pub(super) async fn check_fingerprint(store: &Store, keys: &Keys) -> Result<(), AppError> {
    let (current, previous) = keys.fingerprints();
    match store.claim_key_fingerprint(current, previous).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(AppError::Configuration(
            "JWT_SECRET_KEY: this database is used with another key: set that one, \
             or name it in JWT_PREVIOUS_SECRET_KEY to change over"
                .into(),
        )),
        Err(error) => Err(AppError::failed("the key's fingerprint can't be compared", error)),
    }
}

/// What seals the audit log: by the installation's audit key, which the first who asks for it makes.
///
/// # Errors
/// The key is encrypted under another `JWT_SECRET_KEY` or was taken away, or the database is away.
pub async fn open_sealer(store: &Store, tokens: &TokenSettings) -> Result<Sealer, AppError> {
    if let Some(sealer) = find_sealer(store, tokens).await? {
        return Ok(sealer);
    }
    let ends = store.chain_ends().await.map_err(audit_key_failed)?;
    if ends.iter().any(|(_, end)| end.hash != Mac::START) {
        // Another key would make a log of it that nobody can tell from a whole one.
        return Err(AppError::Configuration(
            "the database has lost the key of its audit log (settings, audit_key): restore it from a backup".into(),
        ));
    }
    let (current, _) = tokens.wrapping_keys();
    let fresh = AuditKey::generate().and_then(|key| key.wrap(&current)).map_err(audit_key_failed)?;
    let kept = store.keep_audit_key(fresh).await.map_err(audit_key_failed)?;
    unwrap(store, tokens, &kept).await
}

/// The same where there is a key.
///
/// # Errors
/// The key is encrypted under another `JWT_SECRET_KEY`, or the database is away.
pub async fn find_sealer(store: &Store, tokens: &TokenSettings) -> Result<Option<Sealer>, AppError> {
    match store.find_audit_key().await.map_err(audit_key_failed)? {
        Some(kept) => unwrap(store, tokens, &kept).await.map(Some),
        None => Ok(None),
    }
}

fn audit_key_failed(error: impl std::fmt::Display) -> AppError {
    AppError::failed("the audit key", error)
}

/// Decrypts the audit key; in a change-over of `JWT_SECRET_KEY` it is encrypted anew.
async fn unwrap(store: &Store, tokens: &TokenSettings, kept: &[u8]) -> Result<Sealer, AppError> {
    let (current, previous) = tokens.wrapping_keys();
    let key = match AuditKey::unwrap(kept, &current) {
        Some(key) => key,
        None => {
            let key = previous.and_then(|previous| AuditKey::unwrap(kept, &previous)).ok_or_else(|| {
                AppError::Configuration(
                    "JWT_SECRET_KEY: the audit log of this database was begun with another key: set that one, \
                     or name it in JWT_PREVIOUS_SECRET_KEY to change over"
                        .into(),
                )
            })?;
            let wrapped = key.wrap(&current).map_err(audit_key_failed)?;
            store.rewrap_audit_key(wrapped).await.map_err(audit_key_failed)?;
            key
        }
    };
    key.sealer().map_err(audit_key_failed)
}

/// Whether the journal's folder knows another key of the audit log than the database has: then somebody has put a
/// new log in the place of the old one.
///
/// # Errors
/// It does.
pub fn check_audit_key(folder: &Path, sealer: &Sealer) -> Result<(), AppError> {
    let kept = journal::kept_checkpoint(folder).map_err(|error| AppError::Failed(error.to_string()))?;
    if kept.is_none_or(|kept| kept.names_key_of(sealer)) {
        return Ok(());
    }
    Err(AppError::Configuration(format!(
        "the database has another audit key than when {}/checkpoint.json was signed: its audit log was replaced. Restore \
         the database, or begin anew with another DATA_DIR",
        folder.display()
    )))
}

/// The journal's records go to the database that they were written for, and to no other.
pub fn claim_journal(folder: &Path, installation: Uuid) -> Result<(), AppError> {
    journal::claim(folder, installation).map_err(|error| match error {
        JournalError::Foreign(_) => AppError::Configuration(error.to_string()),
        other => AppError::Failed(other.to_string()),
    })
}

/// Whoever registers gets this role: it must be one, and must not administer.
pub(super) fn check_default_role(rbac: &Rbac, role: &RoleName) -> Result<(), AppError> {
    let problem = match rbac.policy().permissions_of_role(role) {
        None => "is no role of this database",
        Some(grants) if grants.iter().any(|granted| granted.as_str() == "users:manage") => {
            "holds users:manage, so whoever registers could administer"
        }
        Some(_) => return Ok(()),
    };
    Err(AppError::Configuration(format!("DEFAULT_ROLE: {role} {problem}: name another role, as viewer")))
}

pub(super) async fn bootstrap(accounts: &Accounts, admin: Option<BootstrapAdmin>) -> Result<(), AppError> {
    let Some(BootstrapAdmin { username, email, password }) = admin else { return Ok(()) };
    let account =
        NewAccount { username, email, full_name: None, password, roles: vec![RoleName::admin()], is_superuser: true };
    match accounts.create_first(account).await {
        Ok(Some(user)) => log::info!("BOOTSTRAP_ADMIN_*: the first administrator {} was made", user.username),
        Ok(None) => {}
        Err(error) => return Err(AppError::failed("the first administrator can't be made", error)),
    }
    Ok(())
}
