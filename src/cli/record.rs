//! The audit records of what the command line changes.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::CliError;
use crate::app::{AppError, claim_journal};
use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::domain::audit::{AuditEntry, Outcome, Source};
use crate::journal;
use crate::store::Store;

/// Opens the database for a change that will be recorded.
pub(super) async fn open(config: &Config) -> Result<Store, CliError> {
    let store = Store::open(config.store.clone()).await.map_err(AppError::from)?;
    let installation = store.installation_id().await.map_err(|error| CliError::Failed(error.to_string()))?;
    claim_journal(&config.journal.folder, installation)?;
    Ok(store)
}

/// One change that was made.
pub(super) struct Recorded {
    pub(super) action: &'static str,
    /// The kind, and which one.
    pub(super) resource: (&'static str, String),
    pub(super) metadata: Value,
}

/// Leaves the records in the journal, and moves them on where the database takes them at once.
pub(super) async fn record(store: &Store, folder: &Path, changes: Vec<Recorded>) -> Result<(), CliError> {
    if changes.is_empty() {
        return Ok(());
    }
    let operator = operator();
    let entries: Vec<AuditEntry<'_>> = changes.iter().map(|change| entry(&operator, change)).collect();
    let clock: SharedClock = Arc::new(SystemClock);
    let left = journal::leave(folder, &clock, &entries)
        .map_err(|error| CliError::Failed(format!("the change was made, but not recorded: {error}")))?;
    let numbered: Vec<_> = left.lines.into_iter().map(|line| (line.seq, line.record)).collect();
    if let Err(error) = store.audit_sink().insert(left.writer, &numbered).await {
        log::warn!("the audit record waits in the journal for the next start of the service: {error}");
    } else if let Err(error) = std::fs::remove_file(&left.path) {
        // It is in the database; a service would find that out and delete it.
        log::debug!("{}: {error}", left.path.display());
    }
    Ok(())
}

/// The system's user, who has no account here.
fn operator() -> String {
    let name = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".into());
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    format!("cli:{name}")
}

fn entry<'a>(operator: &'a str, change: &'a Recorded) -> AuditEntry<'a> {
    AuditEntry {
        user_id: None,
        username: Some(Cow::Borrowed(operator)),
        action: Cow::Borrowed(change.action),
        resource_type: Some(Cow::Borrowed(change.resource.0)),
        resource_id: Some(Cow::Borrowed(&change.resource.1)),
        ip_address: None,
        user_agent: None,
        request_method: None,
        request_path: None,
        response_status: None,
        outcome: Outcome::Success,
        duration_ms: 0,
        request_id: None,
        metadata: Some(Cow::Owned(change.metadata.to_string())),
        source: Source::Cli,
    }
}
