//! Forces appended records to the disk once a second, on a thread of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// How often.
const INTERVAL: Duration = Duration::from_secs(1);

/// One segment's file, and how much of it is on the disk.
#[derive(Debug)]
pub(super) struct Dirty {
    file: File,
    written: AtomicU64,
    synced: AtomicU64,
    has_failed: AtomicBool,
    /// Wakes its writer when a sync has failed.
    wake: Arc<Notify>,
}

impl Dirty {
    pub(super) fn new(file: File, wake: Arc<Notify>) -> Self {
        Self { file, written: AtomicU64::new(0), synced: AtomicU64::new(0), has_failed: AtomicBool::new(false), wake }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn set_written(&self, length: u64) {
        self.written.store(length, Ordering::Release);
    }

    pub(super) fn set_synced(&self, length: u64) {
        self.synced.store(length, Ordering::Release);
    }

    /// Up to this byte it is on the disk.
    pub(super) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Forces to the disk what was written; after a failure never again.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        if self.has_failed() {
            return Err(std::io::Error::other("a sync has failed before"));
        }
        let written = self.written.load(Ordering::Acquire);
        if written == self.synced() {
            return Ok(());
        }
        let done = self.file.sync_data();
        match &done {
            Ok(()) => self.set_synced(written),
            Err(_) => self.has_failed.store(true, Ordering::Release),
        }
        done
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

    /// Watches a new segment for as long as its writer holds it, and until its last appends are on the disk.
    pub(super) fn watch(&self, dirty: Arc<Dirty>) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.files.push(dirty);
        watched.has_new_files = true;
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
        let had_failed = file.has_failed();
        if let Err(error) = file.sync() {
            if !had_failed {
                late(error);
            }
            // Its writer writes anew what is in doubt; it is told until it has.
            file.wake.notify_one();
        }
    }
    // A file whose name is not on the disk is lost with all that is in it.
    if has_new_files && let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
        late(error);
        watched.lock().unwrap_or_else(PoisonError::into_inner).has_new_files = true;
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
        let dirty = Arc::new(Dirty::new(File::create(home.path().join("segment")).unwrap(), Arc::default()));
        syncer.watch(Arc::clone(&dirty));
        sync(home.path(), &syncer.0);
        assert_eq!(syncer.0.lock().unwrap().files.len(), 1);
        dirty.set_written(7);
        let forgotten = Arc::downgrade(&dirty);
        drop(dirty);
        assert_eq!(forgotten.upgrade().unwrap().synced(), 0);
        sync(home.path(), &syncer.0);
        assert!(forgotten.upgrade().is_none());
    }

    #[test]
    fn a_sync_that_has_failed_is_not_tried_again() {
        // Takes every write, and can't be synced.
        let null = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
        let dirty = Dirty::new(null, Arc::default());
        dirty.sync().unwrap();
        dirty.set_written(7);
        assert_eq!(dirty.sync().unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        assert!(dirty.has_failed());
        assert_eq!(dirty.sync().unwrap_err().kind(), std::io::ErrorKind::Other);
        assert_eq!(dirty.synced(), 0);
    }
}
