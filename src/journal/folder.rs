//! The journal's folder: who writes in it, how far, and which segments there are.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::files::{self, kept_checkpoint, known_writers, lock, make_private, parse_name, remember_writer, segments};
use super::left::take_over_begun;
use super::mend::Estate;
use super::sync::Syncer;
use super::{Fsync, JournalError, JournalSettings, Reader, WorkerJournal};
use crate::clock::SharedClock;
use crate::domain::{RecordId, WriterId};
use crate::proof::{Head, Sealer};

/// A segment that has grown so large is followed by a new one.
const SEGMENT_BYTES: u64 = 16 << 20;

/// How far one writer of this process has come.
#[derive(Debug)]
pub struct Progress {
    /// The writer.
    pub writer: WriterId,
    written: AtomicU64,
    /// Of the last record that earlier runs left in the files.
    last_id: Option<RecordId>,
    is_attached: AtomicBool,
}

impl Progress {
    /// The last number that is in the file.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Whether a worker of this process appends as this writer.
    pub fn is_attached(&self) -> bool {
        self.is_attached.load(Ordering::Acquire)
    }

    pub(super) fn last_id(&self) -> Option<RecordId> {
        self.last_id
    }

    pub(super) fn set_written(&self, seq: u64) {
        self.written.store(seq, Ordering::Release);
    }
}

/// The journal of one process. Cheap to clone.
#[derive(Clone)]
pub struct Folder(Arc<Inner>);

struct Inner {
    settings: JournalSettings,
    clock: SharedClock,
    sealer: Sealer,
    /// What the checkpoint had signed that earlier runs have kept here.
    signed: Vec<Head>,
    syncer: Option<Syncer>,
    /// The writers of this folder: those that workers have, and those of
    /// earlier runs that a worker may take over.
    live: Mutex<Vec<Arc<Progress>>>,
    idle: Mutex<Vec<Arc<Progress>>>,
    /// Segments that are in the database and stay for shippers, oldest first.
    kept: Mutex<VecDeque<PathBuf>>,
    bytes: AtomicU64,
    /// Whether half of the limit is reached, which is said.
    is_half_full: AtomicBool,
    is_failing: AtomicBool,
    is_left_unread: AtomicBool,
    has_new_segments: AtomicBool,
    // Held for as long as the process lives.
    _lock: File,
}

impl Folder {
    /// Opens the journal for this process alone. `committed` is what the
    /// database has of each writer.
    ///
    /// # Errors
    /// `Locked` after 30 s, `Read`, `Write`.
    pub fn open(
        settings: JournalSettings,
        clock: SharedClock,
        sealer: Sealer,
        committed: &HashMap<WriterId, u64>,
    ) -> Result<Self, JournalError> {
        make_private(&settings.folder).map_err(|error| JournalError::Write(error.to_string()))?;
        let lock = lock(&settings.folder)?;
        let mut found = segments(&settings.folder)?;
        let mut idle = Vec::new();
        let signed = kept_checkpoint(&settings.folder)?.filter(|signed| sealer.has_signed(signed));
        // Ids go on from there also where the files have none any more, and the clock has stepped back.
        let last_time = signed.as_ref().map(|signed| RecordId::least_of(signed.checkpoint.timestamp));
        let signed = signed.map(|signed| signed.checkpoint.writers).unwrap_or_default();
        let counted = |writer| signed.iter().find(|head| head.writer_id == writer).map_or(0, |head| head.written);
        for writer in known_writers(&settings.folder)? {
            let estate = Estate {
                folder: &settings.folder,
                writer,
                segments: found.remove(&writer).unwrap_or_default(),
                in_database: committed.get(&writer).copied().unwrap_or(0),
                last_time,
                counted: counted(writer),
            };
            let (written, last_id) = estate.settle(&clock, &sealer)?;
            idle.push(Arc::new(Progress {
                writer,
                written: AtomicU64::new(written),
                last_id,
                is_attached: AtomicBool::new(false),
            }));
        }
        let mut bytes = 0;
        for path in segments(&settings.folder)?.values().flat_map(BTreeMap::values) {
            bytes += std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        }
        let syncer = (settings.fsync == Fsync::EverySecond).then(|| Syncer::start(settings.folder.clone()));
        let folder = Self(Arc::new(Inner {
            settings,
            clock,
            sealer,
            signed,
            syncer,
            live: Mutex::new(idle.clone()),
            idle: Mutex::new(idle),
            kept: Mutex::default(),
            bytes: AtomicU64::new(0),
            is_half_full: AtomicBool::new(false),
            is_failing: AtomicBool::new(false),
            is_left_unread: AtomicBool::new(false),
            has_new_segments: AtomicBool::new(true),
            _lock: lock,
        }));
        folder.note_bytes(bytes);
        Ok(folder)
    }

