//! Forces appended records to the disk once a second, on a thread of its own.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How often.
const INTERVAL: Duration = Duration::from_secs(1);

/// One open segment that may have appends that are not on the disk yet.
#[derive(Debug)]
pub(super) struct Dirty {
    file: Arc<File>,
    is_dirty: AtomicBool,
}

impl Dirty {
    pub(super) fn mark(&self) {
        self.is_dirty.store(true, Ordering::Release);
    }
}

/// The thread that syncs.
#[derive(Debug, Clone, Default)]
pub(super) struct Syncer(Arc<Mutex<Vec<Weak<Dirty>>>>);

impl Syncer {
    pub(super) fn start() -> Self {
        let syncer = Self::default();
        let watched = Arc::downgrade(&syncer.0);
        let spawned = std::thread::Builder::new().name("audit-fsync".into()).spawn(move || {
            // Ends with the journal.
            while let Some(watched) = watched.upgrade() {
                sync(&watched);
                drop(watched);
                std::thread::sleep(INTERVAL);
            }
        });
        if let Err(error) = spawned {
            log::error!("AUDIT_FSYNC: no thread for it: {error}");
        }
        syncer
    }

    /// Watches a segment for as long as its writer holds the returned mark.
    pub(super) fn watch(&self, file: Arc<File>) -> Arc<Dirty> {
        let dirty = Arc::new(Dirty { file, is_dirty: AtomicBool::new(false) });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&dirty));
        dirty
    }
}

fn sync(watched: &Mutex<Vec<Weak<Dirty>>>) {
    let files: Vec<Arc<Dirty>> = {
        let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|file| file.strong_count() > 0);
        watched.iter().filter_map(Weak::upgrade).collect()
    };
    for file in files {
        if file.is_dirty.swap(false, Ordering::AcqRel)
            && let Err(error) = file.file.sync_data()
        {
            log::error!("AUDIT_FSYNC: records of the last second may not be on the disk: {error}");
        }
    }
}
