//! The files of the journal's folder: their names, and what is at their ends.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::JournalError;
use super::line::parse_line;
use crate::domain::{RecordId, WriterId};

/// How long a start waits for a process that is still draining.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

pub(super) fn lock(folder: &Path) -> Result<File, JournalError> {
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

pub(super) fn parse_name(path: &Path) -> Option<(WriterId, u64)> {
    let (writer, first) = path.file_name()?.to_str()?.strip_suffix(".ndjson")?.rsplit_once('-')?;
    Some((writer.parse().ok()?, first.parse().ok()?))
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

const WRITERS: &str = "writers";

/// The writers that workers of earlier runs were.
pub(super) fn known_writers(folder: &Path) -> Result<Vec<WriterId>, JournalError> {
    match std::fs::read_to_string(folder.join(WRITERS)) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(JournalError::Read(error.to_string())),
    }
}

pub(super) fn remember_writer(folder: &Path, writer: WriterId) -> Result<(), JournalError> {
    let appended =
        std::fs::OpenOptions::new().create(true).append(true).open(folder.join(WRITERS)).and_then(|mut file| {
            file.write_all(format!("{writer}\n").as_bytes())?;
            file.sync_all()
        });
    appended.map_err(|error| JournalError::Write(error.to_string()))
}

/// The last number in a writer's files, and the id of the last record that can be read there.
pub(super) fn last_in_files(segments: &BTreeMap<u64, PathBuf>) -> Result<(u64, Option<RecordId>), JournalError> {
    let mut last = None;
    for (first, path) in segments.iter().rev() {
        let found =
            last_of(path, *first).map_err(|error| JournalError::Read(format!("{}: {error}", path.display())))?;
        let (seq, id) = *last.get_or_insert(found);
        // An empty segment: the one before it has the id.
        if let Some(id) = id.or(found.1) {
            return Ok((seq, Some(id)));
        }
    }
    Ok(last.unwrap_or((0, None)))
}

/// The last number in a segment, also where its line can't be read, and the last id that can be.
fn last_of(path: &Path, first: u64) -> std::io::Result<(u64, Option<RecordId>)> {
    /// More than the longest line.
    const TAIL: u64 = 1 << 20;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let end = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if end < tail.len() {
        let bytes = tail.len() - end;
        log::warn!("{}: the last {bytes} bytes are a torn line, which nobody was told of: left out", path.display());
    }
    // From the last line backwards; what stands behind the last newline is empty.
    let lines = tail[..end].split(|byte| *byte == b'\n').rev().skip(1);
    for (after, line) in lines.enumerate() {
        if let Ok(line) = parse_line(line) {
            return Ok((line.seq + after as u64, Some(line.record.id)));
        }
    }
    // Not one can be read: as many as there are line ends.
    file.seek(SeekFrom::Start(0))?;
    let mut newlines = 0;
    let mut reader = BufReader::new(file);
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        newlines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let read = bytes.len();
        reader.consume(read);
    }
    Ok(((first + newlines).saturating_sub(1), None))
}
