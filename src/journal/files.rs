//! The files of the journal's folder: their names, and what is at their ends.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::JournalError;
use super::line::{Checker, Written};
use crate::domain::{RecordId, WriterId};
use crate::proof::SignedCheckpoint;

/// How long a start waits for a process that is still draining.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

const DATABASE: &str = "database";

/// Notes which database the folder's records go to; the first one stays. Else
/// whoever points `DATABASE_URL` elsewhere would copy the old records there.
///
/// # Errors
/// `Foreign`, `Read`, `Write`.
pub fn claim(folder: &Path, database: Uuid) -> Result<(), JournalError> {
    let path = folder.join(DATABASE);
    let write = |error: std::io::Error| JournalError::Write(format!("{}: {error}", path.display()));
    make_private(folder).map_err(write)?;
    match private_file().create_new(true).open(&path) {
        Ok(mut file) => {
            file.write_all(format!("{database}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(write)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let noted = std::fs::read_to_string(&path)
                .map_err(|error| JournalError::Read(format!("{}: {error}", path.display())))?;
            match noted.trim().parse() {
                Ok(noted) if noted == database => Ok(()),
                Ok::<Uuid, _>(_) => Err(JournalError::Foreign(folder.display().to_string())),
                // Cut off by a crash while it was written: nothing of another database can be there yet.
                Err(_) => std::fs::write(&path, format!("{database}\n")).map_err(write),
            }
        }
        Err(error) => Err(write(error)),
    }
}

const CHECKPOINT: &str = "checkpoint.json";

/// Keeps a checkpoint beside the segments, in the place of the one before.
///
/// # Errors
/// `Write`.
pub fn keep_checkpoint(folder: &Path, signed: &SignedCheckpoint) -> Result<(), JournalError> {
    let write = |error: std::io::Error| JournalError::Write(format!("{CHECKPOINT}: {error}"));
    let unfinished = folder.join("checkpoint.part");
    let text = serde_json::to_vec(signed).map_err(|error| write(error.into()))?;
    let mut file = private_file().create(true).truncate(true).open(&unfinished).map_err(write)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(write)?;
    std::fs::rename(&unfinished, folder.join(CHECKPOINT)).map_err(write)
}

/// The checkpoint that is kept there.
///
/// # Errors
/// `Read`: it is none.
pub fn kept_checkpoint(folder: &Path) -> Result<Option<SignedCheckpoint>, JournalError> {
    let path = folder.join(CHECKPOINT);
    let read = |error: &dyn std::fmt::Display| JournalError::Read(format!("{}: {error}", path.display()));
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| read(&error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(read(&error)),
    }
}

/// For this user alone.
pub(super) fn private_file() -> std::fs::OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

pub(super) fn lock(folder: &Path) -> Result<File, JournalError> {
    let path = folder.join("lock");
    let file = private_file()
        .create(true)
        .truncate(false)
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

pub(super) fn parse_name(path: &Path) -> Option<(WriterId, u64)> {
    let (writer, first) = path.file_name()?.to_str()?.strip_suffix(".ndjson")?.rsplit_once('-')?;
    let first = first.parse().ok().filter(|first| (1..=i64::MAX.unsigned_abs()).contains(first))?;
    Some((writer.parse().ok()?, first))
}

pub(super) fn segments(folder: &Path) -> Result<HashMap<WriterId, BTreeMap<u64, PathBuf>>, JournalError> {
    let read = |error: std::io::Error| JournalError::Read(format!("{}: {error}", folder.display()));
    let mut found: HashMap<WriterId, BTreeMap<u64, PathBuf>> = HashMap::new();
    for file in std::fs::read_dir(folder).map_err(read)? {
        let path = file.map_err(read)?.path();
        if let Some((writer, first)) = parse_name(&path) {
            found.entry(writer).or_default().insert(first, path);
        }
    }
    Ok(found)
}

/// Where the segment begins that follows one of a writer's, and so where that one ends: what a torn write left
/// behind that is no record, and what was written anew is there.
pub(super) fn segment_after(segments: &BTreeMap<u64, PathBuf>, first: u64) -> Option<u64> {
    segments.range(first + 1..).next().map(|(next, _)| *next)
}

const WRITERS: &str = "writers";

/// The writers that workers of this folder's process are, and were.
///
/// # Errors
/// `Read`.
pub fn known_writers(folder: &Path) -> Result<Vec<WriterId>, JournalError> {
    match std::fs::read_to_string(folder.join(WRITERS)) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(JournalError::Read(error.to_string())),
    }
}

pub(super) fn remember_writer(folder: &Path, writer: WriterId) -> Result<(), JournalError> {
    let appended = private_file().create(true).append(true).open(folder.join(WRITERS)).and_then(|mut file| {
        file.write_all(format!("{writer}\n").as_bytes())?;
        file.sync_all()
    });
    appended.map_err(|error| JournalError::Write(error.to_string()))
}

/// The last number in a writer's files, and the id of the last record that can be read there.
pub(super) fn last_in_files(
    segments: &BTreeMap<u64, PathBuf>,
    checker: &mut Checker,
) -> Result<(u64, Option<RecordId>), JournalError> {
    let mut last = None;
    for (first, path) in segments.iter().rev() {
        let found = last_of(path, *first, checker)
            .map_err(|error| JournalError::Read(format!("{}: {error}", path.display())))?;
        let (seq, id) = *last.get_or_insert(found);
        // An empty segment: the one before it has the id.
        if let Some(id) = id.or(found.1) {
            return Ok((seq, Some(id)));
        }
    }
    Ok(last.unwrap_or((0, None)))
}

/// The last number in a segment, also where its line can't be read, and the last id that can be.
fn last_of(path: &Path, first: u64, checker: &mut Checker) -> std::io::Result<(u64, Option<RecordId>)> {
    /// More than the longest line.
    const TAIL: u64 = 1 << 20;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let end = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    // From the last line backwards; what stands behind the last newline is no line.
    let mut after = 0;
    for line in tail[..end].split(|byte| *byte == b'\n').rev().skip(1) {
        match checker.parse(line) {
            Some(Written::Record(line, _)) => return Ok((line.seq + after, Some(line.record.id))),
            Some(Written::Beginning(_)) => {}
            None => after += 1,
        }
    }
    // No record can be read: as many as there are lines that may have been some.
    file.seek(SeekFrom::Start(0))?;
    let mut count = 0;
    let (mut reader, mut line) = (BufReader::new(file), Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 {
        let is_record =
            line.strip_suffix(b"\n").is_some_and(|line| !matches!(checker.parse(line), Some(Written::Beginning(_))));
        count += u64::from(is_record);
        line.clear();
    }
    Ok(((first + count).saturating_sub(1), None))
}

/// Makes a segment that begins with this, which appears under its name as a whole; one of the same name,
/// which has no record that is not in this one too, goes. With `is_synced` all of it is on the disk then.
pub(super) fn create_segment(path: &Path, beginning: &[u8], is_synced: bool) -> std::io::Result<File> {
    let unfinished = path.with_extension("part");
    let written = private_file().create(true).truncate(true).open(&unfinished).and_then(|mut file| {
        file.write_all(beginning)?;
        if is_synced && !beginning.is_empty() {
            file.sync_all()?;
        }
        std::fs::rename(&unfinished, path)?;
        if is_synced {
            sync_folder_of(path)?;
        }
        Ok(file)
    });
    written.map_err(|error| {
        // What is there of it is in the way of nobody.
        let _ = std::fs::remove_file(&unfinished);
        std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    })
}

/// A name that is not on the disk is lost with all that is in the file.
pub(super) fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Appends what is no record to `set-aside.ndjson`, for people to look at. Gives how many of these
/// were not there yet: a process that died in between finds them again.
pub(super) fn set_aside(folder: &Path, lines: &[Vec<u8>]) -> std::io::Result<usize> {
    let mut file = private_file().read(true).append(true).create(true).open(folder.join("set-aside.ndjson"))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let known: HashSet<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let fresh: Vec<&[u8]> = lines.iter().map(Vec::as_slice).filter(|line| !known.contains(line)).collect();
    if fresh.is_empty() {
        return Ok(0);
    }
    let mut appended = fresh.join(&b'\n');
    appended.push(b'\n');
    file.write_all(&appended)?;
    file.sync_data()?;
    Ok(fresh.len())
}
