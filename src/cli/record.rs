//! The audit records of what the command line changes.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use super::CliError;
use crate::app::{AppError, claim_journal, open_sealer};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::domain::audit::{AuditEntry, AuditRecord, Outcome, Source};
use crate::domain::{RecordId, WriterId};
use crate::journal::Leaving;
use crate::proof::Sealer;
use crate::store::{NewRecords, Store};

/// One change that was made.
pub(super) struct Recorded {
    pub(super) action: &'static str,
    /// The kind, and which one.
    pub(super) resource: (&'static str, String),
    pub(super) metadata: Map<String, Value>,
}

/// Makes the records, and leaves in the journal what the change's own transaction did not take: before the change
/// stands, that it begins.
#[derive(Clone)]
pub(super) struct Recorder {
    operator: Arc<str>,
    folder: PathBuf,
    sealer: Sealer,
    is_enabled: bool,
    leaving: Arc<Mutex<Option<Leaving>>>,
    /// What is in the database stays in the journal for shippers.
    keeps_segments: bool,
}

impl Recorder {
    /// Opens the database for a change that will be recorded. Where it could not be, it is refused before it is made.
    ///
    /// # Errors
    /// The database can't be opened, the journal is another database's, or it can't be written where it is needed.
    pub(super) async fn open(config: &Config) -> Result<(Store, Self), CliError> {
        let store = Store::open(config.store.clone()).await.map_err(AppError::from)?;
        let (folder, is_enabled) = (config.journal.folder.clone(), config.audit.is_enabled);
        let needs_journal = is_enabled && store.has_log_apart();
        let installation = store.installation_id().await.map_err(|error| CliError::Failed(error.to_string()))?;
        match claim_journal(&folder, installation) {
            // That of another database says that one of the two settings is wrong, also where none is needed.
            Err(AppError::Failed(_)) if !needs_journal => {}
            claimed => claimed?,
        }
        if needs_journal {
            try_out(&folder).map_err(|error| {
                let folder = folder.display();
                CliError::Failed(format!("nothing was changed, for it can't be recorded: {folder}: {error}"))
            })?;
        }
        let sealer = open_sealer(&store, &config.tokens).await?;
        let (operator, leaving) = (operator().into(), Arc::default());
        let keeps_segments = config.journal.keep_segments > 0;
        Ok((store, Self { operator, folder, sealer, is_enabled, leaving, keeps_segments }))
    }

    /// The records of changes; none with `ENABLE_AUDIT_LOGGING=false`.
    pub(super) fn records(&self, changes: Vec<Recorded>) -> NewRecords {
        let changes = if self.is_enabled { changes } else { Vec::new() };
        let records = changes.into_iter().map(|change| self.record(change)).collect();
        let recorder = self.clone();
        NewRecords { records, sealer: self.sealer.clone(), begin: Box::new(move |records| recorder.begin(records)) }
    }

    fn begin(&self, records: &[AuditRecord]) -> Result<(), String> {
        let entries: Vec<AuditEntry<'_>> = records.iter().map(beginning).collect();
        let leaving = Leaving::begin(&self.folder, Arc::new(SystemClock), self.sealer.clone(), &entries)
            .map_err(|error| error.to_string())?;
        *self.leaving.lock().unwrap_or_else(PoisonError::into_inner) = Some(leaving);
        Ok(())
    }

    fn record(&self, change: Recorded) -> AuditRecord {
        let id = RecordId::generate();
        let (kind, name) = change.resource;
        AuditRecord {
            id,
            timestamp: id.time(),
            user_id: None,
            username: Some(Arc::clone(&self.operator)),
            action: change.action.into(),
            resource_type: Some(kind.into()),
            resource_id: Some(name.into()),
            ip_address: None,
            user_agent: None,
            request_method: None,
            request_path: None,
            response_status: None,
            outcome: Outcome::Success,
            duration_ms: 0,
            request_id: None,
            metadata: change.metadata.into(),
            source: Source::Cli,
        }
    }

    /// Leaves records in the journal, and moves them on where the database takes them at once.
    ///
    /// # Errors
    /// The journal can't be written by now.
    pub(super) async fn leave(&self, store: &Store, unrecorded: &[AuditRecord]) -> Result<(), CliError> {
        if unrecorded.is_empty() {
            return Ok(());
        }
        let Some(leaving) = self.leaving.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Err(CliError::Failed("the change was made, but not recorded".into()));
        };
        let entries: Vec<AuditEntry<'_>> = unrecorded.iter().map(Into::into).collect();
        let left = leaving.finish(&entries).map_err(|error| {
            CliError::Failed(format!("the change was made, but the log will say no more than that it began: {error}"))
        })?;
        if let Err(error) = store.audit_sink(self.sealer.clone()).insert(left.writer, &left.lines).await {
            log::warn!("the audit record waits in the journal for the next start of the service: {error}");
        } else if self.keeps_segments {
            // The service counts it with its own, and deletes it in turn.
        } else if let Err(error) = std::fs::remove_file(&left.path) {
            // It is in the database; a service would find that out and delete it.
            log::debug!("{}: {error}", left.path.display());
        }
        Ok(())
    }
}

/// Whether the journal's folder takes a file and keeps what is written into it.
fn try_out(folder: &Path) -> std::io::Result<()> {
    // No name of a segment: a service beside this does not look at it.
    let path = folder.join(format!("{}.part", WriterId::generate()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    // As much as a disk gives at least.
    let written = file.write_all(&[b'\n'; 4096]).and_then(|()| file.sync_all());
    written.and(std::fs::remove_file(&path))
}

/// The system's user, who has no account here: by the real user id, for the environment says what its owner likes.
fn operator() -> String {
    let id = uzers::get_current_uid();
    let name =
        uzers::get_user_by_uid(id).map_or_else(|| id.to_string(), |user| user.name().to_string_lossy().into_owned());
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    format!("cli:{name}")
}

/// What is said before the change stands.
fn beginning(record: &AuditRecord) -> AuditEntry<'_> {
    AuditEntry { outcome: Outcome::Error, ..AuditEntry::from(record) }
}