    /// A journal for the present thread: of a writer of an earlier run, or of a new one.
    ///
    /// # Errors
    /// The folder can't be written.
    pub fn attach(&self) -> Result<WorkerJournal, JournalError> {
        let taken = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let progress = match taken {
            Some(taken) => taken,
            None => {
                let writer = WriterId::generate();
                remember_writer(&self.0.settings.folder, writer)?;
                let progress = Arc::new(Progress {
                    writer,
                    written: AtomicU64::new(0),
                    last_id: None,
                    is_attached: AtomicBool::new(false),
                });
                self.0.live.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&progress));
                progress
            }
        };
        progress.is_attached.store(true, Ordering::Release);
        WorkerJournal::new(self.clone(), progress)
    }

    /// How far each writer of this process has come.
    pub fn live(&self) -> Vec<Arc<Progress>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All segments that there are: of each writer by first number.
    ///
    /// # Errors
    /// `Read`.
    pub fn segments(&self) -> Result<HashMap<WriterId, BTreeMap<u64, PathBuf>>, JournalError> {
        segments(&self.0.settings.folder)
    }

    /// A closed segment is in the database: it stays for shippers as one of the last
    /// `keep_segments`, if there is room, and goes after that.
    pub fn retire(&self, path: PathBuf) {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(path);
        while kept.len() > self.0.settings.keep_segments as usize || self.is_full() {
            let Some(oldest) = kept.pop_front() else { break };
            self.delete(&oldest);
        }
    }

    fn delete(&self, path: &Path) {
        let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        match std::fs::remove_file(path) {
            Ok(()) => {
                self.note_gone(length);
            }
            Err(error) => log::warn!("{} can't be deleted: {error}", path.display()),
        }
    }

    /// What has to be read of each writer: those of this process, and those
    /// that others left behind. Of those that others had begun when they ended, records are made.
    ///
    /// # Errors
    /// `Read`, `Write`.
    pub fn look(
        &self,
        readers: &mut BTreeMap<WriterId, Reader>,
        committed: impl Fn(WriterId) -> u64,
    ) -> Result<(), JournalError> {
        // What can't be taken over, as the file of another user, waits; the rest goes on.
        let taken = take_over_begun(&self.0.settings.folder, &self.0.clock, &self.0.sealer);
        let was_failing = self.0.is_left_unread.swap(taken.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (taken, was_failing) {
            log::error!("what a command has begun can't be taken over: {error}");
        }
        let mut segments = self.segments()?;
        for path in self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some((writer, first)) = parse_name(path)
                && let Some(of_writer) = segments.get_mut(&writer)
            {
                of_writer.remove(&first);
            }
        }
        segments.retain(|_, of_writer| !of_writer.is_empty());
        for writer in segments.keys() {
            readers.entry(*writer).or_insert_with(|| Reader::new(*writer, committed(*writer), self.0.sealer.clone()));
        }
        for (writer, reader) in readers.iter_mut() {
            reader.look_at(segments.remove(writer).unwrap_or_default());
        }
        Ok(())
    }

    /// Appends what is no record, or what no database takes, to `set-aside.ndjson`, for people to look
    /// at. Gives how many of these were not there yet.
    ///
    /// # Errors
    /// `Write`.
    pub fn set_aside(&self, lines: &[Vec<u8>]) -> Result<usize, JournalError> {
        files::set_aside(&self.0.settings.folder, lines).map_err(|error| JournalError::Write(error.to_string()))
    }

    /// What the journal was told.
    pub fn settings(&self) -> &JournalSettings {
        &self.0.settings
    }

    /// How many bytes the segments have.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Whether the last write went well and there is room.
    pub fn is_writable(&self) -> bool {
        !self.0.is_failing.load(Ordering::Relaxed) && !self.is_full()
    }

    /// How large a segment may grow. Below a limit all open ones together stay at half of it, for
    /// only closed ones can go: a full journal drains by itself.
    pub(super) fn segment_bytes(&self) -> u64 {
        let writers = self.0.live.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
        match self.0.settings.max_bytes {
            0 => SEGMENT_BYTES,
            max => SEGMENT_BYTES.min(max / (2 * writers.max(1))),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.settings.max_bytes > 0 && self.bytes() >= self.0.settings.max_bytes
    }

    /// Whether writers of this process have begun segments since the last call.
    pub fn take_new_segments(&self) -> bool {
        self.0.has_new_segments.swap(false, Ordering::AcqRel)
    }

    pub(super) fn note_segment(&self) {
        self.0.has_new_segments.store(true, Ordering::Release);
    }

    pub(super) fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    /// What seals its lines.
    pub fn sealer(&self) -> &Sealer {
        &self.0.sealer
    }

    /// What the checkpoint had signed that earlier runs have kept here.
    pub fn signed(&self) -> &[Head] {
        &self.0.signed
    }

    pub(super) fn syncer(&self) -> Option<&Syncer> {
        self.0.syncer.as_ref()
    }

    /// So many bytes more.
    pub(super) fn note_bytes(&self, bytes: u64) {
        let before = self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        let max = self.0.settings.max_bytes;
        if max > 0 && before + bytes >= max / 2 && !self.0.is_half_full.swap(true, Ordering::Relaxed) {
            log::warn!(
                "the audit journal has reached half of AUDIT_JOURNAL_MAX_BYTES ({} of {max} bytes), where requests are \
                 refused: see why the database takes no records (portcullis_audit_lag_records), or give it more room",
                before + bytes
            );
        }
    }

    /// So many bytes less.
    pub(super) fn note_gone(&self, bytes: u64) {
        let before = self.0.bytes.fetch_sub(bytes.min(self.bytes()), Ordering::Relaxed);
        if before.saturating_sub(bytes) < self.0.settings.max_bytes / 2 {
            self.0.is_half_full.store(false, Ordering::Relaxed);
        }
    }

    /// Something was written.
    pub(super) fn note_success(&self) {
        if self.0.is_failing.load(Ordering::Relaxed) && self.0.is_failing.swap(false, Ordering::Relaxed) {
            log::info!("the audit journal can be written again");
        }
    }

    /// Every write that is refused comes here: it is said once.
    pub(super) fn note_failure(&self, error: &JournalError) {
        if !self.0.is_failing.swap(true, Ordering::Relaxed) {
            log::error!("{error}: requests are refused until it can be");
        }
    }
}
