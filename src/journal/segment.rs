//! Reads a writer's segments in order, whole lines only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use super::line::{Line, parse_line};
use super::{Folder, JournalError};
use crate::domain::WriterId;

/// Lines that were read and are not in the database yet.
#[derive(Debug, Default)]
pub struct Batch {
    /// In order of their numbers.
    pub lines: Vec<Line>,
    /// Whole lines that are no records.
    pub unreadable: Vec<Vec<u8>>,
    /// Segments that end with this batch: once it is in the database, they may go.
    pub finished: Vec<PathBuf>,
}

impl Batch {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.unreadable.is_empty() && self.finished.is_empty()
    }
}

/// The place in one writer's segments up to which was read.
#[derive(Debug)]
pub struct Reader {
    writer: WriterId,
    segments: BTreeMap<u64, PathBuf>,
    /// The segment that is read, and the byte up to which it was.
    place: Option<(u64, u64)>,
    /// Numbers up to this one are in the database.
    committed: u64,
}

impl Reader {
    /// At the beginning of a writer's segments, of which the database has
    /// everything up to `committed`.
    pub fn new(writer: WriterId, committed: u64) -> Self {
        Self { writer, segments: BTreeMap::new(), place: None, committed }
    }

    /// The writer.
    pub fn writer(&self) -> WriterId {
        self.writer
    }

    /// The last number that is in the database.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Everything up to this number is in the database now.
    pub fn commit(&mut self, seq: u64) {
        self.committed = self.committed.max(seq);
    }

    /// Which segments there are by now.
    pub fn look_at(&mut self, segments: BTreeMap<u64, PathBuf>) {
        self.segments = segments;
    }

    /// The next lines, at most `max`, with numbers up to `limit`. `is_live`:
    /// the writer may still append to the last segment.
    ///
    /// # Errors
    /// A segment can't be read.
    pub fn read(&mut self, max: usize, limit: u64, is_live: bool) -> Result<Batch, JournalError> {
        let mut batch = Batch::default();
        while batch.lines.len() < max {
            let Some((first, offset)) = self.place.or_else(|| self.segments.keys().next().map(|first| (*first, 0)))
            else {
                break;
            };
            self.place = Some((first, offset));
            let Some(path) = self.segments.get(&first).cloned() else {
                // Deleted behind our back: go on with what follows.
                self.place = self.segments.range(first..).next().map(|(first, _)| (*first, 0));
                if self.place.is_none() {
                    break;
                }
                continue;
            };
            let next = self.segments.range(first + 1..).next().map(|(first, _)| *first);
            // A segment ends where the next one begins: what a torn write left behind that is no record.
            let limit_here = next.map_or(limit, |next| limit.min(next - 1));
            let is_at_end = self.read_segment(&path, (first, offset), limit_here, max, &mut batch)?;
            if !is_at_end {
                break;
            }
            match next {
                Some(next) if next <= limit.saturating_add(1) => {
                    batch.finished.push(path);
                    self.place = Some((next, 0));
                }
                None if !is_live => {
                    batch.finished.push(path);
                    self.segments.remove(&first);
                    self.place = None;
                    break;
                }
                _ => break,
            }
        }
        Ok(batch)
    }

    /// Reads on in one segment; true where it has no more that may be read.
    fn read_segment(
        &mut self,
        path: &PathBuf,
        (first, offset): (u64, u64),
        limit: u64,
        max: usize,
        batch: &mut Batch,
    ) -> Result<bool, JournalError> {
        let fail = |error: std::io::Error| JournalError::Read(format!("{}: {error}", path.display()));
        let mut file = File::open(path).map_err(fail)?;
        file.seek(SeekFrom::Start(offset)).map_err(fail)?;
        let mut reader = BufReader::with_capacity(256 << 10, file);
        let (mut line, mut offset) = (Vec::new(), offset);
        while batch.lines.len() < max {
            line.clear();
            let length = reader.read_until(b'\n', &mut line).map_err(fail)? as u64;
            if line.last() != Some(&b'\n') {
                // The end, or a torn line: nobody was told that it was written.
                return Ok(true);
            }
            match parse_line(&line[..line.len() - 1]) {
                Ok(parsed) if parsed.seq > limit => return Ok(true),
                Ok(parsed) if parsed.seq > self.committed => batch.lines.push(parsed),
                Ok(_) => {}
                Err(_) => batch.unreadable.push(line[..line.len() - 1].to_vec()),
            }
            offset += length;
            self.place = Some((first, offset));
        }
        Ok(false)
    }

    /// Whether a reader of a folder's writer has nothing more to do, so that it can be forgotten.
    pub fn is_exhausted(&self) -> bool {
        self.segments.is_empty()
    }
}

/// A record that [`leave`] wrote.
#[derive(Debug)]
pub struct Left {
    /// Its writer, which writes no other.
    pub writer: WriterId,
    /// The record.
    pub line: Line,
    /// Its segment.
    pub path: PathBuf,
}

/// Writes one record of a writer of its own, at once and as a whole: for a
/// process beside the one that has the journal, as the command line.
///
/// # Errors
/// `Write`.
pub fn leave(
    folder: &std::path::Path,
    clock: &crate::clock::SharedClock,
    entry: &crate::domain::audit::AuditEntry<'_>,
) -> Result<Left, JournalError> {
    use std::io::Write;
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let fail = |error: std::io::Error| JournalError::Write(error.to_string());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
    let writer = WriterId::generate();
    let mut line = Vec::new();
    let stamp = super::mint::Mint::default().next(clock.now());
    super::line::write_line(&mut line, 1, stamp, entry).map_err(|error| JournalError::Write(error.to_string()))?;
    let path = super::folder::segment_path(folder, writer, 1);
    let unfinished = path.with_extension("part");
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(fail)?;
    file.write_all(&line).and_then(|()| file.sync_all()).map_err(fail)?;
    std::fs::rename(&unfinished, &path).map_err(fail)?;
    let line = parse_line(&line[..line.len() - 1]).map_err(|error| JournalError::Write(error.to_string()))?;
    Ok(Left { writer, line, path })
}

impl Folder {
    /// What has to be read of each writer: those of this process, and those
    /// that others left behind.
    ///
    /// # Errors
    /// `Read`.
    pub fn look(
        &self,
        readers: &mut BTreeMap<WriterId, Reader>,
        committed: impl Fn(WriterId) -> u64,
    ) -> Result<(), JournalError> {
        let mut segments = self.segments()?;
        for writer in segments.keys() {
            readers.entry(*writer).or_insert_with(|| Reader::new(*writer, committed(*writer)));
        }
        for (writer, reader) in readers.iter_mut() {
            reader.look_at(segments.remove(writer).unwrap_or_default());
        }
        Ok(())
    }
}
