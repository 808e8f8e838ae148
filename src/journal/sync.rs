//! Forces appended records to the disk once a second, on a thread of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often.
const INTERVAL: Duration = Duration::from_secs(1);

/// One segment that may have appends that are not on the disk yet.
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
pub(super) struct Syncer(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    files: Vec<Arc<Dirty>>,
    has_new_files: bool,
}

impl Syncer {
    pub(super) fn start(folder: PathBuf) -> Self {
        let syncer = Self::default();
        let watched = Arc::downgrade(&syncer.0);
        let spawned = std::thread::Builder::new().name("audit-fsync".into()).spawn(move || {
            // Ends with the journal.
            while let Some(watched) = watched.upgrade() {
                sync(&folder, &watched);
                drop(watched);
                std::thread::sleep(INTERVAL);
            }
        });
        if let Err(error) = spawned {
            log::error!("AUDIT_FSYNC: no thread for it: {error}");
        }
        syncer
    }

    /// Watches a new segment for as long as its writer holds the returned mark, and until its last
    /// appends are on the disk.
    pub(super) fn watch(&self, file: Arc<File>) -> Arc<Dirty> {
        let dirty = Arc::new(Dirty { file, is_dirty: AtomicBool::new(false) });
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.files.push(Arc::clone(&dirty));
        watched.has_new_files = true;
        dirty
    }
}

fn sync(folder: &Path, watched: &Mutex<Watched>) {
    let (files, has_new_files) = {
        let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
        // What only this list still holds is closed: it is synced for the last time.
        let files = watched.files.clone();
        watched.files.retain(|file| Arc::strong_count(file) > 2);
        (files, std::mem::take(&mut watched.has_new_files))
    };
    let late = |error: std::io::Error| {
        log::error!("AUDIT_FSYNC: records of the last second may not be on the disk: {error}");
    };
    for file in files {
        if file.is_dirty.swap(false, Ordering::AcqRel)
            && let Err(error) = file.file.sync_data()
        {
            late(error);
        }
    }
    // A file whose name is not on the disk is lost with all that is in it.
    if has_new_files && let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
        late(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_segment_is_synced_once_more_and_then_forgotten() {
        let home = tempfile::tempdir().unwrap();
        // Without its thread.
        let syncer = Syncer::default();
        let file = Arc::new(File::create(home.path().join("segment")).unwrap());
        let dirty = syncer.watch(file);
        sync(home.path(), &syncer.0);
        assert_eq!(syncer.0.lock().unwrap().files.len(), 1);
        dirty.mark();
        let still_dirty = Arc::downgrade(&dirty);
        drop(dirty);
        assert!(still_dirty.upgrade().unwrap().is_dirty.load(Ordering::Acquire));
        sync(home.path(), &syncer.0);
        assert!(still_dirty.upgrade().is_none());
    }
}
