//! A segment that a writer appends to, and what of it may not be on the disk yet.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Notify;

use super::files::create_segment;
use super::folder::Folder;
use super::sync::Dirty;
use super::{Fsync, JournalError};

/// More than this does not wait for the disk in memory: the writer waits then.
const MOST_UNSYNCED: usize = 16 << 20;

pub(super) struct OpenSegment {
    dirty: Arc<Dirty>,
    length: u64,
    max_length: u64,
    /// The last bytes of it, as far as they have to be kept: the file may not give them back after a failed sync.
    unsynced: Vec<u8>,
    keeps_unsynced: bool,
}

impl OpenSegment {
    /// Makes it, with its first bytes; with `is_synced` these are on the disk then.
    pub(super) fn create(
        folder: &Folder,
        path: &Path,
        beginning: &[u8],
        is_synced: bool,
        wake: &Arc<Notify>,
    ) -> Result<Self, JournalError> {
        let replaced = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let file =
            create_segment(path, beginning, is_synced).map_err(|error| JournalError::Write(error.to_string()))?;
        let length = beginning.len() as u64;
        folder.note_gone(replaced);
        folder.note_bytes(length);
        let dirty = Arc::new(Dirty::new(file, Arc::clone(wake)));
        dirty.set_written(length);
        if is_synced {
            dirty.set_synced(length);
        }
        if let Some(syncer) = folder.syncer() {
            syncer.watch(Arc::clone(&dirty));
        }
        folder.note_segment();
        let keeps_unsynced = folder.settings().fsync != Fsync::No;
        let unsynced = if keeps_unsynced && !is_synced { beginning.to_vec() } else { Vec::new() };
        Ok(Self {
            dirty,
            length, // What is carried along does not count: else a segment could be full at its birth.
            max_length: length + folder.segment_bytes(),
            unsynced,
            keeps_unsynced,
        })
    }

    pub(super) fn is_full(&self) -> bool {
        self.length >= self.max_length
    }

    /// Appends all of it or, as far as the file system allows, nothing.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        if let Err(error) = self.file().write_all(bytes) {
            self.cut();
            return Err(JournalError::Write(error.to_string()));
        }
        self.length += bytes.len() as u64;
        if self.keeps_unsynced {
            self.unsynced.extend_from_slice(bytes);
        }
        self.dirty.set_written(self.length);
        Ok(())
    }

    /// Takes the last bytes back.
    pub(super) fn take_back(&mut self, bytes: usize) {
        self.length = self.length.saturating_sub(bytes as u64);
        self.unsynced.truncate(self.unsynced.len().saturating_sub(bytes));
        self.cut();
    }

    fn cut(&self) {
        if let Err(error) = self.file().set_len(self.length) {
            log::error!("a torn write stays in the audit journal: {error}");
        }
    }

    fn file(&self) -> &File {
        self.dirty.file()
    }

    /// Forces it to the disk, on this thread.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        self.dirty.sync().map_err(|error| JournalError::Write(error.to_string()))?;
        self.unsynced.clear();
        Ok(())
    }

    /// Whether a sync has failed: it is not to be used any more.
    pub(super) fn has_failed(&self) -> bool {
        self.dirty.has_failed()
    }

    /// Forgets what is on the disk by now.
    pub(super) fn forget_synced(&mut self) {
        let unsynced = usize::try_from(self.length - self.dirty.synced().min(self.length)).unwrap_or(usize::MAX);
        self.unsynced.drain(..self.unsynced.len().saturating_sub(unsynced));
    }

    /// Whole lines that are not known to be on the disk.
    pub(super) fn unsynced(&self) -> &[u8] {
        &self.unsynced
    }

    pub(super) fn has_too_much_unsynced(&self) -> bool {
        self.unsynced.len() > MOST_UNSYNCED
    }
}
