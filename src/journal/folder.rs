//! The journal's folder: who writes in it, how far, and which segments there are.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::line::parse_line;
use super::sync::Syncer;
use super::{Fsync, JournalError, JournalSettings, WorkerJournal};
use crate::clock::SharedClock;
use crate::domain::WriterId;

/// How long a start waits for a process that is still draining.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// How far one writer of this process has come.
#[derive(Debug)]
pub struct Progress {
    /// The writer.
    pub writer: WriterId,
    written: AtomicU64,
}

impl Progress {
    /// The last number that is in the file.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
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
    syncer: Option<Syncer>,
    /// The writers of this folder: those that workers have, and those of
    /// earlier runs that a worker may take over.
    live: Mutex<Vec<Arc<Progress>>>,
    idle: Mutex<Vec<Arc<Progress>>>,
    bytes: AtomicU64,
    is_failing: AtomicBool,
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
        committed: &HashMap<WriterId, u64>,
    ) -> Result<Self, JournalError> {
        make_private(&settings.folder).map_err(|error| JournalError::Write(error.to_string()))?;
        let lock = lock(&settings.folder)?;
        let segments = segments(&settings.folder)?;
        let mut bytes = 0;
        for path in segments.values().flat_map(BTreeMap::values) {
            bytes += std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        }
        let mut idle = Vec::new();
        for writer in known_writers(&settings.folder)? {
            let in_files = match segments.get(&writer) {
                Some(segments) => next_in_files(segments)?,
                None => 1,
            };
            let in_database = committed.get(&writer).map_or(1, |last| last + 1);
            idle.push(Arc::new(Progress { writer, written: AtomicU64::new(in_files.max(in_database) - 1) }));
        }
        let syncer = (settings.fsync == Fsync::EverySecond).then(Syncer::start);
        Ok(Self(Arc::new(Inner {
            settings,
            clock,
            syncer,
            live: Mutex::new(idle.clone()),
            idle: Mutex::new(idle),
            bytes: AtomicU64::new(bytes),
            is_failing: AtomicBool::new(false),
            has_new_segments: AtomicBool::new(true),
            _lock: lock,
        })))
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
                let progress = Arc::new(Progress { writer, written: AtomicU64::new(0) });
                self.0.live.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&progress));
                progress
            }
        };
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

    /// Deletes a segment that is in the database.
    pub fn delete(&self, path: &Path) {
        let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        match std::fs::remove_file(path) {
            Ok(()) => {
                self.0.bytes.fetch_sub(length.min(self.bytes()), Ordering::Relaxed);
            }
            Err(error) => log::warn!("{} can't be deleted: {error}", path.display()),
        }
    }

    /// Appends what no database takes to `set-aside.ndjson`, for people to look at.
    ///
    /// # Errors
    /// `Write`.
    pub fn set_aside(&self, line: &[u8]) -> Result<(), JournalError> {
        use std::io::Write;
        let path = self.0.settings.folder.join("set-aside.ndjson");
        let written = std::fs::OpenOptions::new().create(true).append(true).open(path).and_then(|mut file| {
            let mut line = line.to_vec();
            line.push(b'\n');
            file.write_all(&line)?;
            file.sync_data()
        });
        written.map_err(|error| JournalError::Write(error.to_string()))
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

    pub(super) fn syncer(&self) -> Option<&Syncer> {
        self.0.syncer.as_ref()
    }

    pub(super) fn note_written(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.0.is_failing.store(false, Ordering::Relaxed);
    }

    pub(super) fn note_failure(&self) {
        self.0.is_failing.store(true, Ordering::Relaxed);
    }
}

fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn lock(folder: &Path) -> Result<File, JournalError> {
    let path = folder.join("lock");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| JournalError::Write(format!("{}: {error}", path.display())))?;
    let started = Instant::now();
    let mut is_said = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::Error(error)) => return Err(JournalError::Write(error.to_string())),
            Err(std::fs::TryLockError::WouldBlock) if started.elapsed() < LOCK_PATIENCE => {
                if !is_said {
                    log::warn!("{} is in use: waiting for that process to end", folder.display());
                    is_said = true;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(std::fs::TryLockError::WouldBlock) => return Err(JournalError::Locked(folder.display().to_string())),
        }
    }
}

/// The name of a segment: its writer and its first number.
pub(super) fn segment_path(folder: &Path, writer: WriterId, first_seq: u64) -> PathBuf {
    folder.join(format!("{writer}-{first_seq:020}.ndjson"))
}

fn segments(folder: &Path) -> Result<HashMap<WriterId, BTreeMap<u64, PathBuf>>, JournalError> {
    let read = |error: std::io::Error| JournalError::Read(format!("{}: {error}", folder.display()));
    let mut found: HashMap<WriterId, BTreeMap<u64, PathBuf>> = HashMap::new();
    for file in std::fs::read_dir(folder).map_err(read)? {
        let path = file.map_err(read)?.path();
        let parsed = path.file_name().and_then(|name| name.to_str()).and_then(|name| {
            let (writer, first) = name.strip_suffix(".ndjson")?.rsplit_once('-')?;
            Some((writer.parse::<WriterId>().ok()?, first.parse::<u64>().ok()?))
        });
        if let Some((writer, first)) = parsed {
            found.entry(writer).or_default().insert(first, path);
        }
    }
    Ok(found)
}

const WRITERS: &str = "writers";

/// The writers that workers of earlier runs were.
fn known_writers(folder: &Path) -> Result<Vec<WriterId>, JournalError> {
    match std::fs::read_to_string(folder.join(WRITERS)) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(JournalError::Read(error.to_string())),
    }
}

fn remember_writer(folder: &Path, writer: WriterId) -> Result<(), JournalError> {
    use std::io::Write;
    let appended =
        std::fs::OpenOptions::new().create(true).append(true).open(folder.join(WRITERS)).and_then(|mut file| {
            file.write_all(format!("{writer}\n").as_bytes())?;
            file.sync_all()
        });
    appended.map_err(|error| JournalError::Write(error.to_string()))
}

/// The number after the last whole line of a writer's last segment.
fn next_in_files(segments: &BTreeMap<u64, PathBuf>) -> Result<u64, JournalError> {
    let Some((first, path)) = segments.last_key_value() else { return Ok(1) };
    let last = last_seq(path).map_err(|error| JournalError::Read(format!("{}: {error}", path.display())))?;
    let next = match last {
        Some(last) => last + 1,
        // No whole line, or none that can be read: these keep their numbers.
        None => {
            let text = std::fs::read(path).map_err(|error| JournalError::Read(error.to_string()))?;
            first + text.iter().filter(|byte| **byte == b'\n').count() as u64
        }
    };
    Ok(next.max(*first))
}

fn last_seq(path: &Path) -> std::io::Result<Option<u64>> {
    /// More than the longest line.
    const TAIL: u64 = 1 << 20;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else { return Ok(None) };
    let last = tail[..end].split(|byte| *byte == b'\n').rev().find_map(|line| parse_line(line).ok());
    Ok(last.map(|line| line.seq))
}
